"""Which reader reads which kind of file, and that the right frames arrive: the rows of the table in docs/data.md."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from models.video import Decoder, VideoError
from tests.models.video.clips import add_stream, encode, number, numbers, picture, turned, write

ALL = list(range(20))


@pytest.fixture(scope="module")
def decoder():
    with Decoder(timeout_s=20) as shared:
        yield shared


def variable(folder):
    times_s = np.cumsum([0, *([0.02, 0.04, 0.3] * 7)])[:20]
    return write(folder / "vfr.mp4", times_s=times_s), times_s


def cut(folder):
    """The first 7 frames, one of them a key frame, are hidden by an edit list."""
    times_s = (np.arange(27) - 7) / 10
    pictures = [picture(max(0, i - 7)) for i in range(27)]
    options = {"avoid_negative_ts": "disabled"}
    return write(folder / "cut.mp4", pictures=pictures, times_s=times_s, options=options)


def late(folder):
    return write(folder / "late.mkv", times_s=5 + np.arange(20) / 10)


def live(folder):
    """A WebM that was recorded live declares neither a size nor a duration."""
    return write(folder / "live.webm", codec="libvpx", options={"live": "1"})


def with_cover(folder):
    path = folder / "cover.mp4"
    with av.open(str(path), "w") as container:
        stream = add_stream(container, "libx264", 10, picture(0))
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(31), format="rgb24")))
        encode(container, stream, [picture(i) for i in ALL])
    return path


def two_streams(folder):
    """The second stream is the default."""
    path = folder / "two.mkv"
    with av.open(str(path), "w") as container:
        other, default = (add_stream(container, "libx264", 10, picture(0)) for _ in range(2))
        other.disposition, default.disposition = av.stream.Disposition(0), av.stream.Disposition.default
        encode(container, other, [picture(31)] * 20)
        encode(container, default, [picture(i) for i in ALL])
    return path


def two_shapes(path, format=None):
    """The resolution changes after 10 frames: units of two streams of H.264, one after the other."""
    parts = io.BytesIO()
    for first, size in ((0, (64, 48)), (10, (96, 80))):
        one = path.with_suffix(f".{first}.h264")
        pictures = [picture(i, *size) for i in range(first, first + 10)]
        write(one, pictures=pictures, format="h264", codec_options={"bf": "0"})
        parts.write(one.read_bytes())
    parts.seek(0)
    with av.open(parts, format="h264") as source, av.open(str(path), "w", format=format) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = i
            target.mux(packet)
    return path


def animation(path):
    frames = [Image.fromarray(picture(i)) for i in ALL]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


PLAIN = np.arange(20) / 10
ROWS = {
    "variable frame rate": (variable, "decord", None),
    "rotated by 90": (lambda f: write(f / "a.mp4", matrix=turned(1)), "decord", PLAIN),
    "rotated by 180": (lambda f: write(f / "a.mp4", matrix=turned(2)), "decord", PLAIN),
    "rotated by 270": (lambda f: write(f / "a.mp4", matrix=turned(3)), "decord", PLAIN),
    "mirrored": (lambda f: write(f / "a.mp4", matrix=turned(0, mirrored=True)), "pyav", PLAIN),
    "mirrored and rotated": (lambda f: write(f / "a.mp4", matrix=turned(1, mirrored=True)), "pyav", PLAIN),
    "edit list": (cut, "pyav", PLAIN),
    "MPEG-TS": (lambda f: write(f / "a.ts", format="mpegts"), "pyav", PLAIN),
    "MPEG-TS of MPEG-2": (
        lambda f: write(f / "a.ts", format="mpegts", codec="mpeg2video", rate=25),
        "pyav",
        PLAIN * 0.4,
    ),
    "MPEG-PS": (lambda f: write(f / "a.mpg", format="mpeg", codec="mpeg2video", rate=25), "pyav", PLAIN * 0.4),
    "AVI": (lambda f: write(f / "a.avi", codec="mpeg4"), "pyav", PLAIN),
    "start at 5 s": (late, "decord", PLAIN),
    "live WebM": (live, "pyav", PLAIN),
    "VP8 in Ogg": (lambda f: write(f / "a.ogv", format="ogg", codec="libvpx"), "pyav", PLAIN),
    "raw H.264": (lambda f: write(f / "a.h264", format="h264"), "pyav", PLAIN),
    "raw H.265": (lambda f: write(f / "a.bin", format="hevc", codec="libx265"), "pyav", PLAIN),
    "two shapes in mkv": (lambda f: two_shapes(f / "a.mkv"), "pyav", PLAIN),
    "two shapes in mp4": (lambda f: two_shapes(f / "a.mp4"), "pyav", PLAIN),
    "two shapes in MPEG-TS": (lambda f: two_shapes(f / "a.ts", "mpegts"), "pyav", PLAIN),
    "H.265 of 10 bits": (
        lambda f: write(f / "a.mp4", codec="libx265", pix_fmt="yuv420p10le"),
        "decord",
        PLAIN,
    ),
    "H.264 with far key frames": (lambda f: write(f / "a.mp4", gop=300), "decord", PLAIN),
    "VP9": (lambda f: write(f / "a.webm", codec="libvpx-vp9"), "pyav", PLAIN),
    "AV1 in mp4": (lambda f: write(f / "a.mp4", codec="libsvtav1"), "pyav", PLAIN),
    "AV1 in WebM": (lambda f: write(f / "a.webm", codec="libsvtav1"), "pyav", PLAIN),
    "fragmented": (
        lambda f: write(f / "a.mp4", options={"movflags": "frag_keyframe+empty_moov"}),
        "decord",
        PLAIN,
    ),
    "cover art": (with_cover, "decord", PLAIN),
    "two streams": (two_streams, "pyav", PLAIN),
    "animated GIF": (lambda f: animation(f / "a.gif"), "pillow", PLAIN),
    "animated WebP": (lambda f: animation(f / "a.webp"), "pillow", PLAIN),
    "animated PNG": (lambda f: animation(f / "a.png"), "pillow", PLAIN),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_right_frames_arrive(decoder, tmp_path, row):
    make, reader, times_s = ROWS[row]
    path = make(tmp_path)
    path, times_s = path if times_s is None else (path, times_s)
    assert decoder.probe(path).reader == reader
    assert decoder.times(path) == pytest.approx(times_s, abs=1.1e-3)
    decoder.readers.clear()
    frames = decoder.read(path, ALL)
    assert numbers(frames) == ALL
    assert decoder.readers == {reader: 1}
    assert numbers(decoder.read(path, [19, 3, 3, 11, 4])) == [19, 3, 3, 11, 4]
    assert numbers(decoder.read(path, [17], 32)) == [17]
    facts = decoder.check(path, ALL)
    assert (facts.reader, facts.frames) == (reader, 20)
    assert (facts.height, facts.width) == frames.shape[1:3]
    assert facts.duration_s == pytest.approx(times_s[-1] + np.median(np.diff(times_s)), abs=2e-3)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_upright_at_every_size(decoder, tmp_path, quarters, mirrored):
    # The stored pictures are changed so that the display matrix undoes it.
    shown = picture(13)
    stored = np.rot90(shown, quarters)[:, :: -1 if mirrored else 1]
    path = write(tmp_path / "a.mp4", pictures=[stored] * 3, matrix=turned(quarters, mirrored=mirrored))
    for size, sides in ((None, (48, 64)), (32, (24, 32)), ((50, 40), (50, 40)), (500, (48, 64))):
        frame = decoder.read(path, [1], size)[0]
        assert frame.shape == (*sides, 3)
        assert number(frame) == 13
