"""Values of a JSON object of a manifest, each of the type that the format asks for; nothing is coerced."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Never

from models.data.manifest.records import ManifestError

MAX_SECONDS = 1e6
"""Upper limit of a time in a video: eleven days. Larger values are milliseconds or frame numbers."""
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlist = _repr.maxdict = 3
_repr.maxlevel = 2


@dataclass(frozen=True)
class Keys:
    """Keys that an object of a manifest may have."""

    used: tuple[str, ...]
    """Keys with a meaning."""
    ignored: frozenset[str] = frozenset()
    """Keys of public data sets that mean nothing for training and testing: they are passed over."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Key of another format -> what to write instead."""

    @cached_property
    def allowed(self) -> frozenset[str]:
        """All keys that are not refused."""
        return self.ignored.union(self.used)


class DoubledKey(dict[str, Any]):
    """A JSON object that has a key twice; `key` is its name."""

    key: str


class Fields:
    """A record of a manifest, or an object inside it. A null is the same as a missing key."""

    __slots__ = ("_data", "_nulls", "_path", "_record")

    def __init__(self, file: Path, number: int, data: dict[str, Any]) -> None:
        """A whole record: its file, its number from 0, and its decoded JSON object."""
        self._record: tuple[Path, int, object] = (file, number, data.get("id"))
        self._path = ""
        self._set(data)

    def _set(self, data: dict[str, Any]) -> None:
        if isinstance(data, DoubledKey):
            self.refuse(f"has the key `{data.key}` twice")
        self._nulls = [key for key, value in data.items() if value is None] if None in data.values() else []
        self._data = {key: value for key, value in data.items() if value is not None} if self._nulls else data

    def inner(self, path: str, value: object, fields: str) -> Fields:
        """An object inside this one.

        Args:
            path: its place, such as `conversations[2]`.
            value: the value at that place.
            fields: what the object should contain, for the message.
        """
        if not isinstance(value, dict):
            self.refuse(f"must be an object with {fields}, not {described(value)}", path)
        inner: Fields = Fields.__new__(Fields)
        inner._record = self._record
        inner._path = self._label(path)
        inner._set(value)
        return inner

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def get(self, key: str) -> Any:
        """The value of a key, of any type; None without it."""
        return self._data.get(key)

    def refuse(self, problem: str, key: str = "") -> Never:
        """Raise a ManifestError on a key of this object, or on the whole object."""
        file, number, name = self._record
        place = f"`{self._label(key)}` " if key else f"`{self._path}` " if self._path else ""
        label = "?" if name is None else name if isinstance(name, str) and name.isprintable() else _repr.repr(name)
        raise ManifestError(
            f"{file}: record {number} (id {label[:60]}): {place}{problem}; docs/data.md describes the format"
        )

    def _label(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def check_keys(self, keys: Keys) -> None:
        """Refuse keys that are neither used nor ignored."""
        if self._data.keys() <= keys.allowed:
            return
        key = next(key for key in self._data if key not in keys.allowed)
        near = difflib.get_close_matches(key, keys.used, n=1, cutoff=0.75)
        fix = keys.instead.get(key) or keys.instead.get(key.lower()) or (f"did you mean `{near[0]}`?" if near else "")
        name = key if key.isprintable() and len(key) <= 60 else _repr.repr(key)
        self.refuse(f"has an unknown key `{name}`" + (f": {fix}" if fix else "") + f" (known: {', '.join(keys.used)})")

    def missing(self, key: str, fix: str) -> Never:
        """Refuse an object without a value that it needs."""
        self.refuse(f"{'is null' if key in self._nulls else 'is missing'}: {fix}", key)

    def text(self, key: str, fix: str) -> str:
        """A text with at least one character that is not a space.

        Args:
            key: the key.
            fix: what the text is, for the message if it is missing.
        """
        if key not in self._data:
            self.missing(key, fix)
        return self.as_text(self._data[key], key)

    def as_text(self, value: object, key: str) -> str:
        """A value of this object as a text that is not empty."""
        if not isinstance(value, str):
            self.refuse(f"must be text, not {described(value)}", key)
        if not value or value.isspace():
            self.refuse(f"is empty ({value[:20]!r})", key)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = ascii(value[error.start])[1:-1]
                self.refuse(f"contains half a surrogate pair ({half}): the text was cut inside a character", key)
        return value

    def name(self, key: str, default: str) -> str:
        """A text or an integer that names something, as text; the default without it."""
        value = self._data.get(key)
        if value is None:
            return default
        if type(value) is int:
            return str(value)
        if not isinstance(value, str):
            self.refuse(f"must be text or an integer, not {described(value)}", key)
        return self.as_text(value, key)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"must be true or false, not {described(value)}", key)
        return value

    def entries(self, key: str, fix: str) -> list[Any]:
        """A list with at least one entry."""
        if key not in self._data:
            self.missing(key, fix)
        value = self._data[key]
        if not isinstance(value, list):
            self.refuse(f"must be a list, not {described(value)}: {fix}", key)
        if not value:
            self.refuse(f"is an empty list: {fix}", key)
        return value

    def measure(self, key: str, unit: str, maximum: float) -> float | None:
        """A finite number from 0 to a maximum; None without it."""
        value = self._data.get(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 <= value <= maximum:  # NaN is in no range
            self.refuse(f"must be {unit} from 0 to {maximum:g}, not {described(value)}", key)
        return float(value)


def described(value: object) -> str:
    """A JSON value for a message: shortened, with its type where its spelling does not show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    kind = "the text " if isinstance(value, str) else "the list " if isinstance(value, list) else ""
    return ("the object " if isinstance(value, dict) else kind) + _repr.repr(value)
