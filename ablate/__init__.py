"""Choose video-LMM designs at small scale, train large once: sweeps, consistency, promotion."""

from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
for _name in ("models", "analysis"):  # generic names: refuse a stranger's copy
    _spec = find_spec(_name)
    if _spec is None or _spec.origin is None or Path(_spec.origin).resolve().parent.parent != _ROOT:
        raise ImportError(
            f"'import {_name}' finds {getattr(_spec, 'origin', None)}, not the package installed beside ablate "
            f"in {_ROOT}. Rename or remove that one, or install ablate in its own environment."
        )
