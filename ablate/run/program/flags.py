"""A design as arguments of a command, in the three forms that training programs read.

| value          | `{flags}`               | `{flags_space}`      | `{dotlist}`        |
|----------------|-------------------------|----------------------|--------------------|
| nested a, b    | `--a.b=1`               | `--a_b` `1`          | `a.b=1`            |
| text           | `--a=some text`         | `--a` `some text`    | `a="some text"`    |
| true, false    | `--a=true`              | `--a` `true`         | `a=true`           |
| null           | left out                | left out             | `a=null`           |
| list           | `--a=[1, 2]`            | `--a` `1` `2`        | `a=[1,2]`          |
| empty mapping  | `--a={}`                | `--a` `{}`           | `a={}`             |

Each argument reaches the program as it stands here, spaces and quotes included, because there is no shell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ablate.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
"""Texts that YAML, OmegaConf and Hydra read as themselves without quotes, except `_WORDS`."""
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"})


_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON leaves as they are, and YAML refuses or takes for line breaks."""


def scalar(value: Any) -> str:
    """A text, number, boolean or null as the text of an argument."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """A number that YAML 1.1, which PyYAML reads, takes as a number too: `1.0e-05`, not `1e-05`."""
    text = repr(value)
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


def _leaves(design: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything in a design that is no mapping, or an empty one."""
    for name, value in design.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else scalar(value)


def _equals(design: Mapping[str, Any]) -> list[str]:
    return [f"--{'.'.join(path)}={_as_json(value)}" for path, value in _leaves(design) if value is not None]


def _spaces(design: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    paths: dict[str, str] = {}
    for path, value in _leaves(design):
        flag, dotted = "--" + "_".join(path), ".".join(path)
        if flag in paths:
            raise UsageError(
                f"{paths[flag]} and {dotted} of the design both become {flag} in {{flags_space}}: rename one"
            )
        paths[flag] = dotted
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            arguments += [flag, *map(_as_json, values)]
    return arguments


def _dotlist(design: Mapping[str, Any]) -> list[str]:
    return [f"{'.'.join(path)}={_yaml(value)}" for path, value in _leaves(design)]


def _yaml(value: Any) -> str:
    """A value as one line of YAML that OmegaConf and Hydra read, too."""
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if is_plain else _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}: {_yaml(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_yaml, value)) + "]"
    return scalar(value)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


FLAGS: Mapping[str | None, Callable[[Mapping[str, Any]], list[str]]] = MappingProxyType(
    {"flags": _equals, "flags_space": _spaces, "dotlist": _dotlist}
)
"""Placeholder -> what it becomes; the same names as `spec.EXPANDED`."""
