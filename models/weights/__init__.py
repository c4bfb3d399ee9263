"""Pretrained weights: where they are, what their files hold, how they are loaded."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
