from .assets import prepare as prepare
from .codec import read_video as read_video
from .codec import write_video as write_video
