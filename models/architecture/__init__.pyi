from .assembly import build as build
from .assembly import build_resampler as build_resampler
from .video_lmm import VideoLMM as VideoLMM
