"""Questions about scenes, by ApolloBench's categories, and the samples on single images and on text.

Text alone is at chance: given the text of a question its answer is uniform over a pool, and the wrong options are drawn
uniformly from the rest of the same pool. `NEEDS` lists what each task physically needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words
from models.tiny.world.scene import MIDDLE_X, MIDDLE_Y, Scene, read_slots, shape_centres

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
"""Task -> frames, order or clock that an answer needs."""


class WorldQuestion(NamedTuple):
    """A question and its right answer."""

    category: str
    task: str
    text: str
    answer: str
    pool: tuple[str, ...]
    """Words over which the answer is uniform, given the text of the question."""


class Choice(NamedTuple):
    """A question with four options."""

    question: WorldQuestion
    options: tuple[str, str, str, str]
    answer: int
    """Index of the right option."""


def video_questions(scene: Scene, rng: np.random.Generator) -> list[WorldQuestion]:
    """One question of each task in `NEEDS`, in its order."""
    digit = int(rng.integers(len(scene.digits) - 1))
    thing = int(rng.integers(2))
    return [
        *_digit_questions(scene, digit),
        WorldQuestion("egocentric", "camera", "which way does the camera move ?", words.WAYS[scene.camera], words.WAYS),
        *_spatial_questions(scene),
        *_perception_questions(scene, thing),
        *_reasoning_questions(scene),
    ]


def _digit_questions(scene: Scene, index: int) -> list[WorldQuestion]:
    """Questions about the digits; one of them is about the digit after number `index`."""
    first, last = (words.DIGITS[scene.digits[i]] for i in (0, -1))
    before, after = words.DIGITS[scene.digits[index]], words.DIGITS[scene.digits[index + 1]]
    others = tuple(digit for digit in words.DIGITS if digit != before)
    return [
        WorldQuestion("ocr", "first_digit", "which digit is shown first ?", first, words.DIGITS),
        WorldQuestion("ocr", "last_digit", "which digit is shown last ?", last, words.DIGITS),
        WorldQuestion("ocr", "digit_after", f"which digit comes right after {before} ?", after, others),
    ]


def _spatial_questions(scene: Scene) -> list[WorldQuestion]:
    """Questions about where the two things are."""
    still = words.COLORS[scene.colors[1 - scene.mover]]
    end = shape_centres(scene, np.array([scene.duration_s]))[0, scene.mover]
    side = "on which side of the still thing does the moving one pass ?"
    return [
        WorldQuestion(
            "spatial", "still_place", f"where is the {still} thing ?", name_quadrant(*scene.still), words.QUADRANTS
        ),
        WorldQuestion(
            "spatial", "mover_end", "where is the moving thing at the end ?", name_quadrant(*end), words.QUADRANTS
        ),
        WorldQuestion("spatial", "relative_place", side, _side(scene), words.SIDES),
    ]


def _perception_questions(scene: Scene, thing: int) -> list[WorldQuestion]:
    """The colour of one thing (0: warm, 1: cool), the shape of the other, and the colour of the mover."""
    shape, color = (words.SHAPES[scene.shapes[thing]], words.COLORS[scene.colors[thing]])
    other_shape, other_color = (words.SHAPES[scene.shapes[1 - thing]], words.COLORS[scene.colors[1 - thing]])
    mover = words.COLORS[scene.colors[scene.mover]]
    return [
        WorldQuestion("perception", "shape_color", f"what color is the {shape} ?", color, words.COLORS),
        WorldQuestion(
            "perception", "color_shape", f"what shape is the {other_color} thing ?", other_shape, words.SHAPES
        ),
        WorldQuestion("perception", "mover_color", "what color is the moving thing ?", mover, words.COLORS),
    ]


def _reasoning_questions(scene: Scene) -> list[WorldQuestion]:
    """Questions about the flashes of the lamp and the speed of the mover."""
    count = words.COUNTS[len(scene.flashes) - 1]
    color = words.COLORS[scene.flashes[0].color]
    speed = words.SPEEDS[scene.speed]
    return [
        WorldQuestion("reasoning", "count_flashes", "how many times does the lamp flash ?", count, words.COUNTS),
        WorldQuestion("reasoning", "first_flash_color", "what color is the first flash ?", color, words.COLORS),
        WorldQuestion("reasoning", "speed", "how fast does the moving thing go ?", speed, words.SPEEDS),
    ]


def name_quadrant(x: float, y: float) -> str:
    """The quadrant of the view that contains a point (px)."""
    return words.QUADRANTS[2 * (y > MIDDLE_Y) + (x > MIDDLE_X)]


def _side(scene: Scene) -> str:
    """Side of the still shape on which the mover's lane lies."""
    if scene.axis == 0:
        return "below" if scene.lane > scene.still[1] else "above"
    return "right" if scene.lane > scene.still[0] else "left"


def offer_options(question: WorldQuestion, rng: np.random.Generator) -> Choice:
    """Draw three wrong options uniformly from the pool and put the four in random order."""
    wrong = [word for word in question.pool if word != question.answer]
    drawn = [question.answer, *(wrong[i] for i in rng.choice(len(wrong), size=3, replace=False))]
    order = rng.permutation(4)
    first, second, third, fourth = (drawn[i] for i in order)
    return Choice(question, (first, second, third, fourth), int(np.flatnonzero(order == 0)[0]))


def describe(slots_S: NDArray[np.int64]) -> str:
    """Caption of one frame: the word of each slot."""
    return " ".join(_slot_words(slots_S))


def _slot_words(slots_S: NDArray[np.int64]) -> list[str]:
    return [slot.words[int(i)] for slot, i in zip(words.SLOTS, slots_S, strict=True)]


def transcript(scene: Scene, num: int) -> str:
    """Captions of `num` evenly spaced frames, one after another."""
    times = (np.arange(num) + 0.5) / num * scene.duration_s
    return " ".join(describe(row) for row in read_slots(scene, times))


def image_turns(scene: Scene, time_s: float) -> list[tuple[str, str]]:
    """Questions and answers about one frame, its caption first."""
    slots = read_slots(scene, np.array([time_s]))[0]
    slot_words = _slot_words(slots)
    centres = shape_centres(scene, np.array([time_s]))[0]
    turns = [("describe the view", describe(slots)), ("which digit is shown now ?", slot_words[words.DIGIT_SLOT])]
    for i, (color, shape) in enumerate(zip(scene.colors, scene.shapes, strict=True)):
        name = words.COLORS[color]
        turns += [
            (f"what color is the {words.SHAPES[shape]} ?", name),
            (f"what shape is the {name} thing ?", words.SHAPES[shape]),
            (f"which column is the {name} thing in ?", slot_words[2 + 4 * i]),
            (f"which row is the {name} thing in ?", slot_words[3 + 4 * i]),
        ]
        if min(abs(centres[i] - (MIDDLE_X, MIDDLE_Y))) > 1:
            turns.append((f"where is the {name} thing ?", name_quadrant(*centres[i])))
    lit = int(slots[words.LAMP_SLOT])
    lamp = words.COLORS[lit] if lit != words.LAMP_OFF else "off"
    turns += [
        ("what color is the lamp now ?", lamp),
        ("which column is the sun in ?", slot_words[words.SUN_SLOT]),
        ("which row is the sun in ?", slot_words[words.SUN_SLOT + 1]),
    ]
    return turns


def text_turn(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A transcript with one question that its frames can answer, and the answer."""
    questions = video_questions(scene, rng)
    answerable = [question for question in questions if question.task != "speed"]  # needs a clock
    question = answerable[int(rng.integers(len(answerable)))]
    num = int(np.clip(round(2 * scene.duration_s), 4, 12))
    return f"{transcript(scene, num)}\n{question.text}", question.answer


def auxiliary_turns(scene: Scene, slots_TS: NDArray[np.int64]) -> list[tuple[str, str]]:
    """Questions and answers about the first and last sampled frames, for the pre-training of LLMs only.

    They train skills that harder questions need.
    """
    turns = []
    for when, frame in (("start", slots_TS[0]), ("end", slots_TS[-1])):
        slot_words = _slot_words(frame)
        for i in (0, 1):
            column, row = frame[2 + 4 * i], frame[3 + 4 * i]
            quadrant = words.QUADRANTS[2 * int(row >= words.ROWS // 2) + int(column >= words.COLUMNS // 2)]
            turns.append((f"where is the {words.COLORS[scene.colors[i]]} thing at the {when} ?", quadrant))
        turns += [
            (f"which column is the sun in at the {when} ?", slot_words[words.SUN_SLOT]),
            (f"which row is the sun in at the {when} ?", slot_words[words.SUN_SLOT + 1]),
        ]
    for i in (0, 1):
        moves = "moving" if scene.mover == i else "still"
        turns.append((f"is the {words.COLORS[scene.colors[i]]} thing moving ?", moves))
    return turns
