"""What the hub ids of a study contained when its first trial read them: `weights/*.json` in the study's folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import TypeAdapter

from ablate.errors import first_line
from ablate.record.files import RecordError, write_json

WeightsRole = Literal["encoder", "llm"]


@dataclass(frozen=True, kw_only=True)
class WeightsContent:
    """The content of weights that a spec names by hub id or address, as a trial read it."""

    weights: str
    """As in the spec."""
    role: WeightsRole
    """An LLM's content includes its tokenizer."""
    digest: str
    """Digest of config and tensors."""
    revision: str | None
    """Commit of the hub; None for a copy below `$ABLATE_WEIGHTS`."""
    path: str
    """Folder or file that the trial read."""
    trial: str
    """Key of the trial."""
    schema_version: int = 1

    @property
    def name(self) -> str:
        """The content in a few words, for messages and records."""
        return f"digest {self.digest} ({f'commit {self.revision}' if self.revision else self.path})"

    def is_same(self, other: WeightsContent) -> bool:
        """Whether both are one digest, or one commit, of which the hub's cache may meanwhile have more files."""
        return self.digest == other.digest or (self.revision is not None and self.revision == other.revision)


_READER: TypeAdapter[WeightsContent] = TypeAdapter(WeightsContent)


def content_file(study: Path, content: WeightsContent) -> Path:
    """The file of a study's folder that records the content of these weights."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", content.weights)[:60]
    suffix = hashlib.sha256(content.weights.encode()).hexdigest()[:8]
    return study / "weights" / f"{content.role}-{readable}-{suffix}.json"


def first_content(study: Path, content: WeightsContent) -> WeightsContent:
    """Record the content of weights, unless the study has a record of them; returns the study's record.

    Of several trials that start at once exactly one writes it, and all get the same record.

    Args:
        study: folder of the study.
        content: as this trial read it.

    Raises:
        RecordError: the record is damaged.
    """
    path = content_file(study, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            write_json(path, asdict(content))
    try:
        return _READER.validate_json(path.read_text(encoding="utf-8"), strict=True)
    except (ValueError, OSError) as error:
        raise RecordError(
            f"{path} is damaged ({first_line(error)}); it records which content of {content.weights} the trials of "
            "this study read: restore it, or move it away if none of them has finished"
        ) from None
