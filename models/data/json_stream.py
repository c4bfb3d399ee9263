"""The records of a manifest, read one by one from a JSON list or from JSON lines: a file is never in memory whole."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Never

from models.data.manifest import ManifestError, decoder

CHUNK_BYTES = 4 << 20
MAX_RECORD_CHARACTERS = 64 << 20
"""Longest record. A JSON error is reported when this much text after it has been read, since a record that is cut by
the end of a chunk looks the same."""
_SPACE = " \t\r\n"

BytesRead = Callable[[int], None]
"""Receives the number of bytes of a file that have been read."""


class JsonRecord(NamedTuple):
    """A record of a manifest."""

    number: int
    """Position in the manifest, from 0."""
    text: str
    """Its JSON."""
    data: dict[str, Any]
    """Its JSON, decoded."""


class JsonStream:
    """Iterates over the records of a file, and computes the digest of the bytes that it has read.

    The file is a JSON list of objects, or one object a line; UTF-8, with or without a byte order mark.
    """

    def __init__(self, file: Path, progress: BytesRead = lambda _: None) -> None:
        self.file, self._progress = file, progress
        self._hash = hashlib.sha256()
        self._chunks = self._read()
        self._parse = decoder().raw_decode
        self._buffer = ""
        self._at = 0  # position in the buffer
        self._line = 1  # line of the file at the start of the buffer

    @property
    def digest(self) -> str:
        """SHA-256 of the whole file; valid after the last record."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[JsonRecord]:
        """Read the file, once.

        Raises:
            ManifestError: the file cannot be read, is not valid JSON, or has something else than objects.
        """
        opening = self._peek()
        if opening not in ("[", "{"):
            self._refuse(
                "must be a JSON list of records, or JSON lines of one record each; docs/data.md has an example"
            )
        is_list = opening == "["
        self._at += is_list
        number = 0
        while (character := self._peek()) and not (is_list and character == "]"):
            if is_list and number:
                self._expect_comma(character)
            data, text = self._record(number)
            yield JsonRecord(number, text, data)
            number += 1
        if is_list:
            self._close_list(character)
        if not number:
            raise ManifestError(f"{self.file} must have at least one record; docs/data.md has an example")

    def _read(self) -> Iterator[str]:
        """Text of the file in chunks."""
        decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        size = 0
        try:
            with self.file.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    if not size:
                        self._refuse_encoding(chunk)
                    size += len(chunk)
                    self._hash.update(chunk)
                    yield decode(chunk)
                    self._progress(size)
            yield decode(b"", final=True)
        except OSError as error:
            raise ManifestError(
                f"cannot read {self.file}: {error.strerror}; docs/data.md describes a data folder"
            ) from None
        except UnicodeDecodeError as error:
            name, byte = self.file.name, error.object[error.start]
            line = self._line + self._buffer.count("\n") + error.object.count(b"\n", 0, error.start)
            raise ManifestError(
                f"{self.file} is not UTF-8: byte 0x{byte:02x} in line {line}; if it is Latin-1: "
                f"`iconv -f LATIN1 -t UTF-8 {name} > new && mv new {name}`"
            ) from None

    def _refuse_encoding(self, head: bytes) -> None:
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head[:4]:
            name = self.file.name
            raise ManifestError(
                f"{self.file} is UTF-16 or UTF-32; manifests are UTF-8: "
                f"`iconv -f UTF-16 -t UTF-8 {name} > new && mv new {name}`"
            )

    def _more(self) -> bool:
        """Add a chunk to the buffer, and drop what has been read of it; False at the end of the file."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._line += self._buffer.count("\n", 0, self._at)
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return True

    def _peek(self) -> str:
        """The next character that is no space, at which the position then is; empty at the end of the file."""
        while True:
            buffer, at = self._buffer, self._at
            while at < len(buffer) and buffer[at] in _SPACE:
                at += 1
            self._at = at
            if at < len(buffer):
                return buffer[at]
            if not self._more():
                return ""

    def _record(self, number: int) -> tuple[dict[str, Any], str]:
        while True:
            try:
                data, end = self._parse(self._buffer, self._at)
                break
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > MAX_RECORD_CHARACTERS or not self._more():
                    self._refuse(f"is not valid JSON in record {number}: {error.msg}", error.pos)
            except RecursionError:
                self._refuse(f"is not readable JSON in record {number}: it is nested too deeply")
            except ValueError as error:  # a number of thousands of digits
                self._refuse(f"is not readable JSON in record {number}: {error}")
        if not isinstance(data, dict):
            self._refuse(f"record {number} must be an object, not {self._buffer[self._at : end][:40]}")
        text = self._buffer[self._at : end]
        self._at = end
        return data, text

    def _expect_comma(self, character: str) -> None:
        if character != ",":
            self._refuse("is not valid JSON: a comma is missing between two records")
        self._at += 1
        if self._peek() in ("]", ""):
            self._refuse("is not valid JSON: a comma without a record after it")

    def _close_list(self, character: str) -> None:
        if not character:
            self._refuse("ends within its list: it is truncated")
        self._at += 1
        if self._peek():
            self._refuse("has text after its list")

    def _refuse(self, problem: str, position: int | None = None) -> Never:
        end = self._at if position is None else position
        line = self._line + self._buffer.count("\n", 0, end)
        raise ManifestError(f"{self.file}:{line}: {problem}")
