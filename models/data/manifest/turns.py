"""Conversations of training records: roles that alternate, and media at their places."""

from __future__ import annotations

from typing import Any, NamedTuple

from models.data.manifest.fields import Fields, Keys
from models.data.manifest.placeholders import (
    begins_with_media,
    check_count,
    count_places,
    opening_pieces,
    pieces,
    refuse_lost_medium,
    refuse_places,
)
from models.data.manifest.records import Turn

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TURN_KEYS = {
    "conversations": Keys(
        used=("from", "value"),
        instead=dict.fromkeys(("role", "content"), "write `from` and `value`, or name the list `messages`"),
    ),
    "messages": Keys(
        used=("role", "content"),
        instead=dict.fromkeys(("from", "value"), "write `role` and `content`, or name the list `conversations`"),
    ),
}
_PART_KEYS = Keys(
    used=("type", "text"),
    instead=dict.fromkeys(
        ("image", "image_url", "video", "url", "path"),
        "write the paths of all media of the record as `images` or `videos`, in order",
    ),
)
_ALTERNATE = "turns must alternate between user (`human`) and assistant (`gpt`), and end with the assistant"


class _Message(NamedTuple):
    """A turn with the object that it comes from, for messages."""

    fields: Fields
    key: str
    text: str


def read_turns(record: Fields, key: str, num_media: int) -> tuple[str | None, tuple[Turn, ...]]:
    """System message and turns of a conversation.

    Args:
        record: a training record.
        key: `conversations` or `messages`.
        num_media: number of its media.

    Returns:
        The system message, None without one; questions with their answers.

    Raises:
        ManifestError: roles do not alternate, a text is missing or empty, or placeholders do not fit the media.
    """
    system, messages = _roles(record, key, num_media)
    questions, answers = messages[::2], messages[1::2]
    for answer in answers if num_media else ():
        refuse_places(answer.fields, answer.key, answer.text, "only questions contain media")
    if not num_media:
        for question in questions:
            refuse_lost_medium(*question)
        return system, tuple(Turn((q.text,), a.text) for q, a in zip(questions, answers, strict=True))
    counts = [count_places(*question) for question in questions]
    check_count(record, key, sum(counts), num_media)
    turns: list[Turn] = []
    placed = 0
    for i, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if i == 0 and (counts[0] or not sum(counts)):
            parts = opening_pieces(question.text, counts[0], num_media)
        else:
            parts = pieces(question.text, placed, opens=i == 0)
        placed += counts[i]
        turn = Turn(parts, answer.text)
        if not turn.text.strip():
            question.fields.refuse("contains only media: write a question or an instruction", question.key)
        turns.append(turn)
    return system, tuple(turns)


def check_independent(record: Fields, turns: tuple[Turn, ...], num_media: int) -> None:
    """Refuse independent turns whose media do not all stand at the start.

    Raises:
        ManifestError: some medium stands behind text or in a later turn.
    """
    if not begins_with_media(turns[0].question, num_media):
        record.refuse(
            "is true, but a medium stands behind text or in a later turn, which other turns would not see: put all "
            "placeholders at the start of the first question, or remove `independent`",
            "independent",
        )


def _roles(record: Fields, key: str, num_media: int) -> tuple[str | None, list[_Message]]:
    """System message, and turns that alternate between user and assistant."""
    role_key, text_key = _TURN_KEYS[key].used
    fix = f"write a list of objects with `{role_key}` and `{text_key}`"
    messages: list[_Message] = []
    system: str | None = None
    for i, value in enumerate(record.entries(key, fix)):
        fields = record.inner(f"{key}[{i}]", value, f"`{role_key}` and `{text_key}`")
        fields.check_keys(_TURN_KEYS[key])
        role = _ROLES.get(fields.text(role_key, "write who speaks: human, gpt, user, assistant or system"))
        if role is None:
            fields.refuse(f"is {fields.get(role_key)!r:.60}; allowed: {', '.join(_ROLES)}", role_key)
        text = _content(fields, text_key, num_media)
        if role == "system":
            if i or "system" in record:
                fields.refuse("a system message stands first, and only once")
            refuse_places(fields, text_key, text, "only questions contain media")
            system = text
            continue
        if role != ("user", "assistant")[len(messages) % 2]:
            fields.refuse(f"comes from {fields.get(role_key)!r}; {_ALTERNATE}")
        messages.append(_Message(fields, text_key, text))
    if not messages or len(messages) % 2:
        record.refuse(f"ends with a question; {_ALTERNATE}" if messages else f"has no turns; {_ALTERNATE}", key)
    return system, messages


def _content(fields: Fields, key: str, num_media: int) -> str:
    """Text of a turn; a list of parts is joined, with a placeholder for each medium."""
    value = fields.get(key)
    if not isinstance(value, list):
        return fields.text(key, "write the text of the turn")
    return fields.as_text("".join(_part(fields, f"{key}[{i}]", part, num_media) for i, part in enumerate(value)), key)


def _part(turn: Fields, place: str, part: Any, num_media: int) -> str:
    fields = turn.inner(place, part, "`type`")
    fields.check_keys(_PART_KEYS)
    kind = fields.get("type")
    if kind == "text":
        text = fields.get("text")  # a part may be a line break, or empty: the whole content may not
        return text if isinstance(text, str) else fields.text("text", "write the text")
    if kind not in ("image", "video"):
        fields.refuse(f"is {kind!r:.60}; allowed: text, image, video", "type")
    if "text" in fields:
        fields.refuse("has no place in a medium", "text")
    if not num_media:
        fields.refuse("is a medium, but the record has no `image` or `video`")
    return f"<{kind}>"
