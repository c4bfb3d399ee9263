"""Every word of the embedded study: pools of answers, words for what one frame shows, and the vocabulary.

What a frame shows is a row of `SLOTS`, one word each. Words of different slots never coincide but for
the two things' shapes (`redlight` is the lamp, `wc*` a column of the warm thing), so that they keep
their meaning when several are squeezed into one token. No torch here.
"""

from __future__ import annotations

from typing import NamedTuple

WARM = ("red", "yellow", "pink")
COOL = ("blue", "green", "cyan")
COLORS = (*WARM, *COOL)
SHAPES = ("circle", "square", "triangle", "plus")
PLACES = ("northwest", "northeast", "southwest", "southeast")
"""Quarters of the view; index = 2 * (lower half) + (right half)."""
WAYS = ("left", "right", "up", "down")
SIDES = ("left", "right", "above", "below")
COUNTS = ("one", "two", "three", "four")
SPEEDS = ("crawling", "slow", "fast", "racing")
DIGITS = tuple("0123456789")

COLUMNS = 12
"""Columns in which a shape's centre can be, 2 px wide each."""
ROWS = 8
"""Rows in which a shape's centre can be, 2 px high each."""
SUN_CELLS = 12
"""Columns, and rows, of the sun's centre, 32/12 px each."""


class Slot(NamedTuple):
    """One thing that a frame shows: its name and the words for its possible values."""

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
"""In the order in which a caption names them. The warm and the cool thing have slots of their own, so that
a frame alone says which is which."""
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
    """Every word that the tokenizer knows, specials first, each once; an id is an index here."""
    pools = (DIGITS, COLORS, SHAPES, PLACES, WAYS, SIDES, COUNTS, SPEEDS, *(slot.words for slot in SLOTS))
    words = [*SPECIALS, *(word for pool in pools for word in pool), *_QUESTION_TEXT.split()]
    return list(dict.fromkeys(words))
