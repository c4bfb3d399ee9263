from .assembly import build as build
from .assembly import build_resampler as build_resampler
from .export import export_model as export_model
from .model_folder import ModelFolder as ModelFolder
from .pretrained import open_model as open_model
from .pretrained import save_learned as save_learned
from .video_lmm import VideoLMM as VideoLMM
