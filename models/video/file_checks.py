"""Checks of a media file before a decoder opens it, and the error for a file that cannot be read.

The decoder process imports this module (models/video/decode_child.py), so it imports no heavy library. FFmpeg reads a
truncated file up to its end without an error; the sizes that the container declares show the truncation.
"""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import BinaryIO

MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
EBML_HEADER, EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
PICTURES = (b"GIF8", b"\x89PNG", b"\xff\xd8\xff")
"""First bytes of the pictures that Pillow reads as videos: GIF, PNG, JPEG. WebP is a RIFF file."""


DAMAGED = "is damaged or truncated; copy or download it again"


class RefusedError(Exception):
    """The file cannot be read; the message continues after the file's name."""


class FileKind(Enum):
    """What a file is by its first bytes, as far as it decides how it is read."""

    PICTURE = "GIF, WebP, PNG or JPEG"
    FRAGMENTED = "an MP4 of fragments"
    OTHER = "anything else"


def check_file(path: Path) -> FileKind:
    """Refuse what is no regular file, is empty, or is shorter than its container declares; return its kind.

    Raises:
        RefusedError: the message names the problem, and the fix where there is one.
    """
    if not path.exists():
        raise RefusedError("does not exist" + (" (a broken link)" if path.is_symlink() else ""))
    if path.is_dir():
        raise RefusedError("is a folder, not a video; a folder of frames needs its rate, `fps`, in the record")
    if not path.is_file():
        raise RefusedError("is not a regular file")
    with path.open("rb") as file:
        head, size = file.read(64), path.stat().st_size
        if not head:
            raise RefusedError("is empty (0 bytes)")
        if head[4:8] in MP4_BOXES:
            return FileKind.FRAGMENTED if _check_boxes(file, size) else FileKind.OTHER
        if head.startswith(EBML_HEADER):
            _check_segment(head, size)
        elif head.startswith(b"RIFF"):
            _check_size(size, int.from_bytes(head[4:8], "little") + 8)
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return FileKind.PICTURE if is_webp or head.startswith(PICTURES) else FileKind.OTHER


def unreadable(path: Path) -> str:
    """Why FFmpeg does not open a file: it has the first bytes of a video but is damaged, or is something else."""
    with path.open("rb") as file:
        head = file.read(24)
    if head[4:8] in MP4_BOXES or head.startswith((EBML_HEADER, b"RIFF")):
        return DAMAGED
    begin = repr(head.decode("ascii")) if head.isascii() and any(head) else head[:8].hex(" ")
    return f"is not a video that FFmpeg can read: it begins with {begin}"


def fix(path: Path, how: str, before: str = "") -> str:
    """The command that makes a readable copy of a file."""
    target = path.with_name(path.stem + ".fixed.mp4")
    return f"fix: ffmpeg {before}-i {shlex.quote(str(path))} -map 0:v:0 {how} {shlex.quote(str(target))}"


def _check_size(size: int, declared: int) -> None:
    if size < declared:
        raise RefusedError(f"is truncated: {size} of at least {declared} bytes; copy or download it again")


def _check_boxes(file: BinaryIO, size: int) -> bool:
    """Walk the top-level boxes of an MP4; return whether it has fragments."""
    position, has_index, is_fragmented = 0, False, False
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        kind, length = header[4:8], int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8:
            break
        has_index |= kind == b"moov"
        is_fragmented |= kind == b"moof"
        position += length
        if kind in (b"moov", b"moof", b"mdat"):
            _check_size(size, position)
    if not has_index:
        raise RefusedError("has no index (moov box): its recording or copying was cut short; copy it again")
    return is_fragmented


def _check_segment(head: bytes, size: int) -> None:
    """Compare the size of the segment of a Matroska or WebM file, which holds all frames, with the file's."""
    length, position = _ebml_size(head, len(EBML_HEADER))
    position += length
    if head[position : position + 4] != EBML_SEGMENT or len(head) < position + 12:
        return
    length, start = _ebml_size(head, position + 4)
    if length + 1 != 1 << 7 * (start - position - 4):  # all ones: a live recording, of unknown size
        _check_size(size, start + length)


def _ebml_size(head: bytes, position: int) -> tuple[int, int]:
    """The size that is written at a position, and the position after it."""
    width = 9 - head[position].bit_length()  # the number of leading zeros, plus one
    value = int.from_bytes(head[position : position + width], "big") & ((1 << 7 * width) - 1)
    return value, position + width
