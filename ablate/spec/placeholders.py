"""Placeholders in the command of the user's own trainer: their names, and how an argument is split at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Formatter
from types import MappingProxyType

PLACEHOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "config": "path of the config as JSON",
        "config_yaml": "path of the config as YAML",
        "flags": "the design as arguments `--a.b=c`",
        "flags_space": "the design as arguments `--a_b c`",
        "dotlist": "the design as arguments `a.b=c`, for OmegaConf and Hydra",
        "out": "folder for the program's files",
        "resume": "the `{out}` of the latest earlier attempt that wrote anything there; empty if there is none",
        "attempt": "number of the attempt, from 0",
        "gpus": "number of GPUs on each node",
        "nodes": "number of nodes",
        "seed": "random seed",
        "scale": "label of the scale",
        "samples": "number of training samples; empty if the spec states none",
        "data": "the spec's `data`: with absolute paths, a text unchanged and anything else as JSON",
        "node_rank": "index of this node, from 0",
        "master_addr": "address of node 0",
        "master_port": "a free port of node 0",
    }
)
"""Name -> meaning."""
EXPANDED = frozenset({"flags", "flags_space", "dotlist"})
"""Placeholders that stand for any number of arguments: an argument consists of such a placeholder alone."""


def split_placeholders(argument: str) -> Iterator[tuple[str, str | None]]:
    """Split an argument of a command into (text, placeholder that follows it or None); `{{` and `}}` are braces.

    Raises:
        ValueError: a placeholder is unknown or written wrongly; the message names those that exist.
    """
    try:
        pieces = list(Formatter().parse(argument))
    except ValueError:
        raise ValueError(
            f"{argument!r}: a single brace; write {{{{ and }}}} for braces that are no placeholder"
        ) from None
    for text, name, form, conversion in pieces:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(
                f"{argument!r}: there is no placeholder {{{written}}}; use one of {', '.join(PLACEHOLDERS)}, or write "
                "{{ and }} for braces"
            )
        if name in EXPANDED and len(pieces) + bool(text) > 1:
            raise ValueError(f"{argument!r}: {{{name}}} becomes several arguments; write it as an argument of its own")
        yield text, name
