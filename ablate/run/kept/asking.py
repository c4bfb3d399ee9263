"""Questions to a kept model about one video or image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.errors import UsageError
from ablate.run.kept.evaluation import corpus_for
from ablate.run.kept.model import open_kept
from models.design import Design, ManifestData

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Endings of files that are read as images; all others are videos."""


@dataclass(frozen=True, kw_only=True)
class VideoQuestion:
    """A question about a video or image."""

    path: Path
    question: str
    options: Sequence[str] = ()
    """Options of a multiple-choice question, at least two; without any the answer is free text."""
    max_tokens: int = 64
    """Most tokens of an answer in free text."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The answer of a model."""

    answer: str
    """Free text, or the option with the highest probability."""
    is_complete: bool = True
    """Whether free text ended before the largest number of tokens."""
    probabilities: dict[str, float] | None = None
    """Option -> probability, of a question with options."""


def ask(folder: Path, query: VideoQuestion) -> Reply:
    """Answer a question by a model.

    Args:
        folder: of a kept or exported model.
        query: the question.

    Raises:
        UsageError: the model cannot be opened; the file is missing or cannot be read; or the options are wrong.
    """
    if not query.path.is_file():
        raise UsageError(f"there is no file {query.path}: give a video or an image")
    if len(set(query.options)) < len(query.options):
        raise UsageError("two options are the same; give each once")
    if len(query.options) == 1:
        raise UsageError("give at least two options, --option A --option B, or none for an answer in free text")
    kept_model = open_kept(folder)
    from models.data import ManifestError
    from models.scoring import answer, choose, question_with
    from models.video import Medium, VideoError

    assert kept_model.model.source is not None
    design = _design_here(kept_model.model.source.config.design, query.path.resolve().parent)
    kind = "image" if query.path.suffix.lower() in IMAGES else "video"
    medium = Medium(path=query.path.name, kind=kind)  # type: ignore[arg-type]
    try:
        with corpus_for(kept_model, design, asks=True) as corpus:
            if query.options:
                question = question_with(query.question, query.options)
                choices = choose(kept_model.model, corpus, kept_model.device, medium, question)
                best = max(choices, key=lambda choice: choice.probability)
                return Reply(answer=best.option, probabilities={one.option: one.probability for one in choices})
            reply = answer(kept_model.model, corpus, kept_model.device, medium, query.question, query.max_tokens)
    except (VideoError, ManifestError) as error:
        raise UsageError(str(error)) from None
    return Reply(answer=reply.text, is_complete=reply.is_complete)


def _design_here(design: Design, folder: Path) -> Design:
    """The design with media of a folder, shown and scored as in the trial."""
    data = design.data
    if isinstance(data, ManifestData):
        data = data.model_copy(update={"folder": str(folder)})
    else:
        data = ManifestData(kind="manifest", benchmark="question", folder=str(folder), scoring="text")
    return design.model_copy(update={"data": data})
