"""Noise of scores and its consequences: decisions, statistical power, rank stability, choice of test items."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
