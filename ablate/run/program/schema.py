"""The files that a program writes into `{out}`, as types: what is allowed in them, and their JSON Schema."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import models_json_schema

StatedClass = Literal["usage", "data", "diverged", "code", "oom", "killed", "node", "preempted", "timeout"]
STATED_CLASSES: tuple[StatedClass, ...] = get_args(StatedClass)
"""Classes of failures that a program may state; `interrupted` and `error` are ablate's own."""

Name = Annotated[str, Field(pattern=r"^[^/\s\x00-\x1f\x7f]+$", max_length=200)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Step = Annotated[int, Field(ge=0, le=2**53)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ProgressLine(_File):
    """A line of progress.jsonl; any further key with a number is a metric of the training curve, null none."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    step: Step | None = None
    """Training steps so far; lines without it add to the latest step."""
    steps: Step | None = None
    """Training steps of the whole trial."""
    loss: float | None = None
    samples_per_s: float | None = None
    """Training samples per second."""
    phase: Literal["preparing", "training", "testing"] | None = None
    """`training` if omitted and there is a step."""


class ScoreEntry(_File):
    """A score of a benchmark."""

    benchmark: Name
    """Name without a slash and without spaces."""
    category: Name = "overall"
    """Name without a slash and without spaces."""
    modality: Literal["video", "frame", "text"] = "video"
    """Input of the model: the video, its centre frame, or the question alone."""
    score: Finite
    """In the unit of the benchmark."""


class ResultFile(_File):
    """result.json: written last, when the trial is finished."""

    scores: list[ScoreEntry] = Field(min_length=1)
    counts: dict[str, Finite] = Field(default_factory=dict)
    """Name -> number: samples, steps, seconds of training, ..."""

    @model_validator(mode="after")
    def _each_score_once(self) -> ResultFile:
        names = [f"{s.benchmark}/{s.category}" + f" ({s.modality})" for s in self.scores]
        repeated = sorted(name for name, number in Counter(names).items() if number > 1)
        if repeated:
            raise ValueError(f"{', '.join(repeated)}: more than one score; write each once")
        return self


class FailureFile(_File):
    """failure.json: why the program could not finish."""

    kind: StatedClass = Field(alias="class")
    """Decides whether the trial is retried: docs/trainers.md."""
    message: str


def problem_of(error: ValidationError) -> str:
    """The first thing that is wrong with a file, with its position and the value there."""
    first = error.errors(include_url=False)[0]
    position = "".join(f"[{piece}]" if isinstance(piece, int) else f".{piece}" for piece in first["loc"]).lstrip(".")
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("value_error", "missing", "json_invalid"):
        return f"{position}: {text}" if position else text
    return f"{position}: {text}, not {str(first['input'])[:100]!r}" if position else text


def program_schema() -> dict[str, Any]:
    """JSON Schema of a line of progress.jsonl, of result.json and of failure.json, under `$defs`."""
    files: dict[str, type[BaseModel]] = {
        "progress.jsonl": ProgressLine,
        "result.json": ResultFile,
        "failure.json": FailureFile,
    }
    _, schema = models_json_schema([(model, "validation") for model in files.values()])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a training program writes into {out}: a line of progress.jsonl, result.json, failure.json",
        "anyOf": [{"title": name, "$ref": f"#/$defs/{model.__name__}"} for name, model in files.items()],
        **schema,
    }
