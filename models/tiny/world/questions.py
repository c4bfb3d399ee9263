"""Questions about scenes, by ApolloBench's categories, and the samples on single images and on text.

Text alone is at chance: given a question's words its answer is uniform over a pool, and the wrong
options are drawn uniformly from the rest of the same pool. What each task physically needs stands
beside it in `NEEDS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words
from models.tiny.world.scene import MIDDLE_X, MIDDLE_Y, Scene, read_slots, shape_places

NEEDS = {
    "first_digit": "the first frames: which digit comes first is order",
    "last_digit": "the last frames: which digit comes last is order",
    "digit_after": "order, and frames dense enough to hit each digit's span (at least 0.12 of the video)",
    "camera": "order of two or more frames, close enough that the sun moves under 18 px between them",
    "still_place": "any one frame",
    "mover_end": "order: the last frame, and another to tell which shape moves",
    "relative_place": "two or more frames in any order: along which axis something moves",
    "shape_color": "any one frame",
    "color_shape": "any one frame",
    "mover_color": "two or more frames in any order",
    "count_flashes": "density: flashes last 0.4-0.7 s (less where they would fill half of the video)",
    "first_flash_color": "order and density: a flash that is not sampled is not seen",
    "speed": "order and a clock: px per second, so the time between frames must be known",
}
"""Task -> what is needed to answer it."""


class Question(NamedTuple):
    """A question, its right answer, and the pool from which that answer is uniform given the question."""

    category: str
    task: str
    text: str
    answer: str
    pool: tuple[str, ...]


class Choice(NamedTuple):
    """A question with four options; `answer` is the right one's index."""

    question: Question
    options: tuple[str, str, str, str]
    answer: int


def video_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One question of each task in `NEEDS`, in its order."""
    colors, shapes, mover = scene.colors, scene.shapes, scene.mover
    asked_digit = int(rng.integers(len(scene.digits) - 1))
    asked = int(rng.integers(2))
    shape, color = words.SHAPES[shapes[asked]], words.COLORS[colors[1 - asked]]
    before, after = words.DIGITS[scene.digits[asked_digit]], words.DIGITS[scene.digits[asked_digit + 1]]
    other_digits = tuple(digit for digit in words.DIGITS if digit != before)
    still = words.COLORS[colors[1 - mover]]
    end = shape_places(scene, np.array([scene.duration_s]))[0, mover]
    first, last = (words.DIGITS[scene.digits[i]] for i in (0, -1))
    rows: list[tuple[str, str, str, str, tuple[str, ...]]] = [
        ("ocr", "first_digit", "which digit is shown first ?", first, words.DIGITS),
        ("ocr", "last_digit", "which digit is shown last ?", last, words.DIGITS),
        ("ocr", "digit_after", f"which digit comes right after {before} ?", after, other_digits),
        ("egocentric", "camera", "which way does the camera move ?", words.WAYS[scene.camera], words.WAYS),
        ("spatial", "still_place", f"where is the {still} thing ?", name_place(*scene.still), words.PLACES),
        ("spatial", "mover_end", "where is the moving thing at the end ?", name_place(*end), words.PLACES),
        (
            "spatial",
            "relative_place",
            "on which side of the still thing does the moving one pass ?",
            _side(scene),
            words.SIDES,
        ),
        ("perception", "shape_color", f"what color is the {shape} ?", words.COLORS[colors[asked]], words.COLORS),
        (
            "perception",
            "color_shape",
            f"what shape is the {color} thing ?",
            words.SHAPES[shapes[1 - asked]],
            words.SHAPES,
        ),
        (
            "perception",
            "mover_color",
            "what color is the moving thing ?",
            words.COLORS[colors[mover]],
            words.COLORS,
        ),
        (
            "reasoning",
            "count_flashes",
            "how many times does the lamp flash ?",
            words.COUNTS[len(scene.flashes) - 1],
            words.COUNTS,
        ),
        (
            "reasoning",
            "first_flash_color",
            "what color is the first flash ?",
            words.COLORS[scene.flashes[0].color],
            words.COLORS,
        ),
        (
            "reasoning",
            "speed",
            "how fast does the moving thing go ?",
            words.SPEEDS[scene.speed],
            words.SPEEDS,
        ),
    ]
    return [Question(*row) for row in rows]


def name_place(x: float, y: float) -> str:
    """The quarter of the view in which a point lies."""
    return words.PLACES[2 * (y > MIDDLE_Y) + (x > MIDDLE_X)]


def _side(scene: Scene) -> str:
    """Where the mover's lane lies as seen from the still shape."""
    if scene.axis == 0:
        return "below" if scene.lane > scene.still[1] else "above"
    return "right" if scene.lane > scene.still[0] else "left"


def offer_options(question: Question, rng: np.random.Generator) -> Choice:
    """Draw three wrong options uniformly from the pool and put the four in random order."""
    wrong = [word for word in question.pool if word != question.answer]
    drawn = [question.answer, *(wrong[i] for i in rng.choice(len(wrong), size=3, replace=False))]
    order = rng.permutation(4)
    first, second, third, fourth = (drawn[i] for i in order)
    return Choice(question, (first, second, third, fourth), int(np.flatnonzero(order == 0)[0]))


def describe(slots_S: NDArray[np.int64]) -> str:
    """Caption of one frame: the word of each slot."""
    return " ".join(slot.words[int(i)] for slot, i in zip(words.SLOTS, slots_S, strict=True))


def transcript(scene: Scene, num: int) -> str:
    """What `num` evenly spread frames show, one after another."""
    times = (np.arange(num) + 0.5) / num * scene.duration_s
    return " ".join(describe(row) for row in read_slots(scene, times))


def image_turns(scene: Scene, time_s: float) -> list[tuple[str, str]]:
    """Questions and answers about one frame alone, its caption first."""
    slots = read_slots(scene, np.array([time_s]))[0]
    said = [slot.words[int(i)] for slot, i in zip(words.SLOTS, slots, strict=True)]
    places = shape_places(scene, np.array([time_s]))[0]
    turns = [("describe the view", describe(slots)), ("which digit is shown now ?", said[words.DIGIT_SLOT])]
    for i, (color, shape) in enumerate(zip(scene.colors, scene.shapes, strict=True)):
        name = words.COLORS[color]
        turns += [
            (f"what color is the {words.SHAPES[shape]} ?", name),
            (f"what shape is the {name} thing ?", words.SHAPES[shape]),
            (f"which column is the {name} thing in ?", said[2 + 4 * i]),
            (f"which row is the {name} thing in ?", said[3 + 4 * i]),
        ]
        if min(abs(places[i] - (MIDDLE_X, MIDDLE_Y))) > 1:
            turns.append((f"where is the {name} thing ?", name_place(*places[i])))
    lit = int(slots[words.LAMP_SLOT])
    lamp = words.COLORS[lit] if lit != words.LAMP_OFF else "off"
    turns += [
        ("what color is the lamp now ?", lamp),
        ("which column is the sun in ?", said[words.SUN_SLOT]),
        ("which row is the sun in ?", said[words.SUN_SLOT + 1]),
    ]
    return turns


def text_turn(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A transcript with one question that its frames can answer, and the answer."""
    asked = video_questions(scene, rng)
    answerable = [question for question in asked if question.task != "speed"]  # it would need a clock
    question = answerable[int(rng.integers(len(answerable)))]
    num = int(np.clip(round(2 * scene.duration_s), 4, 12))
    return f"{transcript(scene, num)}\n{question.text}", question.answer


def stepping_stones(scene: Scene, slots_TS: NDArray[np.int64]) -> list[tuple[str, str]]:
    """Questions of the text stage alone, about first and last sampled frames: what harder ones build on."""
    turns = []
    for when, frame in (("start", slots_TS[0]), ("end", slots_TS[-1])):
        said = [slot.words[int(i)] for slot, i in zip(words.SLOTS, frame, strict=True)]
        for i in (0, 1):
            column, row = frame[2 + 4 * i], frame[3 + 4 * i]
            place = words.PLACES[2 * int(row >= words.ROWS // 2) + int(column >= words.COLUMNS // 2)]
            turns.append((f"where is the {words.COLORS[scene.colors[i]]} thing at the {when} ?", place))
        turns += [
            (f"which column is the sun in at the {when} ?", said[words.SUN_SLOT]),
            (f"which row is the sun in at the {when} ?", said[words.SUN_SLOT + 1]),
        ]
    for i in (0, 1):
        moves = "moving" if scene.mover == i else "still"
        turns.append((f"is the {words.COLORS[scene.colors[i]]} thing moving ?", moves))
    return turns
