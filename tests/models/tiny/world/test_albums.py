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
    """Everything that is on a picture: words of the things, by shape and by colour, of digit and lamp, of places."""
    scene, time_s = picture
    slots = read_slots(scene, np.array([time_s]))[0]
    said = [slot.words[i] for slot, i in zip(words.SLOTS, slots, strict=True)]
    places = shape_centres(scene, np.array([time_s]))[0]
    quarters = [("north" if y < MIDDLE_Y else "south") + ("west" if x < MIDDLE_X else "east") for x, y in places]
    lamp = said[words.LAMP_SLOT].replace("dark", "off").removesuffix("light")
    return {
        "color": {said[1]: said[0], said[5]: said[4], "lamp": lamp},
        "shape": {said[0]: said[1], said[4]: said[5]},
        "where": {said[0]: quarters[0], said[4]: quarters[1]},
        "shown": {said[0], said[1], said[4], said[5], said[words.DIGIT_SLOT], lamp if lamp == "off" else "lit"},
        "digit": said[words.DIGIT_SLOT],
    }


def answer(seen, text):
    """What an observer of the pictures answers."""
    asked = text.split()
    if text.startswith("in which image"):
        thing = next(word for word in asked if word in {*words.COLORS, *words.SHAPES, *words.DIGITS, "off"})
        (where,) = [i for i, picture in enumerate(seen) if thing in picture["shown"]]
        return words.COUNTS[where]
    if "right after" in text:
        digits = [picture["digit"] for picture in seen]
        return digits[digits.index(asked[-2]) + 1]
    name = next(name for name in NAMES if name in text)
    picture = seen[-1 if "last" in name else {"two": 1, "three": 2}.get(name.split()[-1], 0)]
    if "digit" in asked:
        return picture["digit"]
    facts = picture["where" if asked[0] == "where" else asked[1]]
    return next(facts[word] for word in asked if word in facts)


def test_an_observer_finds_every_right_answer():
    tasks = set()
    for i in range(300):
        pictures, questions = album(i)
        seen = [look(picture) for picture in pictures]
        for question in questions:
            assert answer(seen, question.text) == question.answer, question
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
