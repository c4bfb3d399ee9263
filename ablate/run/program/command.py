"""The arguments and environment variables that a program is started with. No shell is involved anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.errors import UsageError
from ablate.record import AttemptFolder
from ablate.run.job import Program
from ablate.run.program.flags import FLAGS, scalar
from ablate.run.program.inputs import config_path, yaml_path
from ablate.spec import split_placeholders

BESIDE_THE_DESIGN = ("scale", "seed", "samples", "data")
"""Keys of a program's config that are not part of its design: flags leave them out. So that axes such as `data.fps` are
possible, a design has `data` where the spec has none."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything in a command that its program's config does not determine."""

    attempt: AttemptFolder
    resume: str = ""
    """The `{out}` of the latest earlier attempt that wrote anything there; empty if there is none."""
    gpus: float = 0.0
    """GPUs on each node."""
    nodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = 0


def command_line(program: Program, context: Context) -> list[str]:
    """The arguments of the command, with all placeholders replaced.

    Arguments of an inner tuple are left out together if a placeholder in one of them is empty.

    Raises:
        UsageError: a placeholder is unknown, or two values of the design become the same flag.
    """
    values, design = _values(program, context), _design(program)
    arguments: list[str] = []
    for part in program.command:
        group = (part,) if isinstance(part, str) else part
        expansions = [_expand(argument, values, design) for argument in group]
        if isinstance(part, str) or all(is_complete for _, is_complete in expansions):
            arguments += [argument for replaced, _ in expansions for argument in replaced]
    return arguments


def variables(program: Program, context: Context) -> dict[str, str]:
    """The environment variables that a program gets: the spec's, and where its files are.

    The variables of torchrun's contract are the agent's, which knows the process.
    """
    return {
        **program.env,
        "ABLATE_CONFIG": str(config_path(context.attempt)),
        "ABLATE_OUT": str(context.attempt.out),
        "ABLATE_RESUME": context.resume,
        "ABLATE_ATTEMPT": str(context.attempt.number),
    }


def _values(program: Program, context: Context) -> dict[str, str]:
    """Placeholder -> its text, for those that stand for one text."""
    return {
        "config": str(config_path(context.attempt)),
        "config_yaml": str(yaml_path(context.attempt)),
        "out": str(context.attempt.out),
        "resume": context.resume,
        "attempt": str(context.attempt.number),
        "gpus": str(math.ceil(context.gpus)),  # half a GPU: the program sees one
        "nodes": str(context.nodes),
        "node_rank": str(context.node_rank),
        "master_addr": context.master_addr,
        "master_port": str(context.master_port),
        **dict.fromkeys(BESIDE_THE_DESIGN, ""),
        **{name: _text(program.config.get(name)) for name in _beside(program)},
    }


def _beside(program: Program) -> tuple[str, ...]:
    """Keys of the config that are not part of the design."""
    return tuple(name for name in BESIDE_THE_DESIGN if name != "data" or program.states_data)


def _text(value: Any) -> str:
    """A value beside the design as one text; empty for null."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else scalar(value)


def _design(program: Program) -> dict[str, Any]:
    return {name: value for name, value in program.config.items() if name not in _beside(program)}


def _expand(argument: str, values: Mapping[str, str], design: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The arguments that one argument becomes, and whether none of its placeholders is empty."""
    try:
        pieces = list(split_placeholders(argument))
    except ValueError as error:
        raise UsageError(f"trainer.command: {error}") from None
    if len(pieces) == 1 and pieces[0][1] in FLAGS:
        flags = FLAGS[pieces[0][1]](design)
        return flags, bool(flags)
    text = "".join(before + (values[name] if name is not None else "") for before, name in pieces)
    return [text], all(name is None or values[name] for _, name in pieces)
