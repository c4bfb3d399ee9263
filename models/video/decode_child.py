"""The decoder process: reads one video at a time, with the reader that is right for it. A script, not a library.

`models/video/decoder.py` starts it by path and sends it requests. It is a separate process because decord may hang or
crash in native code. It loads no torch and starts quickly; models/video/probe.py chooses the reader of each file.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from models.video.video_index import Size, VideoIndex

ORPHAN_CHECK_S = 2.0
GRACE_S = 1.0
"""Time in seconds that the process gives itself beyond its parent's timeout."""
MAX_INDICES = 64
"""Number of files whose index is kept: a trial asks for the times of a file, then for its frames."""
SMALL = 64
"""Pixels of the longer side at which frames are decoded that are only checked."""


class Reading:
    """State of the process: how progress is reported, and the indices of the last files."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = connection
        self.timeout_s = 60.0
        self.last_beat_s = 0.0
        self.has_decord = True
        self.indices: OrderedDict[tuple[str, int, int], VideoIndex] = OrderedDict()

    def start(self, timeout_s: float) -> None:
        """Start the clock of a request."""
        self.timeout_s, self.last_beat_s = timeout_s, time.monotonic()
        # If the parent dies while native code hangs, only the kernel can kill this process.
        signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)

    def stop(self) -> None:
        """Stop the clock: waiting for a request may take any time."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def beat(self) -> None:
        """Report progress to the parent, a few times within the timeout."""
        now = time.monotonic()
        if self.connection is not None and now - self.last_beat_s > min(1.0, self.timeout_s / 4):
            self.connection.send_bytes(pickle.dumps(("progress", None)))
            self.start(self.timeout_s)

    def index(self, path: Path) -> VideoIndex:
        """The index of a file, from the last requests if the file is unchanged."""
        from models.video.probe import index_video

        key = _identity(path)
        if key not in self.indices:
            self.remember(path, index_video(path, self.beat, has_decord=self.has_decord))
        self.indices.move_to_end(key)
        return self.indices[key]

    def remember(self, path: Path, index: VideoIndex) -> None:
        """Keep the index of a file for the next requests."""
        self.indices[_identity(path)] = index
        if len(self.indices) > MAX_INDICES:
            self.indices.popitem(last=False)


def _identity(path: Path) -> tuple[str, int, int]:
    """A file and its state."""
    try:
        stat = path.stat()
    except OSError:  # the check of the file reports it
        return str(path), 0, 0
    return str(path), stat.st_mtime_ns, stat.st_size


READING = Reading()


# --- reading --------------------------------------------------------------------------------------------


def times(path: Path) -> tuple[str, NDArray[np.float64]]:
    """Job: the reader, and presentation times (T,)."""
    index = READING.index(path)
    return index.reader, index.times_T


def facts(path: Path) -> tuple[str, dict[str, Any]]:
    """Job: the reader, and how a file is read."""
    index = READING.index(path)
    height, width = index.sides
    return index.reader, {"codec": index.codec, "width": width, "height": height, "notes": index.notes}


def check(path: Path, indices: list[int]) -> tuple[str, None]:
    """Job: decode frames at rising indices and keep none; the reader."""
    for _ in _frames(path, indices, SMALL):
        pass
    return READING.index(path).reader, None


def read(path: Path, indices: list[int], size: Size) -> tuple[str, NDArray[np.uint8]]:
    """Job: the reader, and the frames (N, H, W, 3) at rising indices, see `decoder.Decoder.read`."""
    import numpy as np

    array = np.empty((len(indices), *READING.index(path).sides_at(size), 3), np.uint8)  # a list takes twice the memory
    for row, frame in enumerate(_frames(path, indices, size)):
        array[row] = frame
    return READING.index(path).reader, array


def read_all(path: Path) -> tuple[str, tuple[NDArray[np.float64], NDArray[np.uint8]]]:
    """Job: the reader; presentation times (T,) and all frames (T, H, W, 3)."""
    times_T = READING.index(path).times_T
    reader, frames = read(path, list(range(len(times_T))), None)
    return reader, (times_T, frames)


def _frames(path: Path, indices: list[int], size: Size) -> Iterator[NDArray[np.uint8]]:
    """As many frames as indices."""
    from models.video.file_checks import RefusedError
    from models.video.readers import Frames

    index = READING.index(path)
    last, arrived = len(index.times_T) - 1, 0
    if indices[0] < 0 or indices[-1] > last:
        raise RefusedError(f"has frames 0 to {last}; {indices[0]} to {indices[-1]} were requested")
    frames = Frames(path, index, indices, size, READING.beat)
    for frame in frames:
        arrived += 1
        yield frame
    assert arrived == len(indices), (arrived, indices)
    READING.remember(path, frames.index)


# --- the process ------------------------------------------------------------------------------------------

JOBS: dict[str, Any] = {"times": times, "facts": facts, "check": check, "read": read, "read_all": read_all}


def respond(job: str, path: Path, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Do one job; return ("done", (reader, result)) or ("refused", reason)."""
    import av

    from models.video.file_checks import DAMAGED, RefusedError

    try:
        return "done", JOBS[job](path, *arguments)
    except RefusedError as refusal:
        return "refused", str(refusal)
    except (av.error.InvalidDataError, av.error.EOFError):
        return "refused", DAMAGED
    except OSError as error:
        return "refused", f"cannot be read ({error.strerror or error})"
    except MemoryError:
        return "refused", "does not fit into memory; request fewer or smaller frames"
    except Exception as error:  # noqa: BLE001 - native readers raise errors of any type; each is one file's fault
        first = getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[0]
        return "refused", f"cannot be decoded: {first.replace(str(path), 'it')}"


def serve(connection: Connection, parent: int) -> None:
    """Do jobs until the parent closes the connection or ends."""
    READING.connection = connection
    while True:
        # A process forked from the parent may keep the connection open after the parent has ended.
        while not connection.poll(ORPHAN_CHECK_S):
            if os.getppid() != parent:
                return
        job, path, arguments, timeout_s = connection.recv()
        READING.start(timeout_s)
        # `send` would use an older pickle protocol, which copies the frames twice more.
        connection.send_bytes(pickle.dumps(respond(job, Path(path), arguments), protocol=5))
        READING.stop()


def main() -> None:
    """Run as `python -P decode_child.py FD`."""
    connection = Connection(int(sys.argv[1]))
    try:
        sys.path[:], parent = connection.recv()
        try:
            import av
            import av.logging
        except (ImportError, OSError, RuntimeError) as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))
            return
        av.logging.set_level(None)  # errors come as exceptions
        try:
            import decord  # noqa: F401  imported before the first job
        except (ImportError, OSError, RuntimeError):
            READING.has_decord = False
        connection.send(("ready", None))
        serve(connection, parent)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has ended, or closed the connection


if __name__ == "__main__":
    main()
