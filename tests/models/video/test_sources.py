"""Segments of videos, and what is known of a medium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.video import Decoder, Medium, OnDemand, VideoError, duration, inspect_medium
from models.video.sources import END_SLACK_S, relative, segment
from tests.models.video.clips import numbers, picture, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of 20 frames in 2 s."""
    folder = tmp_path_factory.mktemp("media")
    write(folder / "a.mp4")
    Image.fromarray(picture(0)).save(folder / "a.png")
    return folder


@pytest.fixture(scope="module")
def decoder():
    with Decoder(timeout_s=20) as shared:
        yield shared


def part(start_s=0.0, end_s=None, path="a.mp4"):
    return Medium(path=path, kind="video", start_s=start_s, end_s=end_s)


@pytest.mark.parametrize(
    ("start_s", "end_s", "frames"),
    [
        (0, None, range(20)),
        (0.5, None, range(5, 20)),
        (0, 0.5, range(5)),
        (0.5, 1.0, range(5, 10)),
        (0.55, 1.01, range(5, 11)),  # frame 5 is on display at 0.55 s
        (0.51, 0.52, range(5, 6)),
        (1.95, 2.4, range(19, 20)),  # annotations round up
    ],
)
def test_a_segment_has_the_frames_on_display(folder, decoder, start_s, end_s, frames):
    source, medium = OnDemand(folder, decoder, 48), part(start_s, end_s)
    times_s = source.times(medium)
    assert len(times_s) == len(frames)
    assert times_s[0] == 0
    assert times_s[1:] == pytest.approx(np.array(frames[1:]) / 10 - start_s, abs=1e-6)
    assert numbers(source.read(medium, range(len(frames)))) == list(frames)
    facts = inspect_medium(folder, medium, decoder)
    assert facts.frames == len(frames)
    assert facts.duration_s == pytest.approx(duration(times_s))


@pytest.mark.parametrize(
    ("start_s", "end_s", "reason"),
    [
        (2.0, None, r"the segment from 2 s to its end is not in the video, of 2.000 s"),
        (1.0, 3.5, r"the segment from 1 s to 3.5 s is not in the video, of 2.000 s"),
        (1.0, 1.0, r"the segment from 1 to 1 s is empty; its end must follow its start"),
        (-1.0, 1.0, r"is empty"),
    ],
)
def test_segments_that_are_not_there_are_refused(folder, decoder, start_s, end_s, reason):
    medium = part(start_s, end_s)
    source = OnDemand(folder, decoder, None)
    for read in (
        lambda: source.times(medium),
        lambda: source.read(medium, [0]),
        lambda: inspect_medium(folder, medium, decoder),
    ):
        with pytest.raises(VideoError, match=r"a.mp4: .*" + reason):
            read()


def test_an_image_has_no_segment(folder, decoder):
    medium = Medium(path="a.png", kind="image", end_s=1.0)
    with pytest.raises(VideoError, match=r"a.png: is an image, which has no segment"):
        OnDemand(folder, decoder, None).times(medium)


def test_frames_past_the_end_of_a_segment_are_not_read(folder, decoder):
    with pytest.raises(VideoError, match="frames 0 to 4 of its segment; 5 was requested"):
        OnDemand(folder, decoder, None).read(part(0.5, 1.0), [5])


rising = st.lists(st.floats(0.01, 3), max_size=30).map(lambda gaps: np.cumsum([0.0, *gaps]))


@given(rising, st.floats(0, 1), st.floats(0.01, 1))
def test_times_of_segments_are_times(times_T, first, share):
    length_s = duration(times_T)
    start_s = first * length_s * 0.99
    medium = part(start_s, start_s + max(share * (length_s - start_s), 0.01))
    frames = segment(medium, Path(), times_T)
    own = relative(times_T[frames], medium)
    assert own[0] == 0
    assert (np.diff(own) >= 0).all()
    assert medium.end_s <= length_s + END_SLACK_S
    assert own[-1] <= medium.end_s - start_s
