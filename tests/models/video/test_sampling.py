from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.design import Fps, Uniform
from models.video import Clip, duration, image_clip, num_clips, sample
from models.video.sampling import TOLERANCE_S

RATES = st.sampled_from([1.0, 5.0, 10.0, 23.976, 25.0, 29.97, 30.0, 50.0, 60.0])
CLIP_FRAMES = st.integers(1, 8)
UNIFORM = st.builds(lambda n: Uniform(kind="uniform", frames=n), st.integers(1, 70))
FPS = st.builds(
    lambda fps, most: Fps(kind="fps", fps=fps, max_clips=most),
    st.sampled_from([0.2, 0.5, 1.0, 2.0, 3.2, 7.5, 30.0, 100.0]),
    st.integers(1, 40),
)


def constant(frames: int, rate: float) -> np.ndarray:
    return np.arange(frames) / rate


CFR = st.builds(constant, st.integers(1, 200), RATES)
VFR = st.lists(st.sampled_from([0.01, 0.04, 0.1, 0.5, 3.0]), max_size=80).map(lambda gaps: np.cumsum([0.0, *gaps]))


def uniform(frames: int) -> Uniform:
    return Uniform(kind="uniform", frames=frames)


def at(fps: float, max_clips: int = 200) -> Fps:
    return Fps(kind="fps", fps=fps, max_clips=max_clips)


def indices(clips: list[Clip]) -> list[int]:
    return [index for clip in clips for index in clip.frames]


def distance_to_shown(times_s: np.ndarray, index: int, instant_s: float) -> float:
    """Seconds from an instant to the stretch during which a frame is on display."""
    ends = np.append(times_s[1:], duration(times_s))
    return max(times_s[index] - instant_s, instant_s - ends[index], 0.0)


# --- what holds for every video and every sampling --------------------------------------------------


@given(CFR | VFR, UNIFORM | FPS, CLIP_FRAMES)
def test_clips_are_full_valid_and_in_order(times_s, sampling, clip_frames):
    clips = sample(times_s, sampling, clip_frames)
    assert len(clips) == num_clips(duration(times_s), sampling, clip_frames) >= 1
    for clip in clips:
        assert len(clip.frames) == clip_frames
        assert all(type(index) is int and 0 <= index < len(times_s) for index in clip.frames)
        assert 0 <= clip.start_s <= clip.end_s <= duration(times_s)
    assert indices(clips) == sorted(indices(clips))
    starts = [clip.start_s for clip in clips]
    assert starts == sorted(starts)


@given(CFR | VFR, UNIFORM | FPS, CLIP_FRAMES)
def test_each_frame_is_the_one_on_display_at_its_instant(times_s, sampling, clip_frames):
    clips = sample(times_s, sampling, clip_frames)
    whole = duration(times_s)
    for number, clip in enumerate(clips):
        for place, index in enumerate(clip.frames):
            if isinstance(sampling, Uniform):
                nth = min(number * clip_frames + place, sampling.frames - 1)
                instant = (nth + 0.5) * whole / sampling.frames
            else:
                instant = clip.start_s + (place + 0.5) / sampling.fps
            assert distance_to_shown(times_s, index, min(instant, whole)) <= 1.01 * TOLERANCE_S


@pytest.mark.parametrize("rate", [5.0, 10.0, 24.0, 25.0, 30.0, 50.0, 60.0])
@pytest.mark.parametrize("take_one_in", [1, 2, 4])
@pytest.mark.parametrize("clip_frames", [1, 4])
def test_instants_at_the_begin_of_a_frame_fall_alike_in_every_container(rate, take_one_in, clip_frames):
    exact = constant(240, rate)  # one in 2 and one in 4: each instant is where a frame begins
    in_decord, in_matroska = exact.astype(np.float32).astype(np.float64), np.round(exact, 3)
    for sampling in (uniform(240 // take_one_in), at(rate / take_one_in, max_clips=240)):
        clips = sample(exact, sampling, clip_frames)
        assert indices(clips) == list(range(take_one_in // 2, 240, take_one_in))
        for rounded in (in_decord, in_matroska):
            assert [clip.frames for clip in sample(rounded, sampling, clip_frames)] == [clip.frames for clip in clips]


# --- uniform ----------------------------------------------------------------------------------------------


@given(CFR | VFR, st.integers(1, 70), CLIP_FRAMES)
def test_uniform_takes_exactly_n_frames_and_fills_up_with_the_last(times_s, frames, clip_frames):
    clips = sample(times_s, uniform(frames), clip_frames)
    flat = indices(clips)
    assert len(clips) == math.ceil(frames / clip_frames)
    assert flat[frames:] == [flat[frames - 1]] * (len(flat) - frames)
    assert flat[:frames] == indices(sample(times_s, uniform(frames), 1))


@given(CFR, st.integers(1, 70), CLIP_FRAMES)
def test_uniform_spans_tile_the_video(times_s, frames, clip_frames):
    clips = sample(times_s, uniform(frames), clip_frames)
    assert clips[0].start_s == 0
    assert clips[-1].end_s == pytest.approx(duration(times_s))
    for before, after in itertools.pairwise(clips):
        assert before.end_s == pytest.approx(after.start_s)


@given(st.integers(2, 200), RATES, st.integers(1, 70))
def test_uniform_is_off_by_half_a_frame_at_most(frames, rate, number):
    times_s = constant(frames, rate)
    middles = times_s + 0.5 / rate
    instants = (np.arange(number) + 0.5) * duration(times_s) / number
    off = np.abs(middles[indices(sample(times_s, uniform(number), 1))] - instants)
    assert off.max() <= 0.5 / rate + 1.01 * TOLERANCE_S


@given(st.integers(1, 200), RATES)
def test_as_many_as_there_are_takes_each_once(frames, rate):
    assert indices(sample(constant(frames, rate), uniform(frames), 1)) == list(range(frames))


@pytest.mark.parametrize(
    ("frames", "number", "chosen"),
    [
        (5, 1, [2]),
        (1, 3, [0, 0, 0]),
        (2, 4, [0, 0, 1, 1]),
        (30, 3, [5, 15, 25]),
        (8, 4, [1, 3, 5, 7]),
    ],
)
def test_uniform_by_example(frames, number, chosen):
    assert indices(sample(constant(frames, 30), uniform(number), 1)) == chosen


def test_uniform_goes_by_time_not_by_index():
    slow_then_fast = np.concatenate([np.arange(5) * 1.0, 5 + np.arange(50) * 0.1])  # 5 s of 5, 5 s of 50 frames
    chosen = sample(slow_then_fast, uniform(4), 2)
    assert [clip.frames for clip in chosen] == [(1, 3), (17, 42)]
    assert [(clip.start_s, clip.end_s) for clip in chosen] == [(0, 5), (5, 10)]


# --- at a rate --------------------------------------------------------------------------------------------


@given(st.integers(1, 200), RATES, FPS, CLIP_FRAMES)
def test_the_rate_inside_a_clip_is_constant(frames, rate, sampling, clip_frames):
    times_s = constant(frames, rate)
    middles = times_s + 0.5 / rate
    for clip in sample(times_s, sampling, clip_frames):
        instants = clip.start_s + (np.arange(clip_frames) + 0.5) / sampling.fps
        inside = instants < duration(times_s)
        off = np.abs(middles[list(clip.frames)] - instants)[inside]
        assert (off <= 0.5 / rate + 1.01 * TOLERANCE_S).all()
        assert all(index == frames - 1 for index, is_inside in zip(clip.frames, inside, strict=True) if not is_inside)


@given(CFR | VFR, FPS, CLIP_FRAMES)
def test_clips_follow_each_other_or_are_evenly_spaced(times_s, sampling, clip_frames):
    clips = sample(times_s, sampling, clip_frames)
    whole, length_s = duration(times_s), clip_frames / sampling.fps
    steps = np.diff([clip.start_s for clip in clips])
    unlimited = num_clips(whole, at(sampling.fps, max_clips=10**6), clip_frames)
    if unlimited <= sampling.max_clips:
        assert clips[0].start_s == 0
        assert steps == pytest.approx(length_s)
        assert clips[-1].start_s + length_s >= whole - 0.5 / sampling.fps - TOLERANCE_S  # all but half a frame is seen
    else:
        assert len(clips) == sampling.max_clips
        assert steps == pytest.approx(whole / sampling.max_clips)
        assert (steps >= length_s).all()  # no overlap
        assert clips[0].start_s == pytest.approx(whole - clips[-1].end_s)  # as much left out at either end
        assert [clip.end_s - clip.start_s for clip in clips] == pytest.approx([length_s] * len(clips))


@given(FPS, CLIP_FRAMES, st.floats(0, 1e5), st.floats(0, 1e5))
def test_longer_videos_have_no_fewer_clips(sampling, clip_frames, one, other):
    short, long = sorted((one, other))
    few, many = (num_clips(d, sampling, clip_frames) for d in (short, long))
    assert 1 <= few <= many <= sampling.max_clips


@given(st.integers(1, 100), st.integers(1, 100))
def test_one_frame_clips_at_their_limit_are_uniform_sampling(seconds, most):
    assume(most < 2 * seconds)
    times_s = constant(10 * seconds, 10)
    assert indices(sample(times_s, at(2, most), 1)) == indices(sample(times_s, uniform(most), 1))


@pytest.mark.parametrize(
    ("seconds", "clips", "last", "end_s"),
    [
        (2.0, 1, (2, 7, 12, 17), 2.0),  # just full
        (2.2, 1, (2, 7, 12, 17), 2.0),  # less than half a frame's time more: left out
        (2.4, 2, (22, 23, 23, 23), 2.4),  # more than half: one frame more, the last one repeated
        (0.2, 1, (1, 1, 1, 1), 0.2),  # shorter than one frame's time
    ],
)
def test_rate_by_example(seconds, clips, last, end_s):
    chosen = sample(constant(round(seconds * 10), 10), at(2), 4)
    assert len(chosen) == clips == num_clips(seconds, at(2), 4)
    assert chosen[-1].frames == last
    assert chosen[-1].end_s == pytest.approx(end_s)


def test_rate_goes_by_time_not_by_index():
    slow_then_fast = np.concatenate([np.arange(5) * 1.0, 5 + np.arange(50) * 0.1])
    assert indices(sample(slow_then_fast, at(1), 1)) == [0, 1, 2, 3, 4, 10, 20, 30, 40, 50]


def test_too_many_clips_are_spread():
    clips = sample(constant(1000, 10), at(2, max_clips=2), 4)  # 100 s, clips of 2 s
    assert [(clip.start_s, clip.end_s) for clip in clips] == [(24, 26), (74, 76)]
    assert clips[0].frames == (242, 247, 252, 257)


# --- the rest ---------------------------------------------------------------------------------------------


def test_duration_counts_the_last_frame():
    assert duration([0.0]) == 0
    assert duration(constant(100, 25)) == pytest.approx(4.0)
    assert duration([0.0, 0.1, 0.2, 9.0]) == pytest.approx(9.1)


def test_an_image_fills_one_clip():
    assert image_clip(4) == Clip((0, 0, 0, 0), 0.0, 0.0)


@pytest.mark.parametrize(
    ("times_s", "message"),
    [
        ([], "T at least 1"),
        ([[0.0, 1.0]], "of shape"),
        ([0.0, math.nan], "finite"),
        ([1.0, 2.0], "relative to the first"),
        ([0.0, 2.0, 1.0], "must not decrease"),
    ],
)
def test_refuses_times_that_are_none(times_s, message):
    with pytest.raises(ValueError, match=message):
        sample(times_s, uniform(4), 1)


def test_refuses_senseless_numbers():
    for call in (lambda: sample([0.0], at(1), 0), lambda: image_clip(0), lambda: num_clips(1.0, uniform(2), -1)):
        with pytest.raises(ValueError, match="clip_frames must be at least 1"):
            call()
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="at least 0 s"):
            num_clips(bad, uniform(2), 1)
