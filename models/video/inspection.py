"""Whether a medium can be read, and what it is: `ablate check` asks this of each one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.video.decoder import Decoder
from models.video.images import frame_files, image_shape, read_frame_files, read_image
from models.video.media import Medium, MediumFacts
from models.video.sampling import duration
from models.video.sources import relative, segment

PORTION = 64
"""Number of files of a folder of frames that are read at once."""


def inspect_medium(folder: Path, medium: Medium, decoder: Decoder) -> MediumFacts:
    """Read a medium as a trial would, but all its frames, and keep none.

    Of a segment, its own frames are read, and the number and duration returned are its own.

    Args:
        folder: the data folder.
        medium: an image, a video, a segment, or a folder of frames.
        decoder: reads videos; the reader that it chooses is the one of a trial.

    Raises:
        VideoError: the medium cannot be read, or not whole; the message has the file, the reason, and the fix where
            there is one.
        RuntimeError: the decoder process does not start.
    """
    path = folder / medium.path
    if medium.kind == "image":
        segment(medium, folder, np.zeros(1))
        height, width, codec = image_shape(path)
        read_image(path)
        return MediumFacts(reader="pillow", frames=1, duration_s=0.0, width=width, height=height, codec=codec)
    if medium.fps is not None:
        return _inspect_frames(folder, medium, medium.fps)
    times_T = decoder.times(path)
    part = segment(medium, folder, times_T)
    facts = decoder.check(path, range(part.start, part.stop))
    return replace(facts, duration_s=duration(relative(times_T[part], medium)))


def _inspect_frames(folder: Path, medium: Medium, fps: float) -> MediumFacts:
    """Read all frames of a folder, or of a segment of it."""
    files = frame_files(folder / medium.path)
    times_T = np.arange(len(files)) / fps
    part = segment(medium, folder, times_T)
    height, width, codec = image_shape(files[0])
    for first in range(part.start, part.stop, PORTION):
        read_frame_files(files, list(range(first, min(first + PORTION, part.stop))), None)
    return MediumFacts(
        reader="pillow",
        frames=part.stop - part.start,
        duration_s=duration(relative(times_T[part], medium)),
        width=width,
        height=height,
        codec=codec,
    )
