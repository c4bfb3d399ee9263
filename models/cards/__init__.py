"""Sizes of LLMs and encoders, published or read from a file. No torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
