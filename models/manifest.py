"""Reading manifests: LLaVA-style JSON for training, multiple-choice questions for testing (docs/data.md).

No torch here: specs and plans check data with it too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["text", "image", "video"]
PLACEHOLDERS = ("<video>\n", "<image>\n")


class ManifestError(ValueError):
    """A manifest or its media are not as docs/data.md says; names file, record and the mend."""


@dataclass(frozen=True)
class Record:
    """One training sample: a conversation about one video or image, or about nothing but text."""

    id: str
    kind: Kind
    media: str
    """Path below the data folder; empty for text."""
    turns: tuple[tuple[str, str], ...]
    """Questions and answers; placeholders removed."""
    independent: bool
    """Whether no turn refers to an earlier one, so that each may be asked alone."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question of a benchmark."""

    id: str
    text: str
    options: tuple[str, ...]
    answer: int
    category: str
    task: str


@dataclass(frozen=True)
class TestItem:
    """A video (or image) and the questions about it."""

    __test__ = False  # not a pytest class

    id: str
    kind: Kind
    media: str
    questions: tuple[Question, ...]


def load_train(folder: Path) -> list[Record]:
    """Records of `train.json`.

    Raises:
        ManifestError: a record is not in the format, or its media are missing.
    """
    file = folder / "train.json"
    records = [_record(file, number, data) for number, data in enumerate(_load(file))]
    _check_media(folder, file, [record.media for record in records])
    return records


def load_test(folder: Path) -> list[TestItem]:
    """Items of `test.json`.

    Raises:
        ManifestError: an item is not in the format, or its media are missing.
    """
    file = folder / "test.json"
    items = [_item(file, number, data) for number, data in enumerate(_load(file))]
    _check_media(folder, file, [item.media for item in items])
    return items


def _load(file: Path) -> list[dict[str, Any]]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(
            f"cannot read {file}: {error.strerror}; docs/data.md says what a data folder holds"
        ) from None
    except ValueError as error:
        raise ManifestError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        raise ManifestError(f"{file} must be a list of records with at least one; docs/data.md has an example")
    return data


def _kind_and_media(data: dict[str, Any]) -> tuple[Kind, str]:
    if "video" in data:
        return "video", str(data["video"])
    if "image" in data:
        return "image", str(data["image"])
    return "text", ""


def _record(file: Path, number: int, data: dict[str, Any]) -> Record:
    try:
        turns = data["conversations"]
        people = [turn["from"] for turn in turns]
        texts = [str(turn["value"]) for turn in turns]
    except (KeyError, TypeError) as error:
        raise _bad(file, number, data, f"needs `conversations` of `from` and `value` ({error!r})") from None
    if not people or people != ["human", "gpt"] * (len(people) // 2):
        raise _bad(file, number, data, "`conversations` must alternate human, gpt and end with gpt")
    kind, media = _kind_and_media(data)
    if kind != "text":
        for placeholder in PLACEHOLDERS:
            texts[0] = texts[0].replace(placeholder, "").replace("\n" + placeholder.strip(), "")
    pairs = tuple(zip(texts[::2], texts[1::2], strict=True))
    return Record(str(data.get("id", number)), kind, media, pairs, bool(data.get("independent", False)))


def _item(file: Path, number: int, data: dict[str, Any]) -> TestItem:
    kind, media = _kind_and_media(data)
    try:
        questions = tuple(
            Question(
                id=str(q.get("id", f"{data.get('id', number)}.{i}")),
                text=str(q["question"]),
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
            raise _bad(file, number, data, f"question {question.id}: `answer` must be the place of an option, from 0")
        if not all(option.strip() for option in question.options):
            raise _bad(file, number, data, f"question {question.id}: an option is empty")
        if question.category == "overall":
            raise _bad(file, number, data, "category `overall` is reserved for the mean over all questions")
    if kind == "text":
        raise _bad(file, number, data, "needs `video` or `image`")
    return TestItem(str(data.get("id", number)), kind, media, questions)


def _bad(file: Path, number: int, data: dict[str, Any], what: str) -> ManifestError:
    return ManifestError(f"{file}: record {number} (id {data.get('id', '?')}): {what}; docs/data.md has an example")


def _check_media(folder: Path, file: Path, media: list[str]) -> None:
    wanted = dict.fromkeys(path for path in media if path)
    missing = [path for path in wanted if not (folder / path).is_file()]
    if missing:
        raise ManifestError(
            f"{file}: {len(missing)} of {len(wanted)} media files are missing below {folder}, first {missing[0]}; "
            "paths are relative to the data folder"
        )
