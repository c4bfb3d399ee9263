"""The scores of a study, read back from trial folders, MLflow or published tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
