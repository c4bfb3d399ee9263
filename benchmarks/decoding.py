"""CPU time of the readers of videos: `python -m benchmarks.decoding` (about a minute).

Writes a clip of 45 s, 1280x720 at 30 Hz, in H.264 with x264's key frames and B-frames, and reads 32 uniform frames and
2 frames per second of it with each reader, at three sizes. CPU time of the process, not wall time, since a busy machine
would disturb it; each reader has one thread. Last, what the choice of the reader costs: reading all packets once.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from PIL import Image

from models.video.decord_reader import frames_by_decord
from models.video.probe import index_video
from models.video.pyav_reader import frames_by_pyav

T = TypeVar("T")
FRAMES, RATE, WIDTH, HEIGHT = 1350, 30, 1280, 720


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path)
        index_s, index = timed(lambda: index_video(path, no_progress, has_decord=True))
        uniform = [int((i + 0.5) * FRAMES / 32) for i in range(32)]
        constant = list(range(RATE // 4, FRAMES, RATE // 2))
        print("| frames | longer side | decord, CPU s | PyAV, CPU s |")
        print("|---|---|---|---|")
        for name, indices in (("32 uniform", uniform), ("2 per second", constant)):
            for size in (None, 720, 384):
                arguments = (path, index, indices, size, no_progress)
                seconds = [
                    timed(partial(deque, read(*arguments), maxlen=0))[0] for read in (frames_by_decord, frames_by_pyav)
                ]
                print(f"| {name} | {size or WIDTH} | {seconds[0]:.2f} | {seconds[1]:.2f} |")
        print(f"\nchoice of the reader: {1000 * index_s:.0f} ms, once per file; it chose {index.reader}")


def no_progress() -> None:
    """Report nothing."""


def timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    value = function()
    return time.process_time() - start, value


def write_clip(path: Path) -> None:
    """A textured picture, panned."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (120, 200, 3), np.uint8)).resize(
        (3000, 1800), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-12, 12, (1800, 3000, 3))
    texture = np.clip(np.asarray(coarse).astype(np.int16) + noise, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(FRAMES):
            x, y = int(800 + 700 * np.sin(i / 97)), int(500 + 400 * np.cos(i / 61))
            view = np.ascontiguousarray(texture[y : y + HEIGHT, x : x + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
