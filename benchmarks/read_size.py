"""What reading frames at 720 pixels changes in what towers see: `python -m benchmarks.read_size`.

Two synthetic frames for each native size: noise with an amplitude of 1/f, as photographs have, and the same with
stripes 3 pixels wide on a third of the frame. Root mean square difference, in shades of 255, between a tower's pixels
from the native frame and from the frame scaled to a longer side of 720 by Pillow's bicubic filter.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from PIL import Image

from models.families import FAMILIES
from models.video import fitted

SIZES = ((224, 224), (360, 640), (720, 1280), (1080, 1920), (1920, 1080))
"""Height and width of native frames."""
TOWERS = {
    "SigLIP 384": ("siglip", 384),
    "InternVideo2 224": ("internvideo2", 224),
    "V-JEPA 384": ("vjepa", 384),
}
DEVIATION = 50
"""Standard deviation of the noise in shades."""


def main() -> None:
    columns = [f"{name}, {frame}" for frame in ("noise", "stripes") for name in TOWERS]
    print("| native | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for height, width in SIZES:
        cells = []
        for with_stripes in (False, True):
            native = noise(height, width, with_stripes=with_stripes)
            rows, columns_720 = fitted((height, width), 720)
            read = np.asarray(Image.fromarray(native).resize((columns_720, rows), Image.Resampling.BICUBIC))
            cells += [f"{difference(kind, side, native, read):.1f}" for kind, side in TOWERS.values()]
        print(f"| {width} x {height} | " + " | ".join(cells) + " |")


def noise(height: int, width: int, *, with_stripes: bool) -> np.ndarray:
    """A frame, uint8 RGB (height, width, 3)."""
    spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    radius[0, 0] = 1
    shades = np.fft.irfft2(spectrum / radius, (height, width))
    shades *= DEVIATION / shades.std()
    if with_stripes:
        stripes = (np.arange(width) // 3 + np.arange(height)[:, None] // 5) % 2 * 96 - 48
        shades[:, :, : width // 3] += stripes[:, : width // 3]
    return np.clip(shades + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def difference(kind: str, side: int, native: np.ndarray, read: np.ndarray) -> float:
    """Root mean square difference of a tower's pixels in shades."""
    import torch

    module, _, name = FAMILIES[kind].encoder.partition(":")
    tower = getattr(import_module(module), name)
    encoder = tower.__new__(tower)
    torch.nn.Module.__init__(encoder)  # pixels need no weights
    pixels = [encoder.pixels(torch.from_numpy(frame.copy())[None, None], side)[0, 0] for frame in (native, read)]
    shades = 255 * torch.tensor(encoder.normalisation[1])[:, None, None]
    return float(((pixels[0] - pixels[1]) * shades).square().mean().sqrt())


if __name__ == "__main__":
    main()
