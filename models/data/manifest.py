"""Manifests: LLaVA-style JSON for training, multiple-choice questions for testing (docs/data.md).

No torch here, since specs and plans check data too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.video import Medium

Kind = Literal["text", "image", "multi_image", "video"]
_PLACEHOLDER = re.compile(r"^<(?:image|video)>\n|\n<(?:image|video)>$|<(?:image|video)>", re.MULTILINE)
"""Placeholder of a medium in a turn, with its line break if it has a line of its own. Media always precede the text."""


Text = tuple[str | int, ...]
"""Pieces of a question, in order: text, and indices into the media of its record at their places."""


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
        return "".join(piece for piece in self.question if isinstance(piece, str))


@dataclass(frozen=True)
class TrainingSample:
    """A conversation about videos, about one or several images, or without media."""

    id: str
    kind: Kind
    media: tuple[Medium, ...]
    """In the order of the record: none for text, one for an image, more for `multi_image`, at least one for a video."""
    turns: tuple[Turn, ...]
    """Questions and answers; each medium has its place in one of the questions."""
    independent: bool
    """Whether no turn refers to an earlier one, so that turns can be trained on separately."""
    duration_s: float | None = None
    """Duration of a video, if the manifest contains it; plans then need not open the file."""
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
    """A video, or one or several images, and the questions about it."""

    __test__ = False  # not a pytest class

    id: str
    kind: Kind
    media: tuple[Medium, ...]
    """In the order of the record."""
    questions: tuple[Question, ...]


def load_train(folder: Path) -> list[TrainingSample]:
    """Training samples of `train.json` in a data folder.

    Raises:
        ManifestError: the file cannot be read, a record is not in the format, or media are missing.
    """
    file = folder / "train.json"
    samples = [_sample(file, number, data) for number, data in enumerate(_load(file))]
    _check_media(folder, file, [medium.path for sample in samples for medium in sample.media])
    return samples


def load_test(folder: Path) -> list[TestItem]:
    """Test items of `test.json` in a data folder.

    Raises:
        ManifestError: the file cannot be read, an item is not in the format, or media are missing.
    """
    file = folder / "test.json"
    items = [_item(file, number, data) for number, data in enumerate(_load(file))]
    _check_media(folder, file, [medium.path for item in items for medium in item.media])
    return items


def _load(file: Path) -> list[dict[str, Any]]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"cannot read {file}: {error.strerror}; docs/data.md describes a data folder") from None
    except ValueError as error:
        raise ManifestError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        raise ManifestError(f"{file} must be a list of at least one record; docs/data.md has an example")
    return data


def _kind_and_media(file: Path, number: int, data: dict[str, Any]) -> tuple[Kind, tuple[Medium, ...]]:
    if "video" in data and "image" in data:
        raise _bad(file, number, data, "has both `video` and `image`; give one of them")
    if "video" in data:
        video = data["video"]
        if not isinstance(video, str) or not video:
            raise _bad(file, number, data, f"`video` must be a path, not {video!r}")
        return "video", (Medium(path=video, kind="video"),)
    if "image" in data:
        value = data["image"]
        images = value if isinstance(value, list) else [value]
        if not images or not all(isinstance(path, str) and path for path in images):
            raise _bad(file, number, data, f"`image` must be a path or a list of at least one path, not {value!r}")
        media = tuple(Medium(path=path, kind="image") for path in images)
        return ("image" if len(images) == 1 else "multi_image"), media
    return "text", ()


def _sample(file: Path, number: int, data: dict[str, Any]) -> TrainingSample:
    try:
        turns = data["conversations"]
        speakers = [turn["from"] for turn in turns]
        texts = [str(turn["value"]) for turn in turns]
    except (KeyError, TypeError) as error:
        raise _bad(file, number, data, f"needs `conversations` of `from` and `value` ({error!r})") from None
    if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise _bad(file, number, data, "`conversations` must alternate human, gpt and end with gpt")
    kind, media = _kind_and_media(file, number, data)
    questions = texts[::2] if kind == "text" else [_PLACEHOLDER.sub("", text) for text in texts[::2]]
    in_front = tuple(range(len(media)))
    pairs = tuple(
        Turn((*(() if number else in_front), question), answer)
        for number, (question, answer) in enumerate(zip(questions, texts[1::2], strict=True))
    )
    duration_s = data.get("duration")
    if duration_s is not None and not (type(duration_s) in (int, float) and 0 <= duration_s < 1e6):
        raise _bad(file, number, data, "`duration` must be a number of seconds, 0 or more")
    independent = bool(data.get("independent", False))
    return TrainingSample(str(data.get("id", number)), kind, media, pairs, independent, duration_s)


def _item(file: Path, number: int, data: dict[str, Any]) -> TestItem:
    kind, media = _kind_and_media(file, number, data)
    try:
        questions = tuple(
            Question(
                id=str(q.get("id", f"{data.get('id', number)}.{i}")),
                question=(*range(len(media)), str(q["question"])),
                options=tuple(str(option) for option in q["options"]),
                answer=int(q["answer"]),
                category=str(q["category"]),
                task=str(q.get("task", q["category"])),
            )
            for i, q in enumerate(data["questions"])
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _bad(
            file, number, data, f"needs `questions` of `question`, `options`, `answer`, `category` ({error!r})"
        ) from None
    for question in questions:
        if len(question.options) < 2 or not 0 <= question.answer < len(question.options):
            raise _bad(file, number, data, f"question {question.id}: `answer` must be the index of an option, from 0")
        if not all(option.strip() for option in question.options):
            raise _bad(file, number, data, f"question {question.id}: an option is empty")
        if question.category == "overall":
            raise _bad(file, number, data, "category `overall` is reserved for the mean over all questions")
    if kind == "text":
        raise _bad(file, number, data, "needs `video` or `image`")
    return TestItem(str(data.get("id", number)), kind, media, questions)


def _bad(file: Path, number: int, data: dict[str, Any], problem: str) -> ManifestError:
    return ManifestError(f"{file}: record {number} (id {data.get('id', '?')}): {problem}; docs/data.md has an example")


def _check_media(folder: Path, file: Path, media: list[str]) -> None:
    paths = dict.fromkeys(media)
    missing = [path for path in paths if not (folder / path).is_file()]
    if missing:
        raise ManifestError(
            f"{file}: {len(missing)} of {len(paths)} media files are missing below {folder}, first {missing[0]}; "
            "paths are relative to the data folder"
        )
