"""`ablate evaluate`, `ask` and `export`: the models of trials with `keep: weights`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli import options
from ablate.cli.options import Many

Trial = Annotated[str, typer.Argument(help="STUDY/LABEL, or the start of the trial's key.")]


class HowScored(StrEnum):
    """How an option is scored: by its letter after a list of all options, or by its own text."""

    LETTERS = "letters"
    TEXT = "text"


def evaluate(
    trial: Trial,
    data: Annotated[Path, typer.Option(help="Folder with a test.json and its media (docs/data.md).")],
    benchmark: Annotated[str | None, typer.Option(help="Its name in tables; the folder's if omitted.")] = None,
    scoring: Annotated[
        HowScored | None, typer.Option(help="How options are scored; as in the trial if omitted.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Score a kept model on another benchmark, without training; `ablate ls --metric` ranks by it."""
    from ablate.cli.views.kept import evaluate_and_show

    options.refuse_empty(benchmark=benchmark)
    evaluate_and_show(trial, data, benchmark, scoring.value if scoring else None, as_json=as_json)


def ask(
    trial: Annotated[str, typer.Argument(help="STUDY/LABEL, the start of a key, or an exported folder.")],
    video: Annotated[Path, typer.Argument(help="A video or an image.")],
    question: Annotated[str, typer.Argument(help="A question about it.")],
    option: Annotated[Many, typer.Option(help="An option to choose from; give it for each.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer in free text.", min=1)] = 64,
    as_json: options.Json = False,
) -> None:
    """Answer a question about a video by a kept model."""
    from ablate.cli.views.kept import ask_and_show
    from ablate.run import VideoQuestion

    options.refuse_empty(question=question)
    query = VideoQuestion(path=video, question=question, options=tuple(option or ()), max_tokens=max_tokens)
    ask_and_show(trial, query, as_json=as_json)


def export(
    trial: Trial,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    bf16: Annotated[bool, typer.Option("--bf16", help="Store what was trained in bfloat16: half the size.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a kept model and all that it needs into a folder that VideoLMM.from_pretrained opens anywhere."""
    from ablate.cli.views.kept import export_and_show

    export_and_show(trial, folder, bf16=bf16, as_json=as_json)
