"""Plans: which trials of a sweep are missing and what they cost; everything that can be refused is refused here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
