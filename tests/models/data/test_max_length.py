"""`max_length` of a design: longer samples lose clips, then turns, and what they lose is counted."""

from __future__ import annotations

import numpy as np
import pytest

from models.data import Corpus, TrainingSample, Turn
from models.data.integration import VIDEO_TOKEN
from models.data.placed import evenly_spaced
from models.design import Design, Fps, LearningRates, Mix, Stage
from models.video import Clip
from tests.models.training.small import (
    DESIGN,
    FIRST,
    IMAGE,
    PAIR,
    TEXT,
    VIDEO,
    small_corpus,
    small_model,
    small_prompter,
    with_design,
)

SAMPLING = Fps(kind="fps", fps=4)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    prompter = small_prompter()
    return small_corpus(small_model(prompter, tmp_path_factory.mktemp("model")), prompter)


def limited(corpus: Corpus, max_length: int | None) -> Corpus:
    """The corpus of a design with videos of 8 clips."""
    design = DESIGN.model_copy(update={"sampling": SAMPLING, "max_length": max_length})
    return with_design(corpus, design)


def row(corpus: Corpus, sample: TrainingSample, max_length: int | None):
    return limited(corpus, max_length).training_row(sample, None, RNG)


@pytest.mark.parametrize("sample", [VIDEO, IMAGE, TEXT, PAIR], ids=lambda one: one.kind)
def test_a_limit_that_no_sample_reaches_changes_nothing(corpus: Corpus, sample: TrainingSample):
    rows = [limited(corpus, most).training_row(sample, None, np.random.default_rng(1)) for most in (None, 10_000)]
    assert rows[0] == rows[1]


def test_a_longer_video_loses_clips_and_those_that_stay_are_evenly_spaced(corpus: Corpus):
    whole = row(corpus, VIDEO, None)
    clips = whole.visual[0].clips
    tokens = limited(corpus, None).design.tokens_per_clip
    short = row(corpus, VIDEO, whole.length - 3 * tokens - 1)
    assert short.length == whole.length - 4 * tokens
    assert (short.lost_clips, short.lost_turns) == (4, 0)
    assert len(short.branches) == len(whole.branches)
    assert short.visual[0].clips == tuple(evenly_spaced(list(clips), len(clips) - 4))
    assert short.count(VIDEO_TOKEN) == tokens * (len(clips) - 4)


@pytest.mark.parametrize("independent", [True, False])
def test_when_one_clip_is_left_the_last_turns_go(corpus: Corpus, independent: bool):
    turns = tuple(Turn((0, FIRST) if n == 0 else (FIRST,), "two") for n in range(5))
    sample = TrainingSample("v", "video", VIDEO.media, turns, independent)
    whole, one_clip = (row(corpus, sample, most) for most in (None, 1))
    assert (one_clip.lost_clips, one_clip.lost_turns) == (len(whole.visual[0].clips) - 1, 4)
    assert len(one_clip.visual[0].clips) == 1
    for most in range(one_clip.length, whole.length):
        short = row(corpus, sample, most)
        assert one_clip.length <= short.length <= most
        assert short.num_targets == whole.num_targets * (5 - short.lost_turns) // 5
        assert not short.lost_turns or len(short.visual[0].clips) == 1


def test_images_and_single_turns_always_stay(corpus: Corpus):
    whole, short = (row(corpus, PAIR, most) for most in (None, 1))
    assert short == whole


def test_a_stage_counts_what_its_samples_lose(corpus: Corpus):
    stage = Stage(name="a", share=1.0, batch=4, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3))
    whole = row(corpus, VIDEO, None)
    tokens = limited(corpus, None).design.tokens_per_clip
    batches = limited(corpus, whole.length - tokens).batches(stage, 3, np.random.default_rng(0), 10_000)
    for _ in range(2):
        next(batches)
    assert batches.lost.tolist() == [8, 8, 0]
    state = batches.state()
    other = limited(corpus, whole.length - tokens).batches(stage, 3, np.random.default_rng(0), 10_000)
    other.restore(state)
    next(other)
    assert other.lost.tolist() == [12, 12, 0]


def test_evenly_spaced_clips_are_the_centres_of_equal_spans():
    clips = [Clip((n,), float(n), float(n + 1)) for n in range(12)]
    assert [clip.frames[0] for clip in evenly_spaced(clips, 3)] == [2, 6, 10]
    assert [clip.frames[0] for clip in evenly_spaced(clips, 1)] == [6]
    assert evenly_spaced(clips, 12) == evenly_spaced(clips, None) == clips


def test_a_limit_below_any_prompt_is_refused():
    with pytest.raises(ValueError, match="max_length"):
        Design.model_validate(DESIGN.model_dump() | {"max_length": 10})
