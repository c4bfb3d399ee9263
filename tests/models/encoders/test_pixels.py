"""What each family does to frames before its tower, in numbers written here with their source."""

from __future__ import annotations

import pytest
import torch

from models.encoders import VisionEncoder
from models.encoders.clip import ClipEncoder
from models.encoders.dinov2 import Dinov2Encoder
from models.encoders.internvideo2 import InternVideo2Encoder
from models.encoders.languagebind import LanguageBindImageEncoder, LanguageBindVideoEncoder
from models.encoders.siglip import SiglipEncoder
from models.encoders.siglip2 import Siglip2Encoder
from models.encoders.videomae import VideoMaeEncoder
from models.encoders.vjepa import VjepaEncoder
from models.encoders.vjepa2 import Vjepa2Encoder

COLOUR = (51, 102, 204)  # 0.2, 0.4, 0.8
# By hand, (channel - mean) / deviation, with the published processors' means and deviations:
IN_IMAGENET = ((0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.8 - 0.406) / 0.225)
IN_CLIP = ((0.2 - 0.48145466) / 0.26862954, (0.4 - 0.4578275) / 0.26130258, (0.8 - 0.40821073) / 0.27577711)
IN_HALF = (-0.6, -0.2, 0.6)

# What becomes of a row of 8 pixels, black but for the last two, white, when it shrinks to 2, whose middles lie at 2 and
# 6 (pixel i at i + 0.5). Without antialiasing, from the two nearest pixels alone (cv2 INTER_LINEAR): 5.5 and 6.5.
BILINEAR_BARE = (0.0, 127.5)
# With it, a triangle of 4 pixels to either side. At 2, white (6.5, 7.5) is out of reach. At 6, black lies 0.5, 1.5, 2.5
# and 3.5 away, white 0.5 and 1.5.
BILINEAR_SMOOTH = (0.0, 255 * (3.5 + 2.5) / (3.5 + 2.5 + 1.5 + 0.5 + 3.5 + 2.5))


def cubic(pixels: float) -> float:
    """Catmull and Rom's weight (a = -0.5, Pillow's) of a pixel so far away, stretched by 4."""
    x = pixels / 4
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


# At 2, white has negative weights: darker than black, which is clamped. At 6, all 8 pixels are in reach.
WHITE, BLACK = cubic(0.5) + cubic(1.5), sum(cubic(away + 0.5) for away in range(6))
BICUBIC_SMOOTH = (0.0, 255 * WHITE / (WHITE + BLACK))
BICUBIC_FLOAT = (255 * (cubic(4.5) + cubic(5.5)) / (WHITE + BLACK), BICUBIC_SMOOTH[1])
"""The same as floats, which no whole shades bound (torchvision on LanguageBind's images)."""
RESIZED = {
    ("bilinear", False): BILINEAR_BARE,
    ("bilinear", True): BILINEAR_SMOOTH,
    ("bicubic", True): BICUBIC_SMOOTH,
}

# Normalisation and resizing: Apollo's where it had the tower, by its code; else transformers' processor of the model's.
FAMILIES = [
    (SiglipEncoder, IN_HALF, "bicubic", True),  # Apollo: SiglipImageProcessor
    (Siglip2Encoder, IN_HALF, "bilinear", True),  # Siglip2ImageProcessor
    (ClipEncoder, IN_CLIP, "bicubic", True),  # CLIPImageProcessor
    (Dinov2Encoder, IN_IMAGENET, "bicubic", True),  # Apollo: BitImageProcessor
    (LanguageBindImageEncoder, IN_CLIP, "bicubic", True),  # Apollo: ToTensor, bicubic with antialias
    (LanguageBindVideoEncoder, IN_CLIP, "bilinear", False),  # Apollo: cv2.resize INTER_LINEAR, likewise below
    (VideoMaeEncoder, IN_IMAGENET, "bilinear", False),
    (VjepaEncoder, IN_IMAGENET, "bilinear", False),
    (InternVideo2Encoder, IN_IMAGENET, "bilinear", False),
    (Vjepa2Encoder, IN_IMAGENET, "bilinear", True),  # VJEPA2VideoProcessor
]
by_family = pytest.mark.parametrize(
    ("family", "normalised", "interpolation", "antialias"), FAMILIES, ids=lambda value: getattr(value, "__name__", "")
)


def bare(family: type[VisionEncoder]) -> VisionEncoder:
    """An encoder without a tower: pixels need none."""
    encoder = family.__new__(family)
    torch.nn.Module.__init__(encoder)
    return encoder


@by_family
def test_a_colour_becomes_the_published_numbers(family, normalised, interpolation, antialias):
    frame = torch.tensor(COLOUR, dtype=torch.uint8).expand(1, 2, 6, 6, 3)
    for size in (6, 3, 8):
        pixels = bare(family).pixels(frame, size)
        expected = torch.tensor(normalised).view(1, 1, 3, 1, 1).expand(1, 2, 3, size, size)
        torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


@by_family
def test_frames_shrink_as_the_tower_was_run(family, normalised, interpolation, antialias):
    encoder = bare(family)
    black = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    white, edge = torch.full_like(black, 255), black.clone()
    edge[:, :, :, 6:] = 255
    low, high, row = (encoder.pixels(frame, 2)[0, 0, :, 0] for frame in (black, white, edge))
    shades = 255 * (row - low) / (high - low)
    expected = (
        torch.tensor(RESIZED[interpolation, antialias]).round() if encoder.rounds else torch.tensor(BICUBIC_FLOAT)
    )
    torch.testing.assert_close(shades, expected.expand(3, 2), atol=1e-3, rtol=0)


def test_frames_of_the_native_size_are_not_resized():
    frames = torch.randint(0, 256, (1, 2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = (frames.movedim(-1, 2) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    torch.testing.assert_close(bare(VideoMaeEncoder).pixels(frames, 32), expected)
