"""Predicted scores at a large scale, and which designs are worth training there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
