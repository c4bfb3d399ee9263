"""Manifests: LLaVA-style records for training, multiple-choice questions for testing (docs/data.md). No torch here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
