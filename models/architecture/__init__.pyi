from .assembly import build as build
from .assembly import build_resampler as build_resampler
from .lora import Adapter as Adapter
from .lora import adapters as adapters
from .lora import add_adapters as add_adapters
from .lora import merge_adapters as merge_adapters
from .video_lmm import VideoLMM as VideoLMM
