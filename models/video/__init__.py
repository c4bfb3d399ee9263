"""Frames of videos and images: which are sampled, how they are decoded, how they are stored."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
