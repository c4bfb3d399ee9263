"""Atomic, durable writes of files: a reader sees the old file or the whole new one, also after a power cut."""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ablate.errors import AblateError

T = TypeVar("T")

NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""Errors of file systems without hard links: FAT, exFAT, some in user space."""
CLAIM_S = 10.0
"""Time after which a process that holds a claim and has not renamed its file is assumed to have died, in seconds."""

MOVE = "move its folder away to continue"


class RecordError(AblateError):
    """A file of a study that cannot be read as what it should be."""


def write_json(path: Path, data: Any, *, once: bool = False) -> None:
    """Write data as JSON, atomically; arguments and errors as in `write_text`."""
    write_text(path, json_text(data), once=once)


def json_text(data: Any) -> str:
    """Data as JSON. Lone surrogates, as in a path that is not UTF-8, become `?`: readers refuse them."""
    text = json.dumps(data, indent=1, allow_nan=False)
    if "\\ud" not in text:
        return text
    readable = json.dumps(data, allow_nan=False, ensure_ascii=False).encode("utf-8", errors="replace")
    return json.dumps(json.loads(readable), indent=1, allow_nan=False)


def write_text(path: Path, text: str, *, once: bool = False) -> None:
    """Write a text file atomically, and make it and its name durable. The umask sets its permissions.

    Args:
        path: the file; missing folders are created.
        text: its content.
        once: an existing file stays unchanged.

    Raises:
        FileExistsError: the file exists, and `once` is set.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # not by tempfile, whose files are readable by their owner alone
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if once:
            _name_once(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _name_once(temporary: Path, path: Path) -> None:
    """Give a file its name, unless a file has that name.

    Raises:
        FileExistsError: a file has it.
    """
    try:
        os.link(temporary, path)  # fails if the file exists, unlike a rename
    except FileExistsError:
        if temporary.stat().st_nlink < 2:  # else NFS linked it, lost the answer, and asked again
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _claim_and_rename(temporary, path)


def _claim_and_rename(temporary: Path, path: Path) -> None:
    """Same as `_name_once` without hard links: only the process that creates the claim renames its file."""
    claim = path.with_name(f".{path.name}.claim")
    holder, deadline = _state(claim), time.monotonic() + CLAIM_S
    while True:
        try:
            os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            break
        except FileExistsError:
            if (present := _state(claim)) != holder:  # of a process that has just begun
                holder, deadline = present, time.monotonic() + CLAIM_S
            elif time.monotonic() > deadline:
                claim.unlink(missing_ok=True)
            time.sleep(0.01)
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.replace(temporary, path)
    finally:
        claim.unlink(missing_ok=True)


def _state(claim: Path) -> tuple[int, int] | None:
    """What differs between the claims of two processes; None if there is none."""
    try:
        status = claim.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def make_folder(path: Path) -> None:
    """Create a folder and missing ones above it, and make their names durable."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make the content of a file durable, also of one that another program wrote."""
    _sync(path)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; does nothing on file systems that cannot."""
    with suppress(OSError):  # some network file systems refuse it for folders
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if there is no such file.

    Raises:
        RecordError: it is not valid JSON.
    """
    content = read_bytes(path)
    try:
        return None if content is None else json.loads(content)
    except ValueError as error:
        raise _invalid_json(path, error, MOVE) from None


def read_bytes(path: Path, *, fix: str = MOVE) -> bytes | None:
    """The content of a file; None if there is no such file.

    Raises:
        RecordError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}); {fix}") from None


def read_end(path: Path, size: int) -> str:
    """The last `size` bytes of a text file; empty if there is no such file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _invalid_json(path: Path, error: Exception | str, fix: str) -> RecordError:
    return RecordError(f"{path} is not valid JSON ({error}); {fix}")


_READERS: dict[Any, TypeAdapter[Any]] = {}


def read_record(kind: type[T], path: Path, newest: int, *, fix: str = MOVE) -> T | None:
    """Read a file as a record; None if there is no such file. Arguments and errors as in `parse_record`."""
    content = read_bytes(path, fix=fix)
    return None if content is None else parse_record(kind, path, content, newest, fix=fix)


def parse_record(kind: type[T], path: Path, content: bytes, newest: int, *, fix: str = MOVE) -> T:
    """Read the content of a file as a record and check its types.

    Fields that this ablate does not know are ignored: those of a newer version that raises no `schema_version`.

    Args:
        kind: a dataclass with `schema_version`.
        path: the JSON file.
        content: its content.
        newest: the newest version that this ablate reads.
        fix: what to do about a damaged file, the end of the message.

    Raises:
        RecordError: it cannot be read as a record of this or an earlier version.
    """
    try:
        reader = _READERS.get(kind) or _READERS.setdefault(kind, TypeAdapter(kind))
        record: T = reader.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise _invalid_json(path, first["msg"], fix) from None
        with suppress(ValueError):  # an integer of thousands of digits
            _refuse_newer(path, json.loads(content), newest)  # whose types may have changed
        where = ".".join(str(piece) for piece in first["loc"])
        raise RecordError(f"{path} is not a readable record ({where}: {first['msg']}); {fix}") from None
    _refuse_newer(path, {"schema_version": getattr(record, "schema_version", 1)}, newest)
    return record


def _refuse_newer(path: Path, data: Any, newest: int) -> None:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > newest:
        raise RecordError(
            f"{path} was written by a newer ablate (schema version {version}, this one reads up to {newest}); update "
            "ablate to read it"
        )
