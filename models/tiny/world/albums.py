"""Questions about several pictures at once: about one of them, or that compare them.

As for videos, text alone is at chance: the answer is uniform over a pool given the question's words (and,
where it is the number of a picture, how many there are). Words are those of models/tiny/world/words.py, whose
vocabulary is shipped and knows neither `second` nor `both`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words
from models.tiny.world.questions import Question, name_place
from models.tiny.world.scene import MIDDLE_X, MIDDLE_Y, Scene, read_slots, shape_places

Picture = tuple[Scene, float]
"""A scene and the second at which it is taken."""
CATEGORY = "album"


def album_questions(pictures: Sequence[Picture], rng: np.random.Generator) -> list[Question]:
    """About each picture, then about all of them."""
    slots = np.concatenate([read_slots(scene, np.array([time_s])) for scene, time_s in pictures])
    asked = [
        question
        for i, (picture, row) in enumerate(zip(pictures, slots, strict=True))
        for question in _about_one(picture, row, _call(i, len(pictures), rng), rng)
    ]
    return [*asked, *_about_all([scene for scene, _ in pictures], slots)]


def _call(index: int, num: int, rng: np.random.Generator) -> str:
    """What a picture is called: by its number, or as the first or the last."""
    if 0 < index < num - 1 or rng.random() < 0.5:
        return f"image {words.COUNTS[index]}"
    return "the first image" if index == 0 else "the last image"


def _about_one(picture: Picture, slots_S: NDArray[np.int64], name: str, rng: np.random.Generator) -> Iterator[Question]:
    scene, time_s = picture
    thing = int(rng.integers(2))
    color, shape = words.COLORS[scene.colors[thing]], words.SHAPES[scene.shapes[thing]]
    digit, lamp = words.DIGITS[slots_S[words.DIGIT_SLOT]], int(slots_S[words.LAMP_SLOT])
    x, y = (float(value) for value in shape_places(scene, np.array([time_s]))[0, thing])
    yield Question(CATEGORY, "one_digit", f"which digit is shown in {name} ?", digit, words.DIGITS)
    yield Question(CATEGORY, "one_shape", f"what shape is the {color} thing in {name} ?", shape, words.SHAPES)
    yield Question(CATEGORY, "one_color", f"what color is the {shape} in {name} ?", color, words.COLORS)
    if lamp != words.LAMP_OFF:
        text = f"what color is the lamp in {name} ?"
        yield Question(CATEGORY, "one_lamp", text, words.COLORS[lamp], words.COLORS)
    if min(abs(x - MIDDLE_X), abs(y - MIDDLE_Y)) > 1:
        text = f"where is the {color} thing in {name} ?"
        yield Question(CATEGORY, "one_place", text, name_place(x, y), words.PLACES)


def _about_all(scenes: Sequence[Scene], slots_TS: NDArray[np.int64]) -> Iterator[Question]:
    """Which picture alone shows something, and which digit is on the picture after another's."""
    numbers = words.COUNTS[: len(scenes)]
    digits = [words.DIGITS[i] for i in slots_TS[:, words.DIGIT_SLOT]]
    shown = {
        "which_digit": ("in which image is the {} shown ?", [{digit} for digit in digits]),
        "which_color": ("in which image is the {} thing ?", [_named(words.COLORS, scene.colors) for scene in scenes]),
        "which_shape": ("in which image is the {} ?", [_named(words.SHAPES, scene.shapes) for scene in scenes]),
        "which_lamp": (
            "in which image is the lamp {} ?",
            [{"off"} if lamp == words.LAMP_OFF else set() for lamp in slots_TS[:, words.LAMP_SLOT]],
        ),
    }
    for task, (form, sets) in shown.items():
        for word in sorted(set[str]().union(*sets)):
            where = [i for i, found in enumerate(sets) if word in found]
            if len(where) == 1:
                yield Question(CATEGORY, task, form.format(word), numbers[where[0]], numbers)
    for before, after in pairwise(digits):
        if digits.count(before) == 1:
            pool = tuple(digit for digit in words.DIGITS if digit != before)
            yield Question(CATEGORY, "digit_after", f"which digit comes right after {before} ?", after, pool)


def _named(pool: Sequence[str], indices: Sequence[int]) -> set[str]:
    return {pool[i] for i in indices}
