"""Every word of the embedded study: pools of answers, words for the content of a frame, and the vocabulary.

The content of a frame is one word for each of `SLOTS`. Slots have no words in common except for the shapes of the two
things (`redlight` is the lamp, `wc*` a column of the warm thing), so that words keep their meaning when several are
combined in one token. No torch here.
"""

from __future__ import annotations

from typing import NamedTuple

WARM = ("red", "yellow", "pink")
COOL = ("blue", "green", "cyan")
COLORS = (*WARM, *COOL)
SHAPES = ("circle", "square", "triangle", "plus")
QUADRANTS = ("northwest", "northeast", "southwest", "southeast")
"""Quadrants of the view; index = 2 * (lower half) + (right half)."""
WAYS = ("left", "right", "up", "down")
SIDES = ("left", "right", "above", "below")
COUNTS = ("one", "two", "three", "four")
SPEEDS = ("crawling", "slow", "fast", "racing")
DIGITS = tuple("0123456789")

COLUMNS = 12
"""Number of columns of a shape's centre, 2 px wide each."""
ROWS = 8
"""Number of rows of a shape's centre, 2 px high each."""
SUN_CELLS = 12
"""Number of columns, and of rows, of the sun's centre, 32/12 px each."""


class Slot(NamedTuple):
    """One attribute of a frame: its name and the words for its values."""

    name: str
    words: tuple[str, ...]


def _coordinates(prefix: str, num: int) -> tuple[str, ...]:
    return tuple(prefix + "abcdefghijkl"[i] for i in range(num))


SLOTS = (
    Slot("warm_color", WARM),
    Slot("warm_shape", SHAPES),
    Slot("warm_column", _coordinates("wc", COLUMNS)),
    Slot("warm_row", _coordinates("wr", ROWS)),
    Slot("cool_color", COOL),
    Slot("cool_shape", SHAPES),
    Slot("cool_column", _coordinates("cc", COLUMNS)),
    Slot("cool_row", _coordinates("cr", ROWS)),
    Slot("digit", DIGITS),
    Slot("lamp", (*(color + "light" for color in COLORS), "dark")),
    Slot("sun_column", (*_coordinates("sc", SUN_CELLS), "scnone")),
    Slot("sun_row", (*_coordinates("sr", SUN_CELLS), "srnone")),
)
"""In the order of a caption. The warm and the cool thing have slots of their own, so that a single frame shows which is
which."""
THINGS = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9), (10, 11))
"""Slots of the warm thing, the cool thing, digit and lamp, the sun."""
DIGIT_SLOT, LAMP_SLOT, SUN_SLOT = 8, 9, 10
LAMP_OFF = len(COLORS)
SUN_HIDDEN = SUN_CELLS

PAD, EOS, UNK, USER, ASSISTANT = "<pad>", "<eos>", "<unk>", "<user>", "<assistant>"
CLIP_START, CLIP_END = "<vid_start>", "<vid_end>"
SPECIALS = (PAD, EOS, UNK, USER, ASSISTANT, CLIP_START, CLIP_END)

_QUESTION_TEXT = (
    "which what where how many on in of the is does a thing things moving still one digit shown first "
    "last comes right after way camera move at end side pass color shape times lamp flash fast go "
    "describe view sun column row off hidden now start clip from video image : - . , ? ' ;"
)


def vocabulary() -> list[str]:
    """Every word of the tokenizer, special tokens first, without duplicates; an id is an index into this list."""
    pools = (DIGITS, COLORS, SHAPES, QUADRANTS, WAYS, SIDES, COUNTS, SPEEDS, *(slot.words for slot in SLOTS))
    all_words = [*SPECIALS, *(word for pool in pools for word in pool), *_QUESTION_TEXT.split()]
    return list(dict.fromkeys(all_words))
