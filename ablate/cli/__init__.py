"""What people type and see: commands by noun, and the views that print their results.

The only importer of typer and rich.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
