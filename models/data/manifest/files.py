"""Small manifests, read at once: JSON lists, and JSON objects one after the other (JSONL), in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from models.data.manifest.fields import DoubledKey
from models.data.manifest.parse import parse_item, parse_training
from models.data.manifest.records import ManifestError, TestItem, TrainingSample
from models.video import Medium

_SPACE = " \t\r\n"
"""White space of JSON."""


def manifest_file(folder: Path, split: Literal["train", "test"]) -> Path:
    """The manifest of a data folder: `train.json` or `train.jsonl`, `test.json` or `test.jsonl`.

    Returns:
        The file that exists; `train.json` or `test.json` if neither exists.

    Raises:
        ManifestError: both exist.
    """
    file, lines = folder / f"{split}.json", folder / f"{split}.jsonl"
    if not lines.exists():
        return file
    if file.exists():
        raise ManifestError(f"{folder} has both {file.name} and {lines.name}; keep one of them")
    return lines


def load_train(folder: Path) -> list[TrainingSample]:
    """Training samples of a data folder.

    Raises:
        ManifestError: the file cannot be read, a record is not in the format, or media are missing.
    """
    file = manifest_file(folder, "train")
    samples = [parse_training(file, number, data) for number, data in enumerate(_load(file))]
    check_media(folder, file, (medium for sample in samples for medium in sample.media))
    return samples


def load_test(folder: Path) -> list[TestItem]:
    """Test items of a data folder.

    Raises:
        ManifestError: the file cannot be read, an item is not in the format, or media are missing.
    """
    file = manifest_file(folder, "test")
    items = [parse_item(file, number, data) for number, data in enumerate(_load(file))]
    check_ids(file, (item.id for item in items))
    check_media(folder, file, (medium for item in items for medium in item.media))
    return items


def check_ids(file: Path, ids: Iterable[str]) -> None:
    """Check that test items have different ids: outcomes are counted by item.

    Args:
        file: the manifest, for messages.
        ids: the ids of its items, in order.

    Raises:
        ManifestError: two items have the same id.
    """
    numbers: dict[str, int] = {}
    for number, name in enumerate(ids):
        if (earlier := numbers.setdefault(name, number)) != number:
            raise ManifestError(
                f"{file}: record {number} has the id of record {earlier}, {name!r:.60}: give each item its own id, or "
                "put all questions about a video into one item"
            )


def check_media(folder: Path, file: Path, media: Iterable[Medium]) -> None:
    """Check that media exist: folders of frames are folders, all others are files.

    Args:
        folder: the data folder.
        file: the manifest, for messages.
        media: the media that it names.

    Raises:
        ManifestError: the message has the number of missing media and the first of them.
    """
    distinct = dict.fromkeys(media)
    missing = [medium for medium in distinct if not _exists(folder, file, medium)]
    if missing:
        raise ManifestError(
            f"{file}: {len(missing)} of {len(distinct)} media files are missing below {folder}, "
            f"first {missing[0].path}; paths are relative to the data folder"
        )


def _exists(folder: Path, file: Path, medium: Medium) -> bool:
    path = folder / medium.path
    try:
        if not path.is_dir():
            return path.is_file()
    except OSError:  # a name that the file system does not allow, such as one that is too long
        return False
    if medium.kind == "image":
        raise ManifestError(f"{file}: image {medium.path} is a folder; name its pictures, or give it as a `video`")
    if medium.fps is None:
        raise ManifestError(
            f"{file}: video {medium.path} is a folder: give the frames per second of its pictures as `fps`"
        )
    return True


def decoder() -> json.JSONDecoder:
    """A decoder of manifests: `parse_training` and `parse_item` refuse its objects that have a key twice.

    `json` would drop the first of the two values.
    """
    return json.JSONDecoder(object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    doubled = DoubledKey(data)
    keys = [key for key, _ in pairs]
    doubled.key = next(key for key in keys if keys.count(key) > 1)
    return doubled


def _load(file: Path) -> list[Any]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read {file}: {error.strerror}; docs/data.md describes a data folder") from None
    text = _decode(file, content)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        records = decoder().decode(text) if text.startswith("[", start) else _sequence(text, start)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ManifestError(f"{file} is not valid JSON: {reason}") from None
    if not records:
        raise ManifestError(f"{file} must be a list of at least one record; docs/data.md has an example")
    if isinstance(records[0], dict) and (name := _inner_list(records)):
        raise ManifestError(f"{file}: the records are inside an object, under `{name}`: write that list alone")
    return list(records)


def _sequence(text: str, position: int) -> list[Any]:
    """Values one after the other; errors count the lines of the whole text."""
    parse = decoder()
    records: list[Any] = []
    while position < len(text):
        record, position = parse.raw_decode(text, position)
        records.append(record)
        while position < len(text) and text[position] in _SPACE:
            position += 1
    return records


def _inner_list(records: list[Any]) -> str:
    """The key that holds a list of records, if that is all that a manifest contains."""
    if len(records) > 1 or {"conversations", "messages", "questions"} & records[0].keys():
        return ""
    lists = (key for key, value in records[0].items() if isinstance(value, list) and value)
    return next((key for key in lists if isinstance(records[0][key][0], dict)), "")


def _decode(file: Path, content: bytes) -> str:
    """Text of a manifest in UTF-8, with or without a byte order mark.

    Raises:
        ManifestError: the encoding is another one.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content[:4]:
        raise ManifestError(
            f"{file} is UTF-16 or UTF-32; manifests are UTF-8: "
            f"`iconv -f UTF-16 -t UTF-8 {file.name} > new && mv new {file.name}`"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{file} is not UTF-8: byte 0x{content[error.start]:02x} in line {content.count(10, 0, error.start) + 1}; "
            f"if it is Latin-1: `iconv -f LATIN1 -t UTF-8 {file.name} > new && mv new {file.name}`"
        ) from None
