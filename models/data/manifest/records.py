"""What a manifest contains: conversations for training, multiple-choice questions for testing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.video import Medium

Kind = Literal["text", "image", "multi_image", "video"]
Text = tuple[str | int, ...]
"""Pieces of a question, in order: text, and indices into the media of its record at their places."""


def question_text(question: Text) -> str:
    """The text of a question, without its media."""
    return "".join(piece for piece in question if isinstance(piece, str))


class ManifestError(ValueError):
    """A manifest or its media are not in the format of docs/data.md; the message names file, record and fix."""


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: Text
    answer: str
    options: tuple[str, ...] = ()
    """Options of a multiple-choice question, of which `answer` is one; none for an open question."""

    @property
    def text(self) -> str:
        """The question without its media."""
        return question_text(self.question)


@dataclass(frozen=True)
class TrainingSample:
    """A conversation about one or several videos, about one or several images, or without media."""

    id: str
    kind: Kind
    media: tuple[Medium, ...]
    """In the order of the record: none for text, one for an image, more for `multi_image`, at least one for a video."""
    turns: tuple[Turn, ...]
    """Questions and answers; each medium has its place in one of the questions."""
    independent: bool
    """Whether no turn refers to an earlier one, so that turns can be trained on separately."""
    duration_s: float | None = None
    """Seconds of the video, or of its segment, if the manifest contains them: a plan then need not open the file."""
    system: str | None = None
    """System message of the conversation; None for that of the chat template."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question of a benchmark."""

    id: str
    question: Text
    """The question; each medium of the item has its place in it."""
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    category: str
    task: str


@dataclass(frozen=True)
class TestItem:
    """One or several videos, or one or several images, and the questions about them."""

    __test__ = False  # not a pytest class

    id: str
    kind: Kind
    media: tuple[Medium, ...]
    """In the order of the record."""
    questions: tuple[Question, ...]
