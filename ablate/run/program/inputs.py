"""The files that a program reads: its config as JSON and as YAML, in the attempt's folder, for every rank and node."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from ablate.record import AttemptFolder, write_text
from ablate.run.job import Job
from ablate.run.program.flags import number


def config_path(attempt: AttemptFolder) -> Path:
    """`{config}`: beside config.json of the attempt, which says what the attempt ran."""
    return attempt.path / "inputs" / "config.json"


def yaml_path(attempt: AttemptFolder) -> Path:
    """`{config_yaml}`."""
    return attempt.path / "inputs" / "config.yaml"


def write_inputs(job: Job, attempt: AttemptFolder) -> None:
    """Write inputs/config.json and inputs/config.yaml with the same content, and make out/."""
    assert job.program is not None
    config = dict(job.program.config)
    write_text(config_path(attempt), json.dumps(config, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(yaml_path(attempt), _yaml(config))
    attempt.out.mkdir(exist_ok=True)


class _Representer(RoundTripRepresenter):
    """Writes what YAML 1.1 (PyYAML) and 1.2 (ruamel) read as the same values."""


def _float(representer: _Representer, value: float) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:float", number(value))


_Representer.add_representer(float, _float)


def _yaml(config: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 2**20  # long texts stay on one line
    text = io.StringIO()
    yaml.dump(_quoted(config), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    """The same value with all texts in quotes: without them YAML 1.1 reads `no`, `1:30` or `1e5` as other types."""
    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        return {_quoted(name): _quoted(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(entry) for entry in value]
    return value
