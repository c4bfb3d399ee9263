"""What kept models are used for: scores on further benchmarks, answers, folders for other machines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
