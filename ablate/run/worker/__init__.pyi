from .agreement import agreed_attempt as agreed_attempt
from .trial import run_trial as run_trial
from .video_lmm import device_type as device_type
