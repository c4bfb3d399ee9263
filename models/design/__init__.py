"""The design space as frozen pydantic types, and the whole config of a trial. No torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
