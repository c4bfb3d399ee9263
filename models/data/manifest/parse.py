"""A decoded JSON object of a manifest -> a training sample or a test item. No file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.data.manifest.fields import Fields, Keys, described
from models.data.manifest.media import INSTEAD, MEDIA_KEYS, TIME_KEYS, read_media
from models.data.manifest.placeholders import refuse_places
from models.data.manifest.questions import item_questions, record_questions
from models.data.manifest.records import TestItem, TrainingSample
from models.data.manifest.turns import check_independent, read_turns

_ORIGIN = frozenset(
    {"sample_id", "question_id", "uid", "uuid", "data_source", "dataset", "dataset_name", "source", "model", "metadata"}
    | {"meta", "split", "license", "url", "category", "task", "task_type", "question_type", "choice_list"}
)
"""Where a record comes from (LLaVA, LLaVA-OneVision, LLaVA-Video, M4-Instruct, ShareGPT4V, Cambrian)."""
_OF_MEDIA = frozenset(
    {"video_id", "image_id", "width", "height", "width_list", "height_list", "image_width", "image_height"}
)
"""Names and sizes of media beside their paths (InternVL). Without a path they would be all that names the medium: they
are then refused."""
_TURNS = ("conversations", "messages", "questions")
_INSTEAD = {
    **INSTEAD,
    **dict.fromkeys(("conversation", "QA", "qa", "qa_pairs", "dialog", "dialogue", "turns"), "write `conversations`"),
    **dict.fromkeys(
        ("instruction", "input", "output", "query", "response", "prompt", "caption"), "write `conversations`"
    ),
    "message": "write `messages`",
    "system_prompt": "write `system`",
    **dict.fromkeys(_OF_MEDIA, "the record has no `video` or `image`: write the path of its medium"),
}
_TRAINING = ("id", *MEDIA_KEYS, *TIME_KEYS, "duration", *_TURNS, "system", "independent")
_TRAINING_KEYS = Keys(used=_TRAINING, ignored=_ORIGIN, instead=_INSTEAD)
_TRAINING_MEDIA_KEYS = Keys(used=_TRAINING, ignored=_ORIGIN | _OF_MEDIA, instead=_INSTEAD)
_ITEM_KEYS = Keys(
    used=("id", *MEDIA_KEYS, *TIME_KEYS, "duration", "questions"),
    ignored=_ORIGIN - {"category", "task", "choice_list", "question_type", "task_type"} | _OF_MEDIA,
    instead=INSTEAD
    | {
        "conversations": "write multiple-choice `questions`",
        **dict.fromkeys(("question", "options", "answer", "category", "task"), "write it into a list `questions`"),
    },
)


def parse_training(file: Path, number: int, data: dict[str, Any]) -> TrainingSample:
    """A record of a training manifest.

    Args:
        file: the manifest, for messages.
        number: number of the record in it, from 0; its id if it has none.
        data: the decoded JSON object.

    Raises:
        ManifestError: the record is not in the format of docs/data.md.
    """
    record = _record(file, number, data)
    record.check_keys(_TRAINING_MEDIA_KEYS if any(key in record for key in MEDIA_KEYS) else _TRAINING_KEYS)
    name = record.name("id", str(number))
    kind, media, duration_s = read_media(record)
    keys = [key for key in _TURNS if key in record]
    if len(keys) > 1:
        record.refuse(f"has both `{keys[0]}` and `{keys[1]}`; give one of them")
    if not keys:
        record.missing("conversations", "write `conversations` (or `messages`), or multiple-choice `questions`")
    system = record.text("system", "write the system message") if "system" in record else None
    if system is not None and media:
        refuse_places(record, "system", system, "only questions contain media")
    independent = record.flag("independent", default=keys[0] == "questions")
    if keys[0] == "questions":
        if not independent:
            record.refuse(
                "is false, but `questions` are independent: write a dialogue as `conversations`", "independent"
            )
        turns = record_questions(record, len(media))
    else:
        system_turn, turns = read_turns(record, keys[0], len(media))
        system = system if system_turn is None else system_turn
        if independent:
            check_independent(record, turns, len(media))
    return TrainingSample(name, kind, media, turns, independent, duration_s, system)


def parse_item(file: Path, number: int, data: dict[str, Any]) -> TestItem:
    """An item of a test manifest.

    Args:
        file: the manifest, for messages.
        number: number of the item in it, from 0; its id if it has none.
        data: the decoded JSON object.

    Raises:
        ManifestError: the item is not in the format of docs/data.md, or nobody can answer one of its questions right.
    """
    item = _record(file, number, data)
    item.check_keys(_ITEM_KEYS)
    kind, media, _ = read_media(item)
    if not media:
        item.refuse("needs `video` or `image`")
    name = item.name("id", str(number))
    return TestItem(name, kind, media, item_questions(item, name, len(media)))


def _record(file: Path, number: int, data: object) -> Fields:
    if not isinstance(data, dict):
        Fields(file, number, {}).refuse(f"must be an object, not {described(data)}")
    record = Fields(file, number, data)
    if not any(key in record for key in _TURNS):
        lists = (key for key, value in data.items() if isinstance(value, list) and value and key not in _TRAINING)
        if name := next((key for key in lists if isinstance(data[key][0], dict)), None):
            record.refuse(f"the records are inside an object, under `{name}`: write that list alone")
    return record
