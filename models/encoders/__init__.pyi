from .base import VisionEncoder as VisionEncoder
from .base import pad_rgb as pad_rgb
from .building import build_encoder as build_encoder
from .combine import CombinedEncoder as CombinedEncoder
from .stored_features import store_features as store_features
