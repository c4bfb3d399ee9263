"""Custom encoders: a class of the user's, named by its import path."""

from __future__ import annotations

import importlib
import inspect

from models.design import CustomEncoder
from models.encoders.base import VisionEncoder


def load_custom(config: CustomEncoder) -> VisionEncoder:
    """Import, build and check a custom encoder.

    Raises:
        ValueError: it cannot be imported, is not a `VisionEncoder`, or is not what the config declares.
    """
    module_name, _, class_name = config.path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"encoder {config.path}: {error}; is its folder on PYTHONPATH, or the package installed?"
        ) from None
    kind = getattr(module, class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, VisionEncoder)):
        problem = "no such class" if kind is None else "not a subclass of models.encoders.base.VisionEncoder"
        raise ValueError(f"encoder {config.path}: {problem}")
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise ValueError(f"encoder {config.path}: it lacks {', '.join(missing)}")
    try:
        inspect.signature(kind).bind(**config.options)
    except TypeError as error:
        raise ValueError(f"encoder {config.path} does not take `options` {config.options}: {error}") from None
    encoder = kind(**config.options)
    for name in ("frames", "grid", "width"):
        declared, built = getattr(config, name), getattr(encoder, name, None)
        built = tuple(built) if isinstance(built, list) else built
        if declared != built:
            raise ValueError(f"encoder {config.path}: `{name}` is declared as {declared}, but the encoder's is {built}")
    return encoder.eval()
