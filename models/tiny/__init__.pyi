from .files.assets import prepare as prepare
from .world.questions import NEEDS as NEEDS
