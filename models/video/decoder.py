"""Reading videos in a process that can be killed, and the error for a video that cannot be read.

decord may loop for ever in native code, holding the GIL, on files that look fine (dmlc/decord#373, #375),
or crash. So videos are read in a child process (`models/video/decode_child.py`), which reads many files, and is killed
and replaced when a file makes no progress. `models/video/sampling.py` chooses the frames.

The child is a plain interpreter, started by the path of its script. `multiprocessing` (and pebble, which builds on it)
would import the parent's main module again, and with it torch, or a user's script without a guard.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from models.video.media import MediumFacts
from models.video.sampling import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

CHILD = Path(__file__).with_name("decode_child.py")
START_S = 120.0
"""Timeout for starting the decoder process: 0.1 s was measured, a busy network file system takes longer."""


class VideoError(ValueError):
    """A video cannot be read: `path` is the file, `reason` the problem, with the fix where there is one."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)  # both, so that it can be pickled
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Decoder:
    """Reads videos in a child process, one file at a time; other threads wait.

    The child starts with the first file and ends with `close`, or when this process ends in any way.
    In a forked process the same decoder starts its own child.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        """Set the time in seconds without progress after which the decoding of a file counts as hung."""
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        self.timeout_s = timeout_s
        self.readers: Counter[str] = Counter()
        """Reader -> number of times that frames were read by it; for the log of a trial."""
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the child. The decoder can be used again."""
        with self._lock:
            self._stop()

    def times(self, path: str | Path) -> NDArray[np.float64]:
        """Presentation times (T,) of the displayed frames in seconds, relative to the first.

        Raises:
            VideoError: the file cannot be read.
            RuntimeError: the decoder process does not start.
        """
        return cast("NDArray[np.float64]", self._request("times", path)[1])

    def read(
        self, path: str | Path, indices: Sequence[int], size: tuple[int, int] | int | None = None
    ) -> NDArray[np.uint8]:
        """Decode some frames.

        Args:
            path: the video.
            indices: indices of frames, as in `times`; in any order, repeats allowed.
            size: (height, width) to scale to (bilinear), or the pixels to which a longer side that has more is scaled
                down, with the aspect ratio unchanged; None keeps the video's size.

        Returns:
            RGB frames (N, H, W, 3), as a viewer sees them: upright, not mirrored, with square pixels. Where the
            resolution changes within the file, all are scaled to the shape of its first frame.

        Raises:
            VideoError: the file cannot be read, or has no such frames.
            ValueError: no frames are requested, or `size` is below 1.
            RuntimeError: the decoder process does not start.
        """
        if len(indices) == 0:
            raise ValueError(f"{path}: no frames are requested")
        if size is not None and np.min(size) < 1:
            raise ValueError(f"size must be at least 1 pixel, not {size}")
        rising, positions = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        reader, result = self._request("read", path, rising.tolist(), size)
        self.readers[reader] += 1
        frames = cast("NDArray[np.uint8]", result)
        return frames if np.array_equal(rising, indices) else frames[positions]

    def read_all(self, path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Decode a whole short video, opening it once.

        Returns:
            Presentation times (T,) as by `times`, and RGB frames (T, H, W, 3).

        Raises:
            VideoError: the file cannot be read.
            RuntimeError: the decoder process does not start.
        """
        reader, result = self._request("read_all", path)
        self.readers[reader] += 1
        return cast("tuple[NDArray[np.float64], NDArray[np.uint8]]", result)

    def probe(self, path: str | Path) -> MediumFacts:
        """Which reader reads a video and why, its frames, duration and shape. Its frames are not decoded.

        Raises:
            VideoError: the file cannot be read.
            RuntimeError: the decoder process does not start.
        """
        return self._facts(path, self.times(path))

    def check(self, path: str | Path, indices: Sequence[int]) -> MediumFacts:
        """Decode frames at rising indices, keep none, and return what `probe` returns for them alone.

        Raises:
            VideoError: one of them cannot be read, or is not there.
            RuntimeError: the decoder process does not start.
        """
        self._request("check", path, list(indices))
        times_N = self.times(path)[list(indices)]
        return self._facts(path, times_N - times_N[0])

    def _facts(self, path: str | Path, times_s: NDArray[np.float64]) -> MediumFacts:
        reader, facts = self._request("facts", path)
        facts = cast("dict[str, Any]", facts)
        return MediumFacts(reader=reader, frames=len(times_s), duration_s=duration(times_s), **facts)

    def _request(self, job: str, path: str | Path, *arguments: object) -> tuple[str, object]:
        """The reader and the result of a job."""
        with self._lock:
            child = self._running()
            try:
                child.connection.send((job, os.path.abspath(path), arguments, self.timeout_s))
                verdict = "progress"
                while verdict == "progress":
                    if not child.connection.poll(self.timeout_s):
                        raise VideoError(
                            path,
                            f"was not decoded further for {self.timeout_s:g} s; decord hangs on some damaged files",
                        )
                    verdict, result = child.connection.recv()
            except (EOFError, ConnectionError) as error:
                raise VideoError(path, f"killed the decoder process ({self._stop()})") from error
            except BaseException:  # also Ctrl-C: an unread response must not be taken for that of the next request
                self._stop()
                raise
        if verdict == "refused":
            raise VideoError(path, str(result))
        return cast("tuple[str, object]", result)

    def _running(self) -> _Child:
        if self._child is not None and self._child.owner != os.getpid():
            self._child = None  # forked: the child and its connection belong to the parent
        if self._child is not None and self._child.process.poll() is not None:
            self._stop()  # it died between two files, which is not the fault of the next one
        if self._child is None:
            self._child = _start()
        return self._child

    def _stop(self) -> str:
        """Stop the child; return how it ended."""
        child, self._child = self._child, None
        return child.stop() if child is not None and child.owner == os.getpid() else "not running"


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    owner: int
    """Id of the process that started it."""

    def stop(self) -> str:
        """Kill and reap the process; return how it ended, if it had ended before."""
        self.connection.close()
        try:
            code = self.process.wait(timeout=0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _start() -> _Child:
    """Start a child and wait until it is ready.

    Raises:
        RuntimeError: the process does not start.
    """
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # FFmpeg writes there what VideoError reports
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C goes to the parent, which then stops the child
        )
    child = _Child(process, ours, os.getpid())
    try:
        ours.send((sys.path, os.getpid()))
        verdict, reason = ours.recv() if ours.poll(START_S) else ("failed", f"no response within {START_S:g} s")
    except (EOFError, ConnectionError):
        verdict, reason = "failed", "it ended at once"
    except BaseException:
        child.stop()
        raise
    if verdict != "ready":
        child.stop()
        raise RuntimeError(
            f"no video can be read: the decoder process did not start ({reason}). It needs PyAV: pip install av"
        )
    return child
