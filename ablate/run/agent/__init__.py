"""Runs the processes of a trial on one node, watches them, and ends them. No torch, no Ray."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
