"""Where trials run: in this process, or on Ray. The only importer of ray."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
