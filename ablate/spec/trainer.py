"""A training program of the user's own, as a spec states it: `trainer`, `metric`, `cost`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ablate.spec.placeholders import split_placeholders


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Trainer(_Part):
    """A training program of the user's own, which `ablate` starts for each trial."""

    command: tuple[str | tuple[str, ...], ...] = Field(min_length=1)
    """The program and its arguments, with placeholders: `{config}`, `{out}`, ... (docs/trainers.md). The arguments of
    an inner list are left out together where a placeholder in it is empty: `[--resume, "{resume}"]`."""
    workdir: str = "."
    """Folder that it starts in, relative to the spec's file; `~` is the home folder."""
    code: tuple[str, ...] = ()
    """Files and folders below `workdir` whose content identifies the program: a change makes new trials."""
    version: int | str | None = None
    """Instead of `code`: you vouch that the program computes the same as long as this is the same."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the program. They are not part of a trial's identity."""
    processes: Literal["node", "gpu"] = "node"
    """Whether the command is started once a node, as torchrun wants it, or once a GPU."""

    @field_validator("command", mode="before")
    @classmethod
    def _arguments(cls, command: Any) -> Any:
        if not isinstance(command, list | tuple) or not command:
            raise ValueError(
                f"must be a list of the program and its arguments, as in [python, train.py], not {command!r}"
            )
        return [[_argument(one) for one in entry] if isinstance(entry, list | tuple) else _argument(entry)
                for entry in command]  # fmt: skip

    @field_validator("command")
    @classmethod
    def _placeholders_exist(cls, command: tuple[str | tuple[str, ...], ...]) -> tuple[str | tuple[str, ...], ...]:
        if not isinstance(command[0], str) or not command[0]:
            raise ValueError("the first entry is the program's name or path")
        for entry in command:
            if not isinstance(entry, str) and not entry:
                raise ValueError("an empty list among the arguments; remove it")
            for argument in [entry] if isinstance(entry, str) else entry:
                list(split_placeholders(argument))
        return command

    @field_validator("version", mode="before")
    @classmethod
    def _is_a_number_or_text(cls, version: Any) -> Any:
        if version is not None and (isinstance(version, bool) or not isinstance(version, int | str)):
            raise ValueError(f"a version is a whole number or a text, not {version!r}; write it in quotes")
        return version

    @field_validator("workdir")
    @classmethod
    def _names_a_folder(cls, workdir: str) -> str:
        if not workdir:
            raise ValueError("name a folder; `.` is that of this file")
        return workdir

    @field_validator("env")
    @classmethod
    def _are_variables(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"{name!r} is no name and value of an environment variable")
        return env

    @model_validator(mode="after")
    def _identified(self) -> Trainer:
        if bool(self.code) == (self.version is not None):
            raise ValueError(
                "give `code` (files whose content is in the key) or `version` (you vouch for it), one of them"
            )
        return self


def _argument(value: Any) -> str:
    """An argument of a command; numbers need no quotes.

    Raises:
        ValueError: it is neither a text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"an argument is a text or a number, not {value!r}; write it in quotes")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{value!r} has a character that no argument can have")
    return str(value)


class Metric(_Part):
    """What ranks the designs."""

    name: str = Field(min_length=1)
    """`benchmark/category`."""
    lower_is_better: bool = Field(default=False, strict=True)
    """Whether lower scores are better, as for a loss or an error rate."""


class Cost(_Part):
    """What trials cost, as the user states it; measured times replace it once there are any."""

    gpu_hours: dict[str, Annotated[float, Field(gt=0, strict=True)]] | None = None
    """Label of a scale -> GPU-hours of one trial there."""
    gpu_seconds_per_sample: dict[str, Annotated[float, Field(gt=0, strict=True)]] | None = None
    """Label of a scale -> GPU-seconds of one training sample there; needs `samples`."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Cost:
        if (self.gpu_hours is None) == (self.gpu_seconds_per_sample is None):
            raise ValueError("give `gpu_hours` or `gpu_seconds_per_sample`, one of them")
        return self
