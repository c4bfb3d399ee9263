"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ablate.errors import UsageError


class Modality(StrEnum):
    """Input of the model: the video, its centre frame, or the question alone."""

    VIDEO = "video"
    FRAME = "frame"
    TEXT = "text"


Spec = Annotated[str, typer.Argument(help="A sweep spec: a path, or the bare name of a shipped one.")]
Study = Annotated[str, typer.Option(help="The study whose designs are compared.")]
To = Annotated[str, typer.Option(help="The large scale: a label, or LABEL=HUB-ID-OR-FOLDER for one of your own.")]
From = Annotated[str | None, typer.Option("--from", help="Small scales: 0.5B,1.5B; all smaller ones if omitted.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds instead of the spec's: 0,1,2")]
NewSeeds = Annotated[str, typer.Option("--seeds", help="Seeds of the new trials: 0,1")]
Scales = Annotated[str | None, typer.Option(help="Scales instead of the spec's: 0.15M,0.7M")]
Samples = Annotated[
    int | None, typer.Option(help="Scores of trials with this many training samples, if a study has several.", min=1)
]
TrainSamples = Annotated[
    int | None, typer.Option(help="Training samples of the new trials; as at the small scales if omitted.", min=1)
]
Metric = Annotated[str | None, typer.Option(help="benchmark/category; the study's own metric if omitted.")]
Input = Annotated[Modality, typer.Option("--modality", help="Input of the model.")]
Declared = Annotated[str | None, typer.Option(help="A spec that declares the designs of imported scores.")]
GpuName = Annotated[str | None, typer.Option(help="Price against this GPU: h100-80gb, rtx4090-24gb, ...")]
Blind = Annotated[bool, typer.Option("--blind", help="Ignore the scores at the large scale.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the result to this .png, .pdf or .svg file.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow store; $MLFLOW_TRACKING_URI or runs/mlflow.db if omitted.")
]
ReadUri = Annotated[
    str | None, typer.Option("--tracking-uri", help="Read the scores from this MLflow store instead of runs/.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster: `auto` or HOST:PORT; this machine if omitted.")]
NodesMayCome = Annotated[
    bool, typer.Option("--nodes-may-come", help="With --address: wait for nodes that the cluster lacks.")
]
Many = list[str] | None


def numbers(option: str, text: str | None) -> list[int] | None:
    """Whole numbers, separated by commas; None if the option is not given.

    Raises:
        UsageError: a piece is not a whole number.
    """
    try:
        return [int(piece) for piece in text.split(",")] if text is not None else None
    except ValueError:
        raise UsageError(f"{option} {text}: give whole numbers separated by commas, e.g. 0,1,2") from None


def names(option: str, text: str | None) -> list[str]:
    """Names, separated by commas, without duplicates; empty if the option is not given.

    Raises:
        UsageError: the option is given without a name.
    """
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()] if text is not None else []
    if text is not None and not pieces:
        raise UsageError(f"{option} {text!r}: give one or more names separated by commas, or omit it")
    return list(dict.fromkeys(pieces))


def duration(option: str, text: str | None) -> float | None:
    """Seconds of a duration such as 90s or 2h; None if the option is not given.

    Raises:
        UsageError: it is no duration.
    """
    from pydantic import TypeAdapter, ValidationError

    from ablate.spec import Duration

    try:
        return TypeAdapter(Duration | None).validate_python(text)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{option}: {message}") from None


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """Axis -> value, from an option that may be repeated with AXIS=VALUE.

    Raises:
        UsageError: a text has no `=`.
    """
    for text in texts or []:
        if "=" not in text:
            raise UsageError(f"{option} {text}: give AXIS=VALUE, e.g. {option} sampling=fps2")
    return dict(text.split("=", 1) for text in texts or [])


def refuse_empty(**options: str | None) -> None:
    """Refuse an empty value: most often a shell variable that is not set.

    Raises:
        UsageError: a value is empty; the message names the option.
    """
    for name, value in options.items():
        if value is not None and not value.strip():
            raise UsageError(f"--{name.replace('_', '-')} {value!r} is empty: give a name, or omit it")


def labelled_scale(text: str) -> tuple[str, str | None]:
    """`--to`: the label of a scale, and the LLM if the label is the user's own.

    Raises:
        UsageError: nothing follows the `=`.
    """
    label, separator, llm = text.partition("=")
    if separator and not llm:
        raise UsageError(f"--to {text}: give a hub id or folder after the =, or omit the =")
    return label, llm or None
