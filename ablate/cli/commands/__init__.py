"""Typer declarations of the commands, by noun. Each parses its options, calls one function and shows its result."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
