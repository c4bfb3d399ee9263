"""Atomic writes of files: a reader sees the old file or the whole new one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ablate.errors import AblateError


class RecordError(AblateError):
    """A trial folder that cannot be read."""


def write_json(path: Path, data: Any) -> None:
    """Write data as JSON, atomically."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, readable for all users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if there is no such file.

    Raises:
        RecordError: it is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise invalid_json(path, error) from None


def invalid_json(path: Path, error: Exception | str) -> RecordError:
    """The error for a file that is not valid JSON."""
    return RecordError(f"{path} is not valid JSON ({error}); move its folder away to continue")
