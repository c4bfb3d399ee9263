"""Questions about several pictures: about one of them, or comparisons between them.

As for videos, text alone is at chance: given the text of a question (and the number of pictures, if the answer is the
number of one) the answer is uniform over a pool. The words are those of models/tiny/world/words.py; the shipped
vocabulary contains neither `second` nor `both`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words
from models.tiny.world.questions import WorldQuestion, name_quadrant
from models.tiny.world.scene import MIDDLE_X, MIDDLE_Y, Scene, read_slots, shape_centres

Picture = tuple[Scene, float]
"""A scene and the second at which it is taken."""
CATEGORY = "album"


def album_questions(pictures: Sequence[Picture], rng: np.random.Generator) -> list[WorldQuestion]:
    """Questions about each picture, then about all of them."""
    slots = np.concatenate([read_slots(scene, np.array([time_s])) for scene, time_s in pictures])
    questions = [
        question
        for i, (picture, row) in enumerate(zip(pictures, slots, strict=True))
        for question in _about_one(picture, row, _name_picture(i, len(pictures), rng), rng)
    ]
    return [*questions, *_about_all([scene for scene, _ in pictures], slots)]


def _name_picture(index: int, num: int, rng: np.random.Generator) -> str:
    """Name of a picture in a question: by its number, or as the first or the last."""
    if 0 < index < num - 1 or rng.random() < 0.5:
        return f"image {words.COUNTS[index]}"
    return "the first image" if index == 0 else "the last image"


def _about_one(
    picture: Picture, slots_S: NDArray[np.int64], name: str, rng: np.random.Generator
) -> Iterator[WorldQuestion]:
    scene, time_s = picture
    thing = int(rng.integers(2))
    color, shape = words.COLORS[scene.colors[thing]], words.SHAPES[scene.shapes[thing]]
    digit, lamp = words.DIGITS[slots_S[words.DIGIT_SLOT]], int(slots_S[words.LAMP_SLOT])
    x, y = (float(value) for value in shape_centres(scene, np.array([time_s]))[0, thing])
    yield WorldQuestion(CATEGORY, "one_digit", f"which digit is shown in {name} ?", digit, words.DIGITS)
    yield WorldQuestion(CATEGORY, "one_shape", f"what shape is the {color} thing in {name} ?", shape, words.SHAPES)
    yield WorldQuestion(CATEGORY, "one_color", f"what color is the {shape} in {name} ?", color, words.COLORS)
    if lamp != words.LAMP_OFF:
        text = f"what color is the lamp in {name} ?"
        yield WorldQuestion(CATEGORY, "one_lamp", text, words.COLORS[lamp], words.COLORS)
    if min(abs(x - MIDDLE_X), abs(y - MIDDLE_Y)) > 1:
        text = f"where is the {color} thing in {name} ?"
        yield WorldQuestion(CATEGORY, "one_place", text, name_quadrant(x, y), words.QUADRANTS)


def _about_all(scenes: Sequence[Scene], slots_TS: NDArray[np.int64]) -> Iterator[WorldQuestion]:
    """Which picture is the only one with some content, and which digit is on the picture after a given one."""
    numbers = words.COUNTS[: len(scenes)]
    digits = [words.DIGITS[i] for i in slots_TS[:, words.DIGIT_SLOT]]
    contents = {
        "which_digit": ("in which image is the {} shown ?", [{digit} for digit in digits]),
        "which_color": ("in which image is the {} thing ?", [_named(words.COLORS, scene.colors) for scene in scenes]),
        "which_shape": ("in which image is the {} ?", [_named(words.SHAPES, scene.shapes) for scene in scenes]),
        "which_lamp": (
            "in which image is the lamp {} ?",
            [{"off"} if lamp == words.LAMP_OFF else set() for lamp in slots_TS[:, words.LAMP_SLOT]],
        ),
    }
    for task, (template, sets) in contents.items():
        for word in sorted(set[str]().union(*sets)):
            where = [i for i, content in enumerate(sets) if word in content]
            if len(where) == 1:
                yield WorldQuestion(CATEGORY, task, template.format(word), numbers[where[0]], numbers)
    for before, after in pairwise(digits):
        if digits.count(before) == 1:
            pool = tuple(digit for digit in words.DIGITS if digit != before)
            yield WorldQuestion(CATEGORY, "digit_after", f"which digit comes right after {before} ?", after, pool)


def _named(pool: Sequence[str], indices: Sequence[int]) -> set[str]:
    return {pool[i] for i in indices}
