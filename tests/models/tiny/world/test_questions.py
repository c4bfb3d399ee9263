"""Right answers can be read off the scene, and text alone is at chance."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from models.tiny import NEEDS
from models.tiny.pretraining.transcripts import IDS
from models.tiny.tokenizer import build_tokenizer
from models.tiny.world import words
from models.tiny.world.questions import image_turns, offer_options, text_turn, video_questions
from models.tiny.world.scene import (
    MIDDLE_X,
    MIDDLE_Y,
    generator,
    lamp_at,
    make_scene,
    read_slots,
    shape_centres,
    sun_centres,
)

NUM_SCENES = 3000


def questions_of(index):
    rng = generator(0, "test", index)
    scene = make_scene(rng)
    return scene, video_questions(scene, rng), rng


def quadrant(x, y):
    return ("north" if y < MIDDLE_Y else "south") + ("west" if x < MIDDLE_X else "east")


def watch(scene):
    """The answers of an observer who sees 200 frames a second and knows the clock."""
    times = np.arange(0, scene.duration_s, 0.005)
    slots, places = read_slots(scene, times), shape_centres(scene, times)
    lamp, sun = lamp_at(scene, times), sun_centres(scene, times)
    moved = np.abs(np.diff(places, axis=0)).sum(axis=(0, 2))
    mover = int(moved[1] > moved[0])
    digit = slots[:, words.DIGIT_SLOT]
    digits = [digit[0], *digit[1:][np.diff(digit) != 0]]
    step = np.median(np.diff(sun, axis=0), axis=0)
    lit = np.flatnonzero(np.diff((lamp != words.LAMP_OFF).astype(int), prepend=0) == 1)
    gap = np.ptp(places[:, mover], axis=0)
    across = int(gap[0] > gap[1])
    side = places[0, mover, across] > places[0, 1 - mover, across]
    slot_words = [slot.words[i] for slot, i in zip(words.SLOTS, slots[0], strict=True)]
    colors, shapes = (slot_words[0], slot_words[4]), (slot_words[1], slot_words[5])
    return {
        "first_digit": str(digits[0]),
        "last_digit": str(digits[-1]),
        "digit_after": {str(a): str(b) for a, b in pairwise(digits)},
        "camera": words.WAYS[int(np.abs(step).argmax() * 2 + (step[np.abs(step).argmax()] < 0))],
        "still_place": quadrant(*places[0, 1 - mover]),
        "mover_end": quadrant(*places[-1, mover]),
        "relative_place": (("left", "right") if across == 0 else ("above", "below"))[int(side)],
        "shape_color": dict(zip(shapes, colors, strict=True)),
        "color_shape": dict(zip(colors, shapes, strict=True)),
        "mover_color": colors[mover],
        "count_flashes": words.COUNTS[len(lit) - 1],
        "first_flash_color": words.COLORS[lamp[lit[0]]],
        "speed": words.SPEEDS[int(np.abs(np.array([1.5, 3, 6, 11]) - moved[mover] / scene.duration_s).argmin())],
    }


def test_an_observer_finds_every_right_answer():
    for i in range(150):
        scene, questions, _ = questions_of(i)
        answers = watch(scene)
        assert [question.task for question in questions] == list(NEEDS) == list(answers)
        for question in questions:
            answer = answers[question.task]
            if isinstance(answer, dict):  # the question names which one it means
                answer = next(answer[word] for word in question.text.split() if word in answer)
            assert question.answer == answer, question


@pytest.mark.slow
def test_answers_are_uniform_given_the_question():
    answers = defaultdict(Counter)
    positions = defaultdict(Counter)
    for i in range(NUM_SCENES):
        _, questions, rng = questions_of(i)
        for question in questions:
            choice = offer_options(question, rng)
            assert choice.options[choice.answer] == question.answer
            assert len(set(choice.options)) == 4
            assert set(choice.options) <= set(question.pool)
            answers[question.text, question.pool][question.answer] += 1
            positions[question.task][choice.answer] += 1
    p_values = [chisquare([count[w] for w in pool]).pvalue for (_, pool), count in answers.items()]
    p_values += [chisquare([count[i] for i in range(4)]).pvalue for count in positions.values()]
    assert min(p_values) * len(p_values) > 0.001  # Bonferroni; seeds are fixed


@pytest.mark.slow
def test_words_are_known_and_options_are_one_token():
    tokenizer = build_tokenizer()
    assert tokenizer.get_vocab() == IDS
    for i in range(200):
        scene, questions, rng = questions_of(i)
        turns = image_turns(scene, scene.duration_s / 2)
        texts = [*(question.text for question in questions), *(text for turn in turns for text in turn)]
        for text in [*texts, *text_turn(scene, rng)]:
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids, text
            assert ids == [IDS[word] for word in text.split()]
        for question in questions:
            assert all(len(tokenizer(w, add_special_tokens=False).input_ids) == 1 for w in question.pool)


@pytest.mark.parametrize("text", ["clip from 00:02-00:03:", "Clip from 12:59-13:00: <vid_start>"])
def test_timestamps_are_known_digit_by_digit(text):
    tokenizer = build_tokenizer()
    tokens = tokenizer.tokenize(text)
    assert "<unk>" not in tokens
    assert tokens[2:7] == list(text.split()[2][:5])


def test_the_chat_template_ends_an_answer():
    turns = [("user", "<video>\nhow many"), ("assistant", "two"), ("user", "where")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = build_tokenizer().apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<user><video>\nhow many<assistant>two<eos><user>where<assistant>"
