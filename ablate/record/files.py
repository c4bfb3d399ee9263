"""Files written whole or not at all."""

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
    """Write a file whole or not at all."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; others may read it."""
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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise _no_json(path, error) from None


def _no_json(path: Path, error: Exception | str) -> RecordError:
    return RecordError(f"{path} is not valid JSON ({error}); move its folder away to go on")
