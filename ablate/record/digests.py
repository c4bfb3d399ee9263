"""Digests of results and of the files that they cover: damage that leaves a file readable is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.record.files import RecordError, json_text

_LINE = ',\n "digest": "'
"""Start of the last line of a record with a digest of its own: that of the text without this line."""
_END = '"\n}'


def text_with_digest(data: Mapping[str, Any]) -> str:
    """The JSON of a record, with the digest of all of it as the last field."""
    text = json_text(data)
    return text[: -len("\n}")] + _LINE + _digest(text.encode()) + _END


def verify_own_digest(path: Path, content: bytes, *, is_required: bool) -> None:
    """Compare the text of a record with the digest in it.

    Args:
        path: the JSON file, for the message.
        content: its content, as `text_with_digest` wrote it.
        is_required: whether a record without a digest was changed, too.

    Raises:
        RecordError: they differ.
    """
    text, line, end = content.rpartition(_LINE.encode())
    if not line and not is_required:
        return
    stated = end.removesuffix(_END.encode()).decode(errors="replace") if line else "missing"
    if (digest := _digest(text + b"\n}")) != stated:
        raise _mismatch(path, stated, digest)


def verify_content(path: Path, content: bytes, stated: str) -> None:
    """Compare the content of a file with its digest in the trial's result.

    Raises:
        RecordError: they differ.
    """
    if (digest := _digest(content)) != stated:
        raise _mismatch(path, stated, digest)


def verify_file(path: Path, stated: str) -> None:
    """Same as `verify_content` for a file of any size.

    Raises:
        RecordError: it differs, is missing, or cannot be read.
    """
    try:
        digest = file_digest(path)
    except OSError as error:
        fix = "restore it, or move the trial's folder away to run the trial again"
        raise RecordError(
            f"{path} cannot be read ({error.strerror}), but the trial's result covers it; {fix}"
        ) from None
    if digest != stated:
        raise _mismatch(path, stated, digest)


def file_digest(path: Path) -> str:
    """Sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mismatch(path: Path, stated: str, digest: str) -> RecordError:
    return RecordError(
        f"{path} has changed since the trial finished: its sha256 was {stated}, and is {digest}; restore the file, or "
        "move the trial's folder away to run the trial again"
    )
