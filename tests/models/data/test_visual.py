"""What encoders see of media: at the size of the data whatever their companions, and each frame once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from models.data import SampledMedium, VisualReader
from models.design import CustomEncoder, Design
from models.encoders import CombinedEncoder, VisionEncoder, Visual
from models.presets import PRESETS
from models.video import Clip, Decoder, Medium, OnDemand, image_clip


class Patches(VisionEncoder):
    """Features are the pixels, so that every difference in what it sees shows; counts the frames that it encodes."""

    def __init__(self, frames: int, instants: int, side: int, *, antialias: bool = True) -> None:
        super().__init__()
        self.frames, self.grid, self.width = frames, (instants, 2, 2), 3 * (side // 2) ** 2
        self.side, self.antialias, self.encoded = side, antialias, 0

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        self.encoded += len(clips_BNHWC)
        pixels = self.pixels(clips_BNHWC, self.side)[:, :: self.frames // self.grid[0]]
        half = self.side // 2
        cells = pixels.unflatten(-1, (2, half)).unflatten(-3, (2, half))  # (B, T, 3, 2, half, 2, half)
        return cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(-3)


def designed(encoders: Sequence[VisionEncoder]) -> Design:
    configs = [
        CustomEncoder(kind="custom", path="a.b:C", frames=one.frames, grid=one.grid, width=one.width)
        for one in encoders
    ]
    base = PRESETS["tiny"].design
    return Design.model_validate(base.model_dump() | {"encoders": [config.model_dump() for config in configs]})


@dataclass
class Arrays:
    """A source of frames in memory, which records what is read."""

    frames: dict[str, np.ndarray]
    read_indices: list[int] = field(default_factory=list)

    def times(self, medium: Medium) -> np.ndarray:
        return np.arange(len(self.frames[medium.path])) / 4

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        self.read_indices += indices
        return self.frames[medium.path][list(indices)]


def read(source: object, encoders: Sequence[VisionEncoder], media: Sequence[SampledMedium]) -> tuple[Tensor, Visual]:
    combined = CombinedEncoder(encoders)
    visual = VisualReader(designed(encoders), combined, source).read(media)
    assert visual is not None
    with torch.inference_mode():
        return combined(visual), visual


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(8, 150),
    width=st.integers(8, 150),
    max_side=st.none() | st.integers(16, 160),
    sides=st.tuples(st.sampled_from([4, 12, 32, 64]), st.sampled_from([4, 12, 32, 64])),
)
def test_what_an_encoder_sees_does_not_depend_on_its_companion(height, width, max_side, sides):
    video_encoder, image_encoder = Patches(4, 2, sides[0], antialias=False), Patches(1, 1, sides[1])
    rng = np.random.default_rng(height * 1000 + width)
    medium = Medium(path="i.png", kind="image")
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(Path(folder) / "i.png")
        source = OnDemand(Path(folder), decoder, max_side)
        (both, visual), (first, _), (second, _) = (
            read(source, encoders, [SampledMedium(medium, (image_clip(max(one.frames for one in encoders)),))])
            for encoders in ([video_encoder, image_encoder], [video_encoder], [image_encoder])
        )
    assert torch.equal(both[..., : video_encoder.width], first)
    assert torch.equal(both[:, :1, ..., video_encoder.width :], second)
    longer = max(visual.frames[0].shape[1:3])
    assert longer == (max(height, width) if max_side is None else min(max_side, max(height, width)))


def test_repeated_frames_are_read_and_encoded_once():
    rng = np.random.default_rng(0)
    source = Arrays(
        {"v": rng.integers(0, 256, (6, 10, 20, 3), np.uint8), "i": rng.integers(0, 256, (1, 16, 12, 3), np.uint8)}
    )
    image_encoder, video_encoder = Patches(1, 1, 8), Patches(4, 2, 4)
    video, image = Medium(path="v", kind="video"), Medium(path="i", kind="image")
    media = [
        SampledMedium(image, (image_clip(4),)),
        SampledMedium(video, (Clip((0, 1, 2, 3), 0, 1), Clip((4, 5, 5, 5), 1, 2))),
        SampledMedium(image, (image_clip(4),)),
        SampledMedium(video, (Clip((0, 1, 2, 3), 0, 1),)),
    ]
    features, visual = read(source, [image_encoder, video_encoder], media)
    assert sorted(source.read_indices) == [0, 0, 1, 2, 3, 4, 5]
    assert sorted(len(frames) for frames in visual.frames) == [1, 6]
    assert video_encoder.encoded == 3  # the image's clip and two of the video
    assert image_encoder.encoded == 1 + 3  # the image, and frames 1, 3 and 5 of the video
    assert features.shape[0] == 5
    assert torch.equal(features[0], features[3])
    assert torch.equal(features[1], features[4])
    for index, clip in ((0, [0] * 4), (2, [4, 5, 5, 5])):
        frames = torch.from_numpy(source.frames["i" if index == 0 else "v"][clip])
        with torch.inference_mode():
            alone = video_encoder(frames[None])
        assert torch.equal(features[index : index + 1, ..., image_encoder.width :], alone)


@pytest.mark.parametrize("repeats", [1, 3])
def test_order_of_clips_is_kept_across_sizes(repeats: int):
    shades = {
        name: np.full((1, side, side, 3), shade, np.uint8)
        for name, side, shade in (("a", 8, 10), ("b", 6, 90), ("c", 8, 200))
    }
    media = [SampledMedium(Medium(path=name, kind="image"), (image_clip(1),)) for name in "abcab" * repeats]
    features, visual = read(Arrays(shades), [Patches(1, 1, 4)], media)
    assert len(visual.frames) == 2
    order = features[:, 0, 0, 0, 0]
    expected = torch.tensor([{"a": 10, "b": 90, "c": 200}[name] for name in "abcab" * repeats]) / 255
    torch.testing.assert_close(order, (expected - 0.485) / 0.229)
