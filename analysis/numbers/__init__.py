"""Statistics of arrays: agreement between two rankings, a fitted line, uncertainty. Score tables are not used here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
