"""`ablate check`: data folders, their manifests indexed and their media read once."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
