"""Places of media in the text of a question: `<image>` and `<video>`."""

from __future__ import annotations

import re

from models.data.manifest.fields import Fields
from models.data.manifest.records import Text

PLACEHOLDER = re.compile(r"<(?:image|video)>")
"""Either stands for the next medium of the record, whatever its kind: LLaVA-Video writes `<image>` for its videos."""
_LEADING = re.compile(r"\A(?:<(?:image|video)>(?:\r?\n)?)+")
_TRAILING = re.compile(r"(?:(?:\r?\n)?<(?:image|video)>)+\Z")
_BREAK = re.compile(r"\r?\n")
_FIRST_LINE = ("<image>\n", "<video>\n", "<image>\r\n", "<video>\r\n")
_LAST_LINE = ("\n<image>", "\n<video>")
_OTHER = re.compile(
    r"<[|/]{0,2}(?:vila/|start_of_|end_of_)?(?:images?|videos?|img|vid|vision)"
    r"(?:here|[ _-]?\d+|[_-](?:placeholder|token|pad|start|end|context|soft_token|features?|patch))?[|/]{0,2}>",
    re.IGNORECASE,
)
"""Placeholders of other formats: `<Image>`, `<image_1>`, `<|image_pad|>`, `<ImageHere>`, `</video>`."""


def count_places(fields: Fields, key: str, text: str) -> int:
    """Number of media that a text of a record with media places.

    Raises:
        ManifestError: the text contains a placeholder of another format.
    """
    if "<" not in text:
        return 0
    for hit in _OTHER.finditer(text):
        if not PLACEHOLDER.fullmatch(hit[0]):
            fields.refuse(
                f"contains {hit[0]!r}: write `<image>` or `<video>` where a medium stands, once for each medium", key
            )
    return len(PLACEHOLDER.findall(text))


def check_count(fields: Fields, key: str, num_places: int, num_media: int) -> None:
    """Refuse another number of places than that of the media; none at all is right too.

    Raises:
        ManifestError: the message has both numbers.
    """
    if num_places not in (0, num_media):
        places = "1 placeholder" if num_places == 1 else f"{num_places} placeholders"
        media = "1 medium" if num_media == 1 else f"{num_media} media"
        fields.refuse(
            f"has {places}, but the record has {media}: write `<image>` or `<video>` once for each medium, in their "
            "order, or leave all out for media in front of the question",
            key,
        )


def refuse_places(fields: Fields, key: str, text: str, why: str) -> None:
    """Refuse a text with a medium in it.

    Args:
        fields: the object with the text.
        key: key of the text.
        text: the text.
        why: why no medium can stand there.
    """
    if "<" in text and (hit := PLACEHOLDER.search(text)):
        fields.refuse(f"contains {hit[0]}, but {why}", key)


def refuse_lost_medium(fields: Fields, key: str, text: str) -> None:
    """Refuse a question that begins or ends with a placeholder on a line of its own, in a record without media.

    Inside a line, `<image>` may be what the question is about; a line of its own is the spelling of LLaVA's data for a
    medium, which this record has lost.
    """
    if text.startswith(_FIRST_LINE) or text.endswith(_LAST_LINE):
        fields.refuse(
            "has a placeholder on a line of its own, but the record has no `image` or `video`: add the path, or remove "
            "the placeholder",
            key,
        )


def pieces(text: str, first: int, *, opens: bool) -> Text:
    """Text and media of a question, in order.

    Args:
        text: the question, with a placeholder at the place of each medium.
        first: index of its first medium.
        opens: whether it opens a conversation: line breaks that set media at its very start or end apart are then
            removed, since the start of a conversation holds the media without them.

    Returns:
        Pieces that contain no empty text.
    """
    if "<" not in text:
        return (text,)
    if opens:
        for run in (_LEADING, _TRAILING):
            text = run.sub(lambda hit: _BREAK.sub("", hit[0]), text)
    texts = PLACEHOLDER.split(text)
    parts: list[str | int] = []
    for index, part in enumerate(texts):
        if index:
            parts.append(first + index - 1)
        if part:
            parts.append(part)
    return tuple(parts)


def opening_pieces(text: str, num_places: int, num_media: int) -> Text:
    """Text and media of the first question about media.

    Without placeholders the media stand in front. A single medium behind the question stands in front too, as LLaVA
    trains on it, without the space that set it apart.

    Args:
        text: the question.
        num_places: number of its placeholders.
        num_media: number of media of the record.
    """
    if not num_places:
        return (*range(num_media), text)
    parts = pieces(text, 0, opens=True)
    if num_media == 1 and len(parts) == 2 and isinstance(parts[0], str):
        return (0, parts[0].rstrip())
    return parts


def begins_with_media(question: Text, num_media: int) -> bool:
    """Whether all media stand before the text of a question."""
    return question[:num_media] == tuple(range(num_media))
