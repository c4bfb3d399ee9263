"""Conversations of a manifest: roles, places of media, multiple-choice questions; no value is coerced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import ManifestError, Turn
from models.data.manifest import parse_item, parse_training

FILE = Path("train.json")
IMAGES = ["a.png", "b.png", "c.png"]
QUESTION = {"question": "what", "options": ["red", "blue"], "answer": 1, "category": "colour"}


def talk(*texts: object) -> list[dict[str, object]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def turns(*texts: object, **data: object):
    return parse_training(FILE, 0, {"conversations": talk(*texts)} | data).turns


def questions(*texts: str, images: int) -> list[tuple[str | int, ...]]:
    spoken = [text for question in texts for text in (question, "that")]
    return [turn.question for turn in turns(*spoken, image=IMAGES[:images])]


@pytest.mark.parametrize(
    ("text", "images", "pieces"),
    [
        ("what", 1, (0, "what")),
        ("what", 3, (0, 1, 2, "what")),
        ("<image>\nwhat", 1, (0, "what")),
        ("<video>\nwhat", 1, (0, "what")),
        ("<image>what", 1, (0, "what")),
        ("what\n<image>", 1, (0, "what")),
        ("what <image>", 1, (0, "what")),
        ("<image>\r\nwhat", 1, (0, "what")),
        ("what\r\n<image>", 1, (0, "what")),
        ("<b>\n<image>\nwhat", 1, ("<b>\n", 0, "\nwhat")),
        ("<image>\n<image>\nwhat", 2, (0, 1, "what")),
        ("<image><image>\nwhat", 2, (0, 1, "what")),
        ("what\n<image>\n<image>", 2, ("what", 0, 1)),
        ("see <image> here", 1, ("see ", 0, " here")),
        ("<image>\nand\n<image>", 2, (0, "and", 1)),
        (
            "Picture 1: <image>\nPicture 2: <image>\nIs <image> A or B?",
            3,
            ("Picture 1: ", 0, "\nPicture 2: ", 1, "\nIs ", 2, " A or B?"),
        ),
    ],
)
def test_media_stand_at_their_places(text, images, pieces):
    assert questions(text, images=images) == [pieces]
    media = {"image": IMAGES[:images], "questions": [QUESTION | {"question": text}]}
    assert parse_item(FILE, 0, media).questions[0].question == pieces


def test_later_turns_have_media_too():
    assert questions("<image>\nwhat", "and", "now <image>?", images=2) == [(0, "what"), ("and",), ("now ", 1, "?")]
    assert questions("hello", "<image>\nwhat", images=1) == [("hello",), (0, "\nwhat")]


def test_text_without_media_is_unchanged():
    text = "what is <image> in <Image> or\n<video>?\n"
    assert turns(text, "a <image>") == (Turn((text,), "a <image>"),)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=8), min_size=2, max_size=5
    )
)
def test_pieces_with_placeholders_give_the_text_back(texts):
    """Up to the line breaks that set media at the very start or end apart."""
    count = len(texts) - 1
    text = "x " + "<image>".join(texts) + " y"
    (pieces,) = [turn.question for turn in turns(text, "that", images=[f"{i}.png" for i in range(count)])]
    assert [piece for piece in pieces if isinstance(piece, int)] == list(range(count))
    assert "".join("<image>" if isinstance(piece, int) else piece for piece in pieces) == text


@given(st.lists(st.sampled_from(["<image>", "<video>", "\n", "a", " "]), max_size=8).map("".join))
def test_every_medium_has_one_place(text):
    count = text.count("<")
    if not (count and text.replace("<image>", "").replace("<video>", "").strip()):
        return
    (turn,) = turns(text, "that", images=[f"{i}.png" for i in range(count)])
    assert [piece for piece in turn.question if isinstance(piece, int)] == list(range(count))
    words = text.replace("<image>", "").replace("<video>", "")
    assert turn.text.replace("\n", "").strip() == words.replace("\n", "").strip()


@pytest.mark.parametrize(
    ("texts", "data", "says"),
    [
        (("<image>\n<image>\nwhat", "that"), {"image": "a"}, "has 2 placeholders, but the record has 1 medium"),
        (
            ("<image>\nwhat", "that", "<image>and", "this"),
            {"image": "a"},
            "has 2 placeholders, but the record has 1 medium",
        ),
        (("<image>\nwhat", "that"), {"image": ["a", "b"]}, "has 1 placeholder, but the record has 2 media"),
        (("what", "an <image>"), {"image": "a"}, r"conversations\[1\].value` contains <image>, but only questions"),
        (("<image>\n", "that"), {"image": "a"}, "contains only media: write a question"),
        (("<image>", "that", "what", "that"), {"image": "a"}, "contains only media"),
        (("what\n<image>", "that"), {}, "has a placeholder on a line of its own, but the record has no `image`"),
        (
            ("hi", "ho", "what <image>", "that"),
            {"image": "a", "independent": True},
            "`independent` is true, but a medium",
        ),
        (("a <image> b", "that"), {"image": "a", "independent": True}, "`independent` is true, but a medium"),
        (("<image>\nwhat", "that"), {"image": "a", "system": "see <image>"}, "`system` contains <image>"),
    ],
)
def test_wrong_places_are_refused(texts, data, says):
    with pytest.raises(ManifestError, match=says):
        turns(*texts, **data)


@pytest.mark.parametrize(
    "spelling",
    [
        *("<Image>", "<|image|>", "<image_1>", "<image 1>", "<image1>", "<vid>", "<img>", "<image_placeholder>"),
        *("<ImageHere>", "<|image_pad|>", "<|vision_start|>", "<IMG_CONTEXT>", "<start_of_image>", "</image>"),
        *("<image/>", "<VIDEO>"),
    ],
)
def test_other_spellings_are_refused_with_what_to_write(spelling):
    with pytest.raises(ManifestError, match="write `<image>` or `<video>` where a medium stands") as error:
        turns(f"{spelling}\nwhat", "that", image="a.png")
    assert repr(spelling) in str(error.value)
    assert turns(f"what is {spelling}", "that")[0].question == (f"what is {spelling}",)


@pytest.mark.parametrize(
    "text", ["is <b> html", "a < b > c", "<image_url>", "<|im_start|>system", "<imagery>", "1 <2>"]
)
def test_other_text_in_angle_brackets_is_text(text):
    assert turns(text, "that", image="a.png")[0].question == (0, text)


def test_roles_of_both_formats():
    expected = parse_training(FILE, 0, {"conversations": talk("what", "that")})
    for user, assistant in (("user", "assistant"), ("human", "gpt")):
        messages = [{"role": user, "content": "what"}, {"role": assistant, "content": "that"}]
        assert parse_training(FILE, 0, {"messages": messages}) == expected
        turns = [{"from": user, "value": "what"}, {"from": assistant, "value": "that"}]
        assert parse_training(FILE, 0, {"conversations": turns}) == expected


def test_a_system_message_comes_first_or_has_a_key():
    turn = {"from": "system", "value": "be brief"}
    spoken = talk("what", "that")
    as_turn = parse_training(FILE, 0, {"conversations": [turn, *spoken]})
    assert (as_turn.system, as_turn.turns) == ("be brief", (Turn(("what",), "that"),))
    assert parse_training(FILE, 0, {"conversations": spoken, "system": "be brief"}) == as_turn
    for wrong in ([*spoken, turn], [turn, turn, *spoken]):
        with pytest.raises(ManifestError, match="a system message stands first, and only once"):
            parse_training(FILE, 0, {"conversations": wrong})
    with pytest.raises(ManifestError, match="a system message stands first, and only once"):
        parse_training(FILE, 0, {"conversations": [turn, *spoken], "system": "x"})


def test_content_lists_are_joined():
    parts = ["see", " ", "<image>", "", " here"]
    content = [{"type": "image"} if part == "<image>" else {"type": "text", "text": part} for part in parts]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}]
    sample = parse_training(FILE, 0, {"images": ["a.png"], "messages": messages})
    assert sample.turns == (Turn(("see ", 0, " here"), "x"),)
    with pytest.raises(ManifestError, match=r"messages\[0\].content\[2\]` is a medium, but the record has no"):
        parse_training(FILE, 0, {"messages": messages})
    content[2] = {"type": "image", "image": "a.png"}
    with pytest.raises(
        ManifestError, match="unknown key `image`: write the paths of all media of the record as `images`"
    ):
        parse_training(FILE, 0, {"messages": messages})


@pytest.mark.parametrize(
    ("conversation", "says"),
    [
        ([], "`conversations` is an empty list"),
        ("hello", "`conversations` must be a list, not the text 'hello'"),
        (["hello"], r"`conversations\[0\]` must be an object with `from` and `value`, not the text 'hello'"),
        (talk("what"), "`conversations` ends with a question; turns must alternate"),
        (talk("what", "that", "and"), "`conversations` ends with a question"),
        ([{"from": "system", "value": "x"}], "`conversations` has no turns"),
        (talk("what", "that")[::-1], r"conversations\[0\]` comes from 'gpt'; turns must alternate"),
        ([{"from": "human", "value": "a"}] * 2, r"conversations\[1\]` comes from 'human'"),
        ([{"from": "User", "value": "a"}], "`conversations.0..from` is 'User'; allowed: human, user, gpt"),
        (
            [{"role": "user", "content": "a"}],
            "unknown key `role`: write `from` and `value`, or name the list `messages`",
        ),
        ([{"from": "human", "value": "a", "weight": 0}], "unknown key `weight`"),
        ([{"from": "human"}], r"conversations\[0\].value` is missing"),
        ([{"from": "human", "value": {"a": 1}}], "value` must be text, not the object {'a': 1}"),
        ([{"from": "human", "value": []}], r"value` is empty"),
        ([{"from": "human", "value": [{"type": "text", "text": 3}]}], r"value\[0\].text` must be text, not 3"),
        (
            [{"from": "human", "value": [{"type": "audio"}]}],
            r"value\[0\].type` is 'audio'; allowed: text, image, video",
        ),
    ],
)
def test_wrong_conversations(conversation, says):
    with pytest.raises(ManifestError, match=says):
        parse_training(FILE, 0, {"conversations": conversation})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": 2}, r"`questions\[0\].answer` is 2, but the indices of the options are 0 to 1"),
        ({"answer": -1}, "is -1, but the indices"),
        ({"answer": True}, "must be the index of an option, from 0, not true"),
        ({"answer": 1.0}, "must be the index of an option, from 0, not 1.0"),
        ({"answer": "B"}, "not the text 'B': write 1"),
        ({"answer": "(A)"}, "write 0"),
        ({"answer": " red"}, "not the text ' red': write 0"),
        ({"answer": "C"}, "not the text 'C';"),
        ({"answer": "1"}, "not the text '1'"),
        ({"answer": None}, "`questions.0..answer` is null: give the index"),
        ({"options": ["a"]}, "has 1 options; a question has 2 to 26"),
        ({"options": [str(i) for i in range(27)]}, "has 27 options"),
        ({"options": ["a", " a "]}, r"options\[1\]` is the same as options\[0\], ' a ': no answer would be right"),
        ({"options": ["a", " "]}, r"options\[1\]` is empty"),
        ({"options": ["a", "<image>"]}, r"options\[1\]` contains <image>, but only questions contain media"),
        ({"options": ["a", 3]}, r"options\[1\]` must be text, not 3"),
        ({"options": ["a", None]}, r"options\[1\]` must be text, not null"),
        ({"options": {"A": "a"}}, "`questions.0..options` must be a list"),
        ({"options": ["A. red", "B. blue"]}, r"begin with letters \('A. red'\), which are added"),
        ({"question": ""}, r"questions\[0\].question` is empty"),
        ({"question": 3}, r"questions\[0\].question` must be text, not 3"),
        ({"choices": []}, "unknown key `choices`: give the options as a list `options`"),
    ],
)
def test_questions_that_nobody_can_answer_right(change, says):
    item = {"id": "i", "video": "a.mp4", "questions": [QUESTION | change]}
    for parse in (parse_item, parse_training):
        with pytest.raises(ManifestError, match=says) as error:
            parse(FILE, 3, item)
        assert str(error.value).startswith("train.json: record 3 (id i): ")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"questions": [QUESTION | {"category": "overall"}]}, "category` is `overall`, which is reserved"),
        ({"questions": [QUESTION | {"category": None}]}, "category` is null: name the category"),
        ({"questions": [QUESTION | {"id": 1}] * 2}, r"questions\[1\].id` is '1', as that of an earlier question"),
        ({"questions": []}, "`questions` is an empty list"),
        ({"video": None}, "needs `video` or `image`"),
        ({"conversations": []}, "unknown key `conversations`: write multiple-choice `questions`"),
        (
            {"questions": [QUESTION | {"question": "<video><video>\nwhat"}]},
            "has 2 placeholders, but the record has 1 medium",
        ),
    ],
)
def test_wrong_test_items(data, says):
    with pytest.raises(ManifestError, match=says):
        parse_item(FILE, 0, {"video": "a.mp4", "questions": [QUESTION]} | data)


def test_names_of_questions_default_to_those_of_their_item():
    item = parse_item(FILE, 5, {"video": "a.mp4", "questions": [QUESTION, QUESTION | {"id": 9, "task": "t"}]})
    assert [(q.id, q.category, q.task) for q in item.questions] == [("5.0", "colour", "colour"), ("9", "colour", "t")]


def test_questions_train_as_independent_turns_with_options():
    second = {"question": "<image>\n<image>\nwhich", "options": ["left", "right"], "answer": 0}
    sample = parse_training(FILE, 0, {"image": ["a.png", "b.png"], "questions": [QUESTION, second]})
    assert sample.independent
    assert sample.turns == (
        Turn((0, 1, "what"), "blue", ("red", "blue")),
        Turn(("which",), "left", ("left", "right")),
    )
    for change, says in (
        ({"independent": False}, "`independent` is false, but `questions` are independent"),
        ({"conversations": talk("a", "b")}, "has both `conversations` and `questions`"),
        ({"questions": [QUESTION | {"question": "is <image> or <image>"}]}, "has a medium behind text"),
    ):
        with pytest.raises(ManifestError, match=says):
            parse_training(FILE, 0, {"image": ["a.png", "b.png"], "questions": [QUESTION]} | change)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["<image>", "a.mp4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
RECORD: dict[str, Any] = {
    "id": "r",
    "video": {"path": "a.mp4", "start": 1, "end": 2, "fps": 2},
    "duration": 9,
    "conversations": [*talk("<video>\nwhat", "that"), *talk([{"type": "text", "text": "and"}], "this")],
    "system": "be brief",
    "independent": True,
}
ITEM: dict[str, Any] = {"id": "i", "images": ["a.png", "b.png"], "questions": [QUESTION | {"id": "q", "task": "t"}]}


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, entry in inner for place in places(entry, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy with another value at a path."""
    copy = json.loads(json.dumps(value))
    if not path:
        return new
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return copy


def texts(value: object) -> set[str]:
    """All texts inside a JSON value, whole and split at placeholders."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    pieces = [value, *value.replace("<video>", "<image>").split("<image>")] if isinstance(value, str) else []
    own = {
        part for piece in pieces for part in (piece, piece.strip(), piece.lstrip("\n"), piece.rstrip("\n"), piece[1:])
    }
    return own.union(*(texts(entry) for entry in inner))


@given(st.data())
@pytest.mark.parametrize(("parse", "record"), [(parse_training, RECORD), (parse_item, ITEM)])
def test_any_value_is_read_exactly_or_refused(parse, record, data):
    """No traceback, and no text that the record does not contain, such as `None`, `3` or `['a']`."""
    path = data.draw(st.sampled_from(places(record)))
    changed = replaced(record, path, data.draw(JSON))
    try:
        sample = parse(FILE, 0, changed)
    except ManifestError as error:
        assert str(error).startswith("train.json: record 0 (id ")  # noqa: PT017 - both outcomes are right
        return
    allowed = texts(changed)
    for turn in sample.turns if parse is parse_training else sample.questions:
        assert {piece for piece in turn.question if isinstance(piece, str)} <= allowed
        assert {*turn.options} <= allowed
        assert isinstance(turn.answer, int) or turn.answer in allowed
    assert {medium.path for medium in sample.media} <= allowed


@given(JSON, st.text(max_size=8))
def test_any_key_is_read_or_refused(value, key):
    for parse, record in ((parse_training, RECORD), (parse_item, ITEM)):
        try:
            parse(FILE, 0, record | {key: value})
        except ManifestError as error:
            str(error).encode()
