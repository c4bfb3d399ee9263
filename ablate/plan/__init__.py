"""What a sweep would run, what is missing, what it costs; every refusal before the first trial starts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
