"""Which reader reads which kind of file, and that the right frames arrive: the rows of the table in docs/data.md."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from models.video import Decoder, VideoError
from models.video.probe import index_video
from models.video.readers import Frames
from tests.models.video.clips import X265, add_stream, encode, number, numbers, picture, turned, write

ALL = list(range(20))


@pytest.fixture(scope="module")
def decoder():
    with Decoder(timeout_s=20) as shared:
        yield shared


def stored(shown, quarters, mirrored):
    """A picture whose display matrix, `turned(quarters, mirrored)`, makes it look as it should."""
    return np.rot90(shown, quarters)[:, :: -1 if mirrored else 1]


def displayed(folder, quarters, mirrored=False):
    pictures = [stored(picture(i), quarters, mirrored) for i in ALL]
    return write(folder / "a.mp4", pictures=pictures, matrix=turned(quarters, mirrored=mirrored))


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
            packet.pts, packet.dts, packet.duration = i, i, 1
            target.mux(packet)
    return path


def animation(path):
    frames = [Image.fromarray(picture(i)) for i in ALL]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


CLOSED = {"x265-params": f"{X265}:open-gop=0"}
OPEN = {"x265-params": f"{X265}:open-gop=1"}
PLAIN = np.arange(20) / 10
ROWS = {
    "variable frame rate": (variable, "decord", None),
    "rotated by 90": (lambda f: displayed(f, 1), "decord", PLAIN),
    "rotated by 180": (lambda f: displayed(f, 2), "decord", PLAIN),
    "rotated by 270": (lambda f: displayed(f, 3), "decord", PLAIN),
    "mirrored": (lambda f: displayed(f, 0, mirrored=True), "pyav", PLAIN),
    "mirrored and rotated": (lambda f: displayed(f, 1, mirrored=True), "pyav", PLAIN),
    "edit list": (cut, "pyav", PLAIN),
    "MPEG-TS": (lambda f: write(f / "a.ts", format="mpegts"), "pyav", PLAIN),
    "MPEG-TS of MPEG-2": (
        lambda f: write(f / "a.ts", format="mpegts", codec="mpeg2video", rate=25),
        "pyav",
        PLAIN * 0.4,
    ),
    "MPEG-PS": (lambda f: write(f / "a.mpg", format="mpeg", codec="mpeg2video", rate=25), "pyav", PLAIN * 0.4),
    "AVI": (lambda f: write(f / "a.avi", codec="mpeg4"), "pyav", PLAIN),
    "FLV": (lambda f: write(f / "a.flv"), "pyav", PLAIN),
    "key frames next to each other": (
        lambda f: write(f / "a.mp4", codec_options={"sc_threshold": "40"}),
        "pyav",
        PLAIN,
    ),
    "start at 5 s": (late, "decord", PLAIN),
    "live WebM": (live, "pyav", PLAIN),
    "VP8 in Ogg": (lambda f: write(f / "a.ogv", format="ogg", codec="libvpx"), "pyav", PLAIN),
    "raw H.264": (lambda f: write(f / "a.h264", format="h264"), "pyav", PLAIN),
    "raw H.265": (lambda f: write(f / "a.bin", format="hevc", codec="libx265"), "pyav", PLAIN),
    "two shapes in mkv": (lambda f: two_shapes(f / "a.mkv"), "pyav", PLAIN),
    "two shapes in mp4": (lambda f: two_shapes(f / "a.mp4"), "pyav", PLAIN),
    "two shapes in MPEG-TS": (lambda f: two_shapes(f / "a.ts", "mpegts"), "pyav", PLAIN),
    "H.265 of 10 bits": (
        lambda f: write(f / "a.mp4", codec="libx265", pix_fmt="yuv420p10le", codec_options=CLOSED),
        "decord",
        PLAIN,
    ),
    "H.265 with open groups": (lambda f: write(f / "a.mp4", codec="libx265", codec_options=OPEN), "pyav", PLAIN),
    "H.264 with far key frames": (lambda f: write(f / "a.mp4", gop=300), "decord", PLAIN),
    "VP9": (lambda f: write(f / "a.webm", codec="libvpx-vp9"), "pyav", PLAIN),
    "AV1 in mp4": (lambda f: write(f / "a.mp4", codec="libsvtav1"), "pyav", PLAIN),
    "AV1 in WebM": (lambda f: write(f / "a.webm", codec="libsvtav1"), "pyav", PLAIN),
    "fragmented": (
        lambda f: write(f / "a.mp4", options={"movflags": "frag_keyframe+empty_moov"}),
        "pyav",
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
    path = displayed(tmp_path, quarters, mirrored)
    for size, sides in ((None, (48, 64)), (32, (24, 32)), ((50, 40), (50, 40)), (500, (48, 64))):
        frame = decoder.read(path, [13], size)[0]
        assert frame.shape == (*sides, 3)
        assert number(frame) == 13


# --- the display's shape, colours ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aspect", "quarters", "sides"),
    [
        (Fraction(4, 3), 0, (48, 85)),
        (Fraction(8, 9), 0, (54, 64)),  # of NTSC: no side loses pixels
        (Fraction(2), 1, (128, 48)),
        (Fraction(1), 0, (48, 64)),
    ],
)
def test_frames_have_the_shape_of_the_display(decoder, tmp_path, aspect, quarters, sides):
    pictures = [np.rot90(picture(i, *((48, 64) if quarters else (64, 48))), quarters) for i in range(4)]
    path = write(tmp_path / "a.mp4", pictures=pictures, matrix=turned(quarters), aspect=aspect)
    frames = decoder.read(path, [0, 3])
    assert frames.shape == (2, *sides, 3)
    assert numbers(frames) == [0, 3]
    assert decoder.probe(path).reader == ("decord" if aspect == 1 else "pyav")
    longer = max(sides)
    assert decoder.read(path, [0], longer // 2).shape[1:3] == tuple(round(s * (longer // 2) / longer) for s in sides)


def test_data_beside_a_frame_that_pyav_does_not_know(decoder, tmp_path):
    # FFmpeg passes EXIF beside the frame; PyAV 18 has no name for it, and fails for all that stands beside it.
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(picture(9)).save(tmp_path / "a.tif", exif=exif)
    assert numbers(decoder.read(tmp_path / "a.tif", [0])) == [9]


def test_an_impossible_shape_of_pixels_is_refused(decoder, tmp_path):
    path = write(tmp_path / "a.mp4", 3, aspect=Fraction(20))
    with pytest.raises(VideoError, match=r"a.mp4: declares pixels whose width is 20 times their height"):
        decoder.times(path)


def test_ten_bits_keep_their_range(decoder, tmp_path):
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    options = {"x265-params": "log-level=none:open-gop=0:crf=1"}
    ten = write(tmp_path / "a.mp4", pictures=[ramp] * 3, codec="libx265", pix_fmt="yuv420p10le", codec_options=options)
    frame = decoder.read(ten, [1])[0]
    assert np.abs(frame[24].astype(int) - ramp[24]).max() <= 4


def test_a_transparent_video_is_on_white(decoder, tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        rgba = np.zeros((48, 64, 4), np.uint8)
        rgba[:, 32:] = 200, 0, 0, 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")))
        container.mux(stream.encode())
    frame = decoder.read(path, [0])[0]
    assert (frame[:, :32] == 255).all()
    assert (frame[:, 32:] == (200, 0, 0)).all()


# --- damaged files ------------------------------------------------------------------------------------------


def halved(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.mp4", "a.gif"])
def test_truncated_files_are_refused(decoder, tmp_path, name):
    if name.endswith("gif"):
        path = halved(animation(tmp_path / name))
    else:
        codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
        path = halved(write(tmp_path / name, codec=codec))
    with pytest.raises(VideoError, match=rf"{name}: .*truncated"):
        decoder.check(path, ALL)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libvpx-vp9"), ("a.mkv", "libsvtav1")])
def test_a_check_finds_zeroed_bytes(decoder, tmp_path, name, codec):
    path = write(tmp_path / name, size=(320, 240), codec=codec)
    decoder.check(path, ALL)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 if name == "a.mkv" else content.index(b"mdat") + 1500
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"{name}: .*(damaged|cannot be decoded|begins with)"):
        decoder.check(path, ALL)


def test_a_playlist_opens_no_other_file(decoder, tmp_path):
    write(tmp_path / "secret.ts", format="mpegts")
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(VideoError, match=r"list.mp4: "):
        decoder.times(tmp_path / "list.mp4")


def test_raw_streams_without_a_rate_are_refused(decoder, tmp_path):
    options = {"x265-params": f"{X265}:vui-timing-info=0"}
    path = write(tmp_path / "a.hevc", format="hevc", codec="libx265", codec_options=options)
    with pytest.raises(VideoError, match=r"states no frame rate; fix: ffmpeg -framerate RATE -i .*a.fixed.mp4"):
        decoder.times(path)


def test_a_changed_file_is_read_again(decoder, tmp_path):
    path = write(tmp_path / "a.mp4", 4)
    assert len(decoder.times(path)) == 4
    write(path, 7)
    assert len(decoder.times(path)) == 7


@pytest.mark.parametrize("size", [(63, 47), (65, 49), (98, 54)])
def test_odd_sizes(decoder, tmp_path, size):
    path = write(tmp_path / "a.mp4", pix_fmt="yuv444p", size=size)
    frames = decoder.read(path, ALL)
    assert frames.shape[1:3] == size[::-1]
    assert numbers(frames) == ALL


def test_without_decord_pyav_reads_all(tmp_path, monkeypatch):
    from models.video import decoder as module

    script = tmp_path / "child.py"
    script.write_text(
        module.CHILD.read_text().replace("import os\n", "import os, sys\nsys.modules['decord'] = None\n", 1)
    )
    monkeypatch.setattr(module, "CHILD", script)
    path = write(tmp_path / "a.mp4")
    with Decoder() as decoder:
        facts = decoder.probe(path)
        assert (facts.reader, facts.notes) == ("pyav", ("decord is not installed",))
        assert numbers(decoder.read(path, [7, 3])) == [7, 3]


def test_both_readers_return_the_same_pixels(decoder, tmp_path):
    # The second file has another reader because it has a second stream.
    one = write(tmp_path / "one.mp4", 5, size=(128, 96))
    two = tmp_path / "two.mp4"
    with av.open(str(one)) as source, av.open(str(two), "w") as target:
        packets = [p for p in source.demux(video=0) if p.size]
        streams = [target.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
        for packet in packets:
            packet.stream = streams[0]
            target.mux(packet)
    assert decoder.probe(one).reader == "decord"
    for size in (None, 50):
        assert np.abs(decoder.read(one, [2], size).astype(int) - decoder.read(two, [2], size)).max() <= 2


@pytest.mark.parametrize("row", ["AV1 in mp4", "edit list", "live WebM", "rotated by 90"])
def test_pyav_takes_over_where_decord_fails_or_differs(tmp_path, row):
    path = ROWS[row][0](tmp_path)
    index = replace(index_video(path, lambda: None, has_decord=True), reader="decord")
    frames = Frames(path, index, [2, 11, 19], None, lambda: None)
    assert [number(frame) for frame in frames] == [2, 11, 19]
    assert frames.index.reader == ("decord" if row == "rotated by 90" else "pyav")
    assert len(frames.index.notes) == len(index.notes) + (row != "rotated by 90")


def test_titles_in_any_encoding(decoder, tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "some title"
        encode(container, add_stream(container, "libx264", 10, picture(0)), [picture(i) for i in ALL])
    path.write_bytes(path.read_bytes().replace(b"some title", b"s\xf6me title"))
    assert numbers(decoder.read(path, ALL)) == ALL


def test_a_name_that_is_not_utf8_is_refused(decoder, tmp_path):
    path = write(tmp_path / "a.mp4", 3)
    renamed = path.rename(tmp_path / os.fsdecode(b"\xf6.mp4"))
    with pytest.raises(VideoError, match="has a name that is not UTF-8, which FFmpeg needs; rename it"):
        decoder.times(renamed)
