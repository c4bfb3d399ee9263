from .assembly import BuildOptions as BuildOptions
from .assembly import build as build
from .assembly import build_resampler as build_resampler
from .assembly import load_weights as load_weights
from .video_lmm import VideoLMM as VideoLMM
