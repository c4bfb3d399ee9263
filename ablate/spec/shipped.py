"""The shipped sweeps, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ablate.errors import UsageError


def shipped_sweeps() -> Path:
    """The folder of the shipped specs: inside the package in a wheel, `sweeps/` in a checkout."""
    inside = Path(str(files("ablate"))) / "shipped_sweeps"
    return inside if inside.is_dir() else Path(str(files("ablate"))).parent / "sweeps"


def find_spec(name: str) -> Path:
    """The spec file with this path, or the shipped sweep with this name: `sampling`, `apollo/encoders`.

    Raises:
        UsageError: there is no such file or sweep; the message lists the shipped ones.
    """
    path = Path(name)
    if not name or len(name) > 4000:
        raise UsageError("name a sweep spec: a path, or the bare name of a shipped one")
    if path.is_file():
        return path
    shipped = shipped_sweeps()
    for candidate in (shipped / name, shipped / f"{name}.yaml"):
        if not path.is_absolute() and ".." not in path.parts and candidate.is_file():
            return candidate
    if path.is_dir():
        raise UsageError(f"{name} is a folder; name one of its .yaml files")
    names = ", ".join(sorted(str(p.relative_to(shipped)) for p in shipped.rglob("*.yaml"))) or "none"
    raise UsageError(f"no sweep spec {name}: no such file, and no shipped sweep of that name ({names})")
