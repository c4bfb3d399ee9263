from .base import VisionEncoder as VisionEncoder
from .base import compute_dtype as compute_dtype
from .base import pad_rgb as pad_rgb
from .building import build_encoder as build_encoder
from .combine import CombinedEncoder as CombinedEncoder
from .inputs import EncoderInput as EncoderInput
from .inputs import Visual as Visual
from .stored_features import store_features as store_features
