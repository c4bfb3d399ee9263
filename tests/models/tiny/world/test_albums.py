"""Questions about several pictures can be answered by looking, and only by looking."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import chisquare

from models.tiny.pretraining.transcripts import IDS
from models.tiny.world import words
from models.tiny.world.albums import album_questions
from models.tiny.world.scene import MIDDLE_X, MIDDLE_Y, generator, make_scene, read_slots, shape_centres

NAMES = ("image one", "image two", "image three", "the first image", "the last image")
TASKS = {
    *("one_digit", "one_shape", "one_color", "one_lamp", "one_place"),
    *("which_digit", "which_color", "which_shape", "which_lamp", "digit_after"),
}


def album(index):
    rng = generator(0, "multi_image", index)
    scenes = [make_scene(rng) for _ in range(int(rng.integers(2, 4)))]
    pictures = []
    for scene in scenes:
        flash = scene.flashes[0]
        time_s = flash.start_s + flash.length_s / 2 if rng.random() < 0.7 else rng.uniform(0, scene.duration_s)
        pictures.append((scene, float(time_s)))
    return pictures, album_questions(pictures, rng)


def look(picture):
    """The content of a picture: words of the things, by shape and by colour, of digit and lamp, and quadrants."""
    scene, time_s = picture
    slots = read_slots(scene, np.array([time_s]))[0]
    slot_words = [slot.words[i] for slot, i in zip(words.SLOTS, slots, strict=True)]
    places = shape_centres(scene, np.array([time_s]))[0]
    quarters = [("north" if y < MIDDLE_Y else "south") + ("west" if x < MIDDLE_X else "east") for x, y in places]
    lamp = slot_words[words.LAMP_SLOT].replace("dark", "off").removesuffix("light")
    return {
        "color": {slot_words[1]: slot_words[0], slot_words[5]: slot_words[4], "lamp": lamp},
        "shape": {slot_words[0]: slot_words[1], slot_words[4]: slot_words[5]},
        "where": {slot_words[0]: quarters[0], slot_words[4]: quarters[1]},
        "shown": {
            slot_words[0],
            slot_words[1],
            slot_words[4],
            slot_words[5],
            slot_words[words.DIGIT_SLOT],
            lamp if lamp == "off" else "lit",
        },
        "digit": slot_words[words.DIGIT_SLOT],
    }


def answer(contents, text):
    """What an observer of the pictures answers."""
    text_words = text.split()
    if text.startswith("in which image"):
        thing = next(word for word in text_words if word in {*words.COLORS, *words.SHAPES, *words.DIGITS, "off"})
        (where,) = [i for i, picture in enumerate(contents) if thing in picture["shown"]]
        return words.COUNTS[where]
    if "right after" in text:
        digits = [picture["digit"] for picture in contents]
        return digits[digits.index(text_words[-2]) + 1]
    name = next(name for name in NAMES if name in text)
    picture = contents[-1 if "last" in name else {"two": 1, "three": 2}.get(name.split()[-1], 0)]
    if "digit" in text_words:
        return picture["digit"]
    facts = picture["where" if text_words[0] == "where" else text_words[1]]
    return next(facts[word] for word in text_words if word in facts)


def test_an_observer_finds_every_right_answer():
    tasks = set()
    for i in range(300):
        pictures, questions = album(i)
        contents = [look(picture) for picture in pictures]
        for question in questions:
            assert answer(contents, question.text) == question.answer, question
            assert question.answer in question.pool
            assert all(word in IDS for word in [*question.text.split(), *question.pool])
            tasks.add(question.task)
        assert len({question.text for question in questions}) == len(questions)
    assert tasks == TASKS


@pytest.mark.slow
def test_answers_are_uniform_given_the_question():
    answers = defaultdict(Counter)
    for i in range(1200):
        for question in album(i)[1]:
            answers[question.text, question.pool][question.answer] += 1
    often = [(pool, count) for (_, pool), count in answers.items() if count.total() >= 5 * len(pool)]
    p_values = [chisquare([count[word] for word in pool]).pvalue for pool, count in often]
    assert len(p_values) > 60
    assert min(p_values) * len(p_values) > 0.001  # Bonferroni; seeds are fixed
