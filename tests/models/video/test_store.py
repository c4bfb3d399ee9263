"""Media: what is stored equals what is read; features computed again are bitwise equal; no partial files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.encoders import build_encoder, store_features
from models.presets import PRESETS
from models.tiny.files.codec import write_video
from models.video import Decoder, Medium, OnDemand, VideoError, store_frames

MEDIA = (
    Medium(path="a.mp4", kind="video"),
    Medium(path="b.png", kind="image"),
    Medium(path="c.mp4", kind="video"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, frames in (("a.mp4", 9), ("c.mp4", 20)):
        write_video(rng.integers(0, 256, (frames, 32, 32, 3), np.uint8), tmp_path / name)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "b.png")
    return tmp_path


def test_stored_frames_are_those_that_are_read_on_demand(folder: Path):
    with Decoder() as decoder:
        stored, live = store_frames(folder, MEDIA, decoder), OnDemand(folder, decoder, 32)
        for media, count in zip(MEDIA, (9, 1, 20), strict=True):
            assert len(stored.times(media)) == count
            np.testing.assert_allclose(stored.times(media), live.times(media), atol=1e-6)
            indices = [0, count - 1, count // 2]
            np.testing.assert_array_equal(stored.read(media, indices), live.read(media, indices))


def test_features_that_are_computed_again_are_bitwise_equal(folder: Path):
    encoder = build_encoder(PRESETS["tiny"].design.encoders[0])
    with Decoder() as decoder:
        frames = store_frames(folder, MEDIA, decoder)
    first = store_features(folder, frames, encoder, "once")
    torch.set_num_threads(2)  # the first process may have another number of threads
    again = store_features(folder, frames, encoder, "again")
    torch.set_num_threads(1)
    assert first.rows.shape == (30, 4, 4, 64)
    np.testing.assert_array_equal(first.rows, again.rows)
    assert len(list(folder.glob(".grids-*@*"))) == 0
    assert len([p for p in folder.glob(".grids-*") if p.is_dir()]) == 2


def test_names_that_look_alike_are_kept_apart(folder: Path):
    encoder = build_encoder(PRESETS["tiny"].design.encoders[0])
    with Decoder() as decoder:
        frames = store_frames(folder, MEDIA, decoder)
    for name in ("x/y", "x_y"):
        store_features(folder, frames, encoder, name)
    assert len([p for p in folder.glob(".grids-*") if p.is_dir()]) == 2


def test_a_broken_file_leaves_nothing_half_made(folder: Path):
    whole = (folder / "c.mp4").read_bytes()
    (folder / "c.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / ".frames.part-killed").mkdir()  # of a process that was killed
    with Decoder() as decoder:
        with pytest.raises(VideoError, match=r"c.mp4"):
            store_frames(folder, MEDIA, decoder)
        assert [p.name for p in folder.glob(".frames*") if p.is_dir()] == []
        (folder / "c.mp4").write_bytes(whole)
        assert len(store_frames(folder, MEDIA, decoder).rows) == 30
        (folder / "b.png").write_text("no picture")
        with pytest.raises(VideoError, match=r"b.png.*not a readable image"):
            OnDemand(folder, decoder, 32).read(MEDIA[1], [0])


def test_segments_and_folders_of_frames_are_not_stored(folder: Path):
    with Decoder() as decoder:
        for medium in (
            Medium(path="a.mp4", kind="video", start_s=0.5),
            Medium(path="a.mp4", kind="video", end_s=0.5),
            Medium(path="frames", kind="video", fps=2),
        ):
            with pytest.raises(ValueError, match="only whole files are stored"):
                store_frames(folder, [medium], decoder)


def test_frames_keep_their_shape_and_are_never_enlarged(folder: Path):
    rng = np.random.default_rng(0)
    write_video(np.tile(rng.integers(0, 256, (1, 32, 1, 3), np.uint8), (5, 1, 32, 1)), folder / "wide.mp4")
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 30:] = 255
    Image.fromarray(wide).save(folder / "wide.png")
    image, video = Medium(path="wide.png", kind="image"), Medium(path="wide.mp4", kind="video")
    with Decoder() as decoder:
        live = OnDemand(folder, decoder, 48)
        assert live.read(video, [0, 1]).shape == (2, 32, 32, 3)  # smaller frames keep their size
        assert OnDemand(folder, decoder, 16).read(video, [0, 1]).shape == (2, 16, 16, 3)
        frame = live.read(image, [0])
        assert decoder.readers == {"decord": 2, "pillow": 1}
    assert frame.shape == (1, 16, 48, 3)


def test_features_too_large_for_float16_are_refused_by_file_and_frame(folder: Path):
    encoder = build_encoder(PRESETS["tiny"].design.encoders[0])
    with Decoder() as decoder:
        frames = store_frames(folder, MEDIA, decoder)
    forward = encoder.forward

    def overflowing(clips_BNHWC: torch.Tensor) -> torch.Tensor:
        features = forward(clips_BNHWC)
        features[12, ..., 3] = 70_000  # of 9 frames of a.mp4, 1 of b.png, then c.mp4
        return features

    encoder.forward = overflowing
    with pytest.raises(ValueError, match=r"^c\.mp4, frame 2: .*above 65504 .*cannot be stored; set `layer`"):
        store_features(folder, frames, encoder, "large")
    assert not [path for path in folder.glob(".grids-*") if path.is_dir()]
