"""Whether scores at a small scale predict those at a large one, and what the answer rests on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
