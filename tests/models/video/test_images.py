"""Images of all modes, whatever Pillow raises for damaged ones, and folders of frames."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.video import Decoder, Medium, OnDemand, VideoError, inspect_medium
from models.video.images import read_image
from tests.models.video.clips import numbers, picture

RAMP = np.arange(0, 65536, 1024, dtype=np.uint16)[None].repeat(8, 0)
"""16-bit gray, (8, 64)."""
EIGHT = np.rint(RAMP / 257).astype(np.uint8)


# --- range and colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_keep_their_range(tmp_path, name):
    Image.fromarray(RAMP).save(tmp_path / name)
    rgb = read_image(tmp_path / name)
    assert rgb.shape == (8, 64, 3)
    np.testing.assert_array_equal(rgb, EIGHT[..., None].repeat(3, 2))


def test_twelve_bits_keep_their_range(tmp_path):
    # Pillow reads 12 bits, but cannot write them: two pixels, 4095 and 2048, in three bytes.
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(header + bytes(122 - len(header)) + b"\xff\xf8\x00")
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path):
    Image.fromarray(RAMP // 64).save(tmp_path / "a.png")  # not stretched to the full range
    assert read_image(tmp_path / "a.png").max() == 4


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_range_are_refused(tmp_path, dtype):
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(VideoError, match=r"a.tif: has pixels of 32 bits, whose range is not defined; save it with"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("mode", "name"), [("1", "a.png"), ("L", "a.png"), ("P", "a.png"), ("CMYK", "a.tif")])
def test_modes_without_transparency(tmp_path, mode, name):
    Image.fromarray(np.where(picture(5) > 127, 255, 0).astype(np.uint8)).convert(mode).save(tmp_path / name)
    assert numbers(read_image(tmp_path / name)[None]) == [5]


def transparent(mode):
    """Left half transparent over black, right half red, as RGBA, LA or a palette."""
    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[:, 4:] = 255, 0, 0, 255
    return Image.fromarray(rgba).convert(mode) if mode != "P" else Image.fromarray(rgba).quantize(4)


@pytest.mark.parametrize(
    ("mode", "name"), [("RGBA", "a.png"), ("LA", "a.png"), ("P", "a.png"), ("RGBA", "a.webp"), ("RGBA", "a.gif")]
)
def test_transparency_is_on_white(tmp_path, mode, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    transparent(mode).save(tmp_path / name, **options)
    rgb = read_image(tmp_path / name)
    assert (rgb[:, :4] == 255).all()
    assert (rgb[:, 4:, 0] > 60).all()
    assert (rgb[:, 4:, 1] < 100).all()


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 204).all()


def test_a_transparent_colour_of_a_png(tmp_path):
    Image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "a.png", transparency=(10, 20, 30))
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_a_transparent_value_of_16_bit_gray(tmp_path):
    gray = np.full((4, 4), 60_000, np.uint16)
    gray[:, :2] = 1234
    Image.fromarray(gray).save(tmp_path / "a.png", transparency=1234)
    assert (read_image(tmp_path / "a.png")[:, :2] == 255).all()
    assert (read_image(tmp_path / "a.png")[:, 2:] == 233).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_exif_orientation(tmp_path, orientation, mode):
    upright = picture(13)
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    same = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        7: Image.Transpose.TRANSVERSE,
    }
    image = Image.fromarray(upright)
    if (turn := (inverse | same).get(orientation)) is not None:
        image = image.transpose(turn)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)
    with Decoder() as decoder:
        facts = inspect_medium(tmp_path, Medium(path="a.png", kind="image"), decoder)
    assert (facts.reader, facts.height, facts.width, facts.codec) == ("pillow", 48, 64, "png")


def test_larger_images_only_are_scaled(tmp_path):
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 32).shape == (24, 32, 3)
    assert read_image(tmp_path / "a.png", 100).shape == (48, 64, 3)


# --- damaged images -----------------------------------------------------------------------------------------


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def big_text(path):
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


def bomb(path):
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def broken_header(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"123"))


def half(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])


DAMAGED = {
    "text chunk": (big_text, "MAX_TEXT_CHUNK"),
    "bomb": (bomb, "exceeds limit"),
    "header": (broken_header, "not a readable image"),
    "half": (half, "truncated"),
    "text": (lambda path: path.write_text("no picture"), "does not recognise"),
    "empty": (lambda path: path.write_bytes(b""), "does not recognise"),
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder, not an image"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_every_error_names_the_file(tmp_path, kind):
    make, reason = DAMAGED[kind]
    make(tmp_path / "a.png")
    with pytest.raises(VideoError, match=rf"a.png: .*{reason}") as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    with Decoder() as decoder, pytest.raises(VideoError, match=rf"a.png: .*{reason}"):
        inspect_medium(tmp_path, Medium(path="a.png", kind="image"), decoder)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg", "a.webp", "a.tif"])
def test_flipped_bytes_raise_nothing_else(tmp_path, name):
    rng = np.random.default_rng(0)
    Image.fromarray(picture(3)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for position in rng.integers(0, len(content), 3):
            content[position] = rng.integers(256)
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(VideoError):  # any other error is one of the test
            read_image(tmp_path / name)


# --- folders of frames --------------------------------------------------------------------------------------


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(picture(i)).save(folder / f"frame{i}.png")  # frame10 is before frame2 by characters
    (folder / ".DS_Store").write_text("no frame")
    return folder


def test_a_folder_of_frames_is_a_video(tmp_path, frames):
    medium = Medium(path="clip", kind="video", fps=4)
    with Decoder() as decoder:
        source = OnDemand(tmp_path, decoder, 32)
        np.testing.assert_allclose(source.times(medium), np.arange(12) / 4)
        read = source.read(medium, [11, 2, 2, 0])
        facts = inspect_medium(tmp_path, medium, decoder)
        segment = Medium(path="clip", kind="video", fps=4, start_s=1, end_s=2)
        np.testing.assert_allclose(source.times(segment), [0, 0.25, 0.5, 0.75])
        assert numbers(source.read(segment, [0, 3])) == [4, 7]
        assert inspect_medium(tmp_path, segment, decoder).frames == 4
    assert read.shape == (4, 24, 32, 3)
    assert numbers(read) == [11, 2, 2, 0]
    assert (facts.reader, facts.frames, facts.duration_s, facts.codec) == ("pillow", 12, 3, "png")
    assert (facts.height, facts.width) == (48, 64)


def test_folders_that_are_no_videos_are_refused(tmp_path, frames):
    (tmp_path / "empty").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "file.png")
    for path, fps, reason in (
        ("clip", None, r"clip: is a folder, not a video; .* needs its rate, `fps`"),
        ("empty", 2.0, r"empty: holds no frames"),
        ("missing", 2.0, r"missing: does not exist"),
        ("file.png", 2.0, r"file.png: is a file, so its record must not set `fps`"),
    ):
        with Decoder() as decoder, pytest.raises(VideoError, match=reason):
            inspect_medium(tmp_path, Medium(path=path, kind="video", fps=fps), decoder)


def test_a_frame_of_another_shape_is_refused_by_name(tmp_path, frames):
    Image.fromarray(picture(7, 32, 32)).save(frames / "frame7.png")
    medium = Medium(path="clip", kind="video", fps=4)
    with Decoder() as decoder:
        source = OnDemand(tmp_path, decoder, None)
        assert numbers(source.read(medium, [6, 8])) == [6, 8]
        for read in (lambda: source.read(medium, [7]), lambda: inspect_medium(tmp_path, medium, decoder)):
            with pytest.raises(VideoError, match=r"frame7.png: is 32 x 32, but frame0.png is 64 x 48"):
                read()


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, frames):
    (frames / "notes.txt").write_text("")
    with Decoder() as decoder, pytest.raises(VideoError, match=r"notes.txt: is not an image by its name"):
        OnDemand(tmp_path, decoder, None).times(Medium(path="clip", kind="video", fps=4))
