"""The embedded study: a rendered world, its files, its tokenizer and its pretrained parts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
