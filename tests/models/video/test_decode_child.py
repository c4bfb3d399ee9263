"""What `models/video/decode_child.py` does with files, through the decoder."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.video import Decoder, VideoError

pytest.importorskip("decord")

STEP = 4
"""Frame i of a test video is a plain grey of brightness STEP * i, or what `picture` shows."""


def write_video(path, frames=40, *, times_s=None, rate=10, size=(32, 32), picture=None, options=None, **stream):
    """Write H.264 (or `codec`) with B-frames; `size` is (width, height), times are rounded to 1 ms."""
    with av.open(str(path), "w", format=stream.get("format"), options=options or {}) as container:
        video = container.add_stream(stream.get("codec", "libx264"), rate=rate, options={"crf": "1"})
        video.width, video.height = size
        video.pix_fmt, video.gop_size = "yuv420p", 12
        if times_s is not None:
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        for i in range(frames):
            image = picture if picture is not None else np.full((size[1], size[0], 3), STEP * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[i] * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def numbers(frames):
    return [round(float(level) / STEP) for level in frames.mean(axis=(1, 2, 3))]


@pytest.fixture(scope="module")
def decoder():
    with Decoder(timeout_s=20) as shared:
        yield shared


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "plain.mp4")


# --- right frames -----------------------------------------------------------------------------------------


def test_reads_times_and_frames(decoder, video):
    times_s, frames = decoder.read_all(video)
    assert times_s.dtype == np.float64
    assert times_s == pytest.approx(np.arange(40) / 10)
    assert np.array_equal(decoder.times(str(video)), times_s)
    assert (frames.shape, frames.dtype) == ((40, 32, 32, 3), np.uint8)
    assert numbers(frames) == list(range(40))


@pytest.mark.parametrize("indices", [[0], [39], [3, 4, 5], range(0, 40, 7), [30, 2, 2, 17], np.array([5, 5])])
def test_reads_frames_in_any_order(decoder, video, indices):
    assert numbers(decoder.read(video, indices)) == list(indices)


def test_variable_frame_rate_has_its_own_times(decoder, tmp_path):
    times_s = np.round(np.cumsum([0, *np.random.default_rng(0).choice([0.02, 0.04, 0.3], 39)]), 3)
    path = write_video(tmp_path / "vfr.mp4", times_s=times_s)
    assert decoder.times(path) == pytest.approx(times_s, abs=1e-5)
    assert numbers(decoder.read(path, [1, 20, 39])) == [1, 20, 39]


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "with spaces and \u00e4.mp4"])
def test_other_containers_and_names(decoder, tmp_path, name):
    times_s, frames = decoder.read_all(write_video(tmp_path / name))
    assert times_s == pytest.approx(np.arange(40) / 10, abs=1e-3)
    assert numbers(frames) == list(range(40))


def test_one_frame(decoder, tmp_path):
    times_s, frames = decoder.read_all(write_video(tmp_path / "one.mp4", frames=1))
    assert times_s.tolist() == [0]
    assert frames.shape == (1, 32, 32, 3)


def gradient(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


@pytest.mark.parametrize("width", [16, 20, 24, 32, 48, 50, 72, 176, 426])
def test_every_width_is_right(decoder, tmp_path, width):
    # decord pads rows to 32 bytes and gives frames of 16, 24, 48 and 72 columns a wrong shape.
    path = write_video(tmp_path / "wide.mp4", frames=2, size=(width, 34), picture=gradient(width, 34))
    with av.open(str(path)) as container:
        reference = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frames = decoder.read(path, [0, 1])
    assert frames.shape == (2, 34, width, 3)
    assert np.abs(frames[0].astype(int) - reference).max() <= 3


@pytest.mark.parametrize("size", [(16, 24), (40, 16), (64, 64), (27, 48)])
def test_size_is_height_and_width(decoder, tmp_path, size):
    path = write_video(tmp_path / "scaled.mp4", frames=2, size=(96, 64), picture=gradient(96, 64))
    with av.open(str(path)) as container:
        reference = next(container.decode(video=0)).reformat(size[1], size[0], "rgb24", interpolation="BILINEAR")
    frame = decoder.read(path, [1], size)[0]
    assert frame.shape == (*size, 3)
    assert np.abs(frame.astype(int) - reference.to_ndarray()).max() <= 4


@pytest.mark.parametrize("size", [None, (48, 32), (24, 16)])
def test_rotation_tags_are_applied(decoder, tmp_path, size):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = 250  # top left, so top right after a quarter turn clockwise
    content = bytearray(write_video(tmp_path / "upright.mp4", frames=3, size=(48, 32), picture=picture).read_bytes())
    matrix = content.index(b"tkhd") + 44  # of a version 0 box
    one = 1 << 16
    struct.pack_into(">9i", content, matrix, 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    frame = decoder.read(tmp_path / "turned.mp4", [1], size)[0]
    height, width = size or (48, 32)
    assert frame.shape == (height, width, 3)
    bright = frame[..., 0] > 125
    assert bright[: height // 3 - 1, width // 2 + 1 :].all()
    assert not bright[height // 3 + 1 :].any()
    assert not bright[:, : width // 2 - 1].any()


@pytest.mark.parametrize("hidden", [3, 15])
def test_frames_before_an_edit_list_are_dropped(decoder, tmp_path, hidden):
    path = tmp_path / "cut.mp4"
    write_video(path, times_s=(np.arange(40) - hidden) / 10, options={"avoid_negative_ts": "disabled"})
    times_s, frames = decoder.read_all(path)
    assert times_s == pytest.approx(np.arange(40 - hidden) / 10)
    assert numbers(frames) == list(range(hidden, 40))
    for indices in ([0], [5], [20, 2], range(0, 40 - hidden, 6)):
        assert numbers(decoder.read(path, indices)) == [hidden + index for index in indices]


def test_fragments_with_negative_times_lose_no_frame(decoder, tmp_path):
    path = tmp_path / "fragments.mp4"
    options = {"avoid_negative_ts": "disabled", "movflags": "frag_keyframe+empty_moov+delay_moov"}
    write_video(path, times_s=(np.arange(40) - 5) / 10, options=options)
    assert numbers(decoder.read(path, [0, 5, 39])) == [0, 5, 39]


# --- files that are refused -------------------------------------------------------------------------------


def refusal(decoder, path):
    messages = set()
    for call in (lambda: decoder.times(path), lambda: decoder.read(path, [0]), lambda: decoder.read_all(path)):
        with pytest.raises(VideoError) as caught:
            call()
        assert caught.value.path == Path(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ".cc" not in message
    return message


def test_refuses_what_is_no_file(decoder, tmp_path):
    assert "does not exist" in refusal(decoder, tmp_path / "missing.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "missing.mp4")
    assert "broken link" in refusal(decoder, tmp_path / "link.mp4")
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder" in refusal(decoder, tmp_path / "folder.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(decoder, tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begins with 'version https://git-lfs"),
        (b"G" * 5000, "begins with 'GGGG"),
        (np.random.default_rng(0).bytes(5000), "is not a video"),
        (bytes(5000), "cannot be read|is not a video|cannot be decoded|has no index"),
    ],
)
def test_refuses_what_is_no_video(decoder, tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    text = refusal(decoder, path)
    assert any(part in text for part in message.split("|")), text


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.95])
def test_refuses_truncated_files(decoder, tmp_path, movflags, share):
    path = write_video(tmp_path / "whole.mp4", options={"movflags": movflags} if movflags else {})
    decoder.times(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "is truncated" in refusal(decoder, path)


def test_refuses_a_recording_that_was_not_finished(decoder, tmp_path):
    content = write_video(tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "unfinished.mp4"
    path.write_bytes(content[: content.index(b"moov") - 4])
    assert "has no index" in refusal(decoder, path)


def test_refuses_sound_without_pictures(decoder, tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for i in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, 1024 * i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video stream" in refusal(decoder, path)


def test_refuses_a_stream_of_no_frames(decoder, tmp_path):
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        container.start_encoding()
    assert refusal(decoder, path)


@pytest.mark.parametrize("cut", [0, 77])
def test_reads_mpeg_ts_whatever_its_name(decoder, tmp_path, cut):
    path = tmp_path / "it's a clip.mp4"
    path.write_bytes(write_video(tmp_path / "clip.ts", format="mpegts").read_bytes()[cut:])
    times_s, frames = decoder.read_all(path)
    assert numbers(frames) == list(range(40))[-len(frames) :]
    assert len(frames) == 40 or cut
    assert times_s == pytest.approx(np.arange(len(frames)) / 10)


def test_refuses_frames_that_are_not_there(decoder, video):
    with pytest.raises(VideoError, match="has frames 0 to 39; 3 to 40 were requested"):
        decoder.read(video, [3, 40])
    with pytest.raises(VideoError, match="-1 to 3 were requested"):
        decoder.read(video, [-1, 3])
