"""Rendered frames as H.264 files, by PyAV. Trials decode them with models/video/decoder.py."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import FPS, SIZE

CRF = 12
"""Constant rate factor: 3-4 of 255 mean error on these frames at about 10 kB a file (measured)."""
_X264 = "weightp=0:mbtree=0:rc-lookahead=0"
"""x264 options: no weighted prediction, no lookahead. With x264's defaults the bytes of some of these small videos
depend on the videos that the process encoded before (measured: 1 of 24 videos in shuffled order; with these options
none)."""


def write_video(frames_THW3: NDArray[np.uint8], target: Path | io.BytesIO) -> None:
    """Encode uint8 RGB frames (T, H, W, 3) as H.264 in MP4, with one thread, so that equal frames give equal bytes."""
    import av

    where = target if isinstance(target, io.BytesIO) else str(target)
    with av.open(where, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=int(FPS))
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.options = {
            "crf": str(CRF),
            "preset": "veryfast",
            "threads": "1",
            "x264-params": _X264,
        }
        for frame in frames_THW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def read_video(source: Path | io.BytesIO) -> NDArray[np.uint8]:
    """All frames of a video as uint8 RGB: (T, H, W, 3)."""
    import av

    where = source if isinstance(source, io.BytesIO) else str(source)
    with av.open(where) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
