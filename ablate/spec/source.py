"""YAML as plain data with line numbers, so that an error can name its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from ablate.errors import SpecError, UsageError, first_line

Location = tuple[str | int, ...]

MERGE = "<<"
"""Key of the mappings whose entries a mapping takes over."""
HIDDEN = '"***"'
"""YAML in the place of what may be secret."""


@dataclass(frozen=True)
class Source:
    """The plain data of a YAML file, and the line of each key and list entry."""

    path: Path
    text: str
    data: Any
    lines: dict[Location, int] = field(repr=False)

    def public_text(self) -> str:
        """The text with `"***"` for each value of `trainer.env`, which may be secret."""
        trainers = _values(YAML().compose(self.text), "trainer")
        environments = [env for trainer in trainers for env in _values(trainer, "env")]
        values = {value.start_mark.index: value for env in environments for value in _values(env)}
        text = self.text
        for start, value in sorted(values.items(), reverse=True):
            anchor = f"&{value.anchor} " if value.anchor else ""
            end = len(text[: value.end_mark.index].rstrip())  # that of a block is after its last line
            text = text[:start] + anchor + HIDDEN + text[end:]
        return text

    def error(self, location: Location, message: str) -> SpecError:
        """`file:line: key: message`, at the line of the location or of the nearest parent in the file."""
        nearest = location
        while nearest and nearest not in self.lines:
            nearest = nearest[:-1]
        where = f"{self.path}:{self.lines.get(nearest, 1)}"
        key = ".".join(str(piece) for piece in location)
        return SpecError(f"{where}: {key}: {message}" if key else f"{where}: {message}")


def read_yaml(path: Path) -> Source:
    """Read a YAML 1.2 file (so `3e6` is a number and `no` is a string).

    Raises:
        SpecError: not YAML, or a duplicate key; the message names file and line.
        UsageError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    try:
        tree = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        problem = first_line(error.problem).partition(" with value ")[0]  # the values may be secret
        raise SpecError(f"{path}:{line}: {problem}; keep one of them") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpecError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        first = " ".join(str(error).split())
        raise SpecError(f"{path}:1: not valid YAML: {first}") from None
    except RecursionError:
        raise SpecError(f"{path}:1: nested too deeply for a sweep spec") from None
    lines: dict[Location, int] = {(): 1}
    try:
        data = _plain(tree, (), lines)
    except ValueError as error:
        raise SpecError(f"{path}:{max(lines.values())}: {error}") from None
    return Source(path=path, text=text, data=data, lines=lines)


def _plain(node: Any, location: Location, lines: dict[Location, int]) -> Any:
    """A node as plain Python data; its lines are added to `lines`.

    Raises:
        ValueError: a YAML tag (`!python/...`), or a text that no file or argument can contain.
    """
    if isinstance(node, TaggedScalar) or getattr(getattr(node, "tag", None), "value", None):
        raise ValueError(f"YAML tags such as {node.tag.value} are not allowed")
    if isinstance(node, CommentedMap):
        for key in node:
            if key in (node.lc.data or ()):  # a key from a merge (`<<`) is at another line
                lines[(*location, str(key))] = node.lc.key(key)[0] + 1
        return {_text(str(key)): _plain(item, (*location, str(key)), lines) for key, item in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*location, index)] = node.lc.item(index)[0] + 1
        return [_plain(item, (*location, index), lines) for index, item in enumerate(node)]
    for kind in (bool, int, float):
        if isinstance(node, kind):
            return kind(node)
    return _text(str(node)) if isinstance(node, str) else node


def _text(text: str) -> str:
    """The text.

    Raises:
        ValueError: it has a null character or half a surrogate pair, which no file or argument can contain.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text has a character that no file or argument can contain (\\0, or \\uD800 to \\uDFFF)")
    return text


def _values(node: Any, key: str | None = None) -> list[Any]:
    """The nodes of a mapping's values, of all keys or of one, with merged ones; none if the node is no mapping."""
    if not isinstance(node, MappingNode):
        return []
    own = [value for name, value in node.value if name.value != MERGE and key in (None, name.value)]
    merged = [value for name, value in node.value if name.value == MERGE]
    parts = [part for value in merged for part in (value.value if isinstance(value, SequenceNode) else [value])]
    return own + [value for part in parts for value in _values(part, key)]
