"""Multiple-choice questions, for testing and for training; those that nobody can answer right are refused."""

from __future__ import annotations

import re
import string
from typing import NamedTuple

from models.data.manifest.fields import Fields, Keys, described
from models.data.manifest.placeholders import (
    begins_with_media,
    check_count,
    count_places,
    opening_pieces,
    refuse_places,
)
from models.data.manifest.records import Question, Text, Turn

MAX_OPTIONS = len(string.ascii_uppercase)
"""Most options of a question: each has a letter."""
_OPTIONS = "give the options as a list `options`"
_ANSWER = "give the index of the right option as `answer`, from 0"
_INSTEAD = {
    **dict.fromkeys(("choices", "candidates", "choice_list", "candidate_answers", "multi_choice"), _OPTIONS),
    **dict.fromkeys(("a0", "a1", "option_a", "A", "B"), _OPTIONS),
    **dict.fromkeys(("correct", "correct_answer", "correct_choice", "answer_id", "label", "gt", "truth"), _ANSWER),
    **dict.fromkeys(("q", "query", "prompt", "problem", "text"), "give the question as `question`"),
}
_ORIGIN = frozenset({"question_id", "question_type", "data_source", "source", "dataset", "metadata", "meta"})
_ITEM_KEYS = Keys(used=("id", "question", "options", "answer", "category", "task"), ignored=_ORIGIN, instead=_INSTEAD)
_RECORD_KEYS = Keys(
    used=("question", "options", "answer"), ignored=_ORIGIN | {"id", "category", "task"}, instead=_INSTEAD
)
_LETTERED = re.compile(r"\(?([A-Z])[.):]\s")


class _Choice(NamedTuple):
    text: str
    options: tuple[str, ...]
    answer: int


def item_questions(item: Fields, name: str, num_media: int) -> tuple[Question, ...]:
    """Questions of a test item.

    Args:
        item: the item.
        name: its id.
        num_media: number of its media.

    Raises:
        ManifestError: a question is not in the format, or nobody can answer it right.
    """
    questions: list[Question] = []
    for i, value in enumerate(item.entries("questions", "write a list of multiple-choice questions")):
        fields = item.inner(f"questions[{i}]", value, "`question`, `options`, `answer` and `category`")
        fields.check_keys(_ITEM_KEYS)
        choice = _choice(fields, num_media)
        category = fields.text("category", "name the category of the question: the columns of rankings")
        if category == "overall":
            fields.refuse("is `overall`, which is reserved for the mean over all questions", "category")
        questions.append(
            Question(
                id=fields.name("id", f"{name}.{i}"),
                question=_with_media(fields, choice.text, num_media),
                options=choice.options,
                answer=choice.answer,
                category=category,
                task=fields.name("task", category),
            )
        )
        if questions[-1].id in {question.id for question in questions[:-1]}:
            fields.refuse(f"is {questions[-1].id!r:.60}, as that of an earlier question of this item", "id")
    return tuple(questions)


def record_questions(record: Fields, num_media: int) -> tuple[Turn, ...]:
    """Multiple-choice questions of a training record as turns; the first holds the media.

    Args:
        record: the record.
        num_media: number of its media.

    Raises:
        ManifestError: a question is not in the format, or nobody can answer it right.
    """
    turns: list[Turn] = []
    for i, value in enumerate(record.entries("questions", "write a list of multiple-choice questions")):
        fields = record.inner(f"questions[{i}]", value, "`question`, `options` and `answer`")
        fields.check_keys(_RECORD_KEYS)
        choice = _choice(fields, num_media)
        question = _with_media(fields, choice.text, num_media)
        if not begins_with_media(question, num_media):
            fields.refuse(
                "has a medium behind text: questions of one training record share its media, which stand in front",
                "question",
            )
        turns.append(Turn(question if i == 0 else question[num_media:], choice.options[choice.answer], choice.options))
    return tuple(turns)


def _with_media(fields: Fields, text: str, num_media: int) -> Text:
    """A question with every medium of its record at its place, or with all in front."""
    if not num_media:
        return (text,)
    num_places = count_places(fields, "question", text)
    check_count(fields, "question", num_places, num_media)
    parts = opening_pieces(text, num_places, num_media)
    if not any(isinstance(piece, str) and piece.strip() for piece in parts):
        fields.refuse("contains only media: write a question", "question")
    return parts


def _choice(fields: Fields, num_media: int) -> _Choice:
    """Question, options and the index of the right option."""
    text = fields.text("question", "write the question")
    values = fields.entries("options", _OPTIONS)
    if not 2 <= len(values) <= MAX_OPTIONS:
        fields.refuse(f"has {len(values)} options; a question has 2 to {MAX_OPTIONS}", "options")
    options = tuple(fields.as_text(option, f"options[{i}]") for i, option in enumerate(values))
    for i, option in enumerate(options) if num_media else ():
        refuse_places(fields, f"options[{i}]", option, "only questions contain media")
    first: dict[str, int] = {}
    for i, option in enumerate(options):
        if (earlier := first.setdefault(option.strip(), i)) != i:
            fields.refuse(
                f"is the same as options[{earlier}], {option[:60]!r}: no answer would be right", f"options[{i}]"
            )
    letters = [hit[1] if (hit := _LETTERED.match(option)) else "" for option in options]
    if letters == list(string.ascii_uppercase[: len(options)]):
        fields.refuse(f"begin with letters ({options[0][:40]!r}), which are added: write the text alone", "options")
    return _Choice(text, options, _answer(fields, options))


def _answer(fields: Fields, options: tuple[str, ...]) -> int:
    answer = fields.get("answer")
    if answer is None:
        fields.missing("answer", _ANSWER)
    if type(answer) is int:
        if not 0 <= answer < len(options):
            fields.refuse(
                f"is {described(answer)}, but the indices of the options are 0 to {len(options) - 1}", "answer"
            )
        return answer
    index = None
    if isinstance(answer, str):
        letter = string.ascii_uppercase.find(answer.strip(" ().").upper()) if answer.strip(" ().") else -1
        stripped = [option.strip() for option in options]
        index = stripped.index(answer.strip()) if answer.strip() in stripped else letter
    fix = f": write {index}" if index is not None and 0 <= index < len(options) else ""
    fields.refuse(f"must be the index of an option, from 0, not {described(answer)}{fix}", "answer")
