"""The decoder process: checks one file at a time and reads its frames with decord. A script, not a library.

`models/video/decoder.py` starts it by path and sends it requests. It imports numpy and decord only, so that it starts
quickly; it is a separate process because decord may hang or crash in native code. Each rule below is for a kind of file
that decord 0.6 reads wrongly, mostly without an error.
"""

from __future__ import annotations

import os
import pickle
import re
import shlex
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE_BYTES = 1 << 16
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
TS_SYNC = 0x47
TS_LAYOUTS = (188, 192, 204)
"""Bytes from one sync byte to the next: plain MPEG-TS, with a time code (Blu-ray), with error correction."""
H264_HEADS = frozenset({1, 5, 6, 7, 8, 9})
H265_HEADS = frozenset({32, 33, 34, 35, 39})
ORPHAN_CHECK_S = 2.0
GRACE_S = 1.0
"""Time in seconds that the process gives itself beyond its parent's timeout."""

SENTENCES = {
    "cannot find video stream": "holds no video stream (audio only?)",
    "av_read_frame failed": "is damaged or truncated; copy or download it again",
}
"""Part of the text of decord's errors -> its meaning."""


class RefusedError(Exception):
    """The file cannot be read; the message continues after the file's name."""


# --- checks before decord opens a file ---------------------------------------------------------------


def check_content(path: Path) -> None:
    """Refuse files that are no video, are truncated, or are of a kind that decord misreads.

    Raises:
        RefusedError: the message names the problem, and the fix where there is one.
    """
    if not path.exists():
        raise RefusedError("does not exist" + (" (a broken link)" if path.is_symlink() else ""))
    if not path.is_file():
        raise RefusedError("is a folder, not a video" if path.is_dir() else "is not a regular file")
    with path.open("rb") as file:
        head = file.read(PROBE_BYTES)
        if not head:
            raise RefusedError("is empty (0 bytes)")
        if _is_mpeg_ts(head):
            raise RefusedError(f"is MPEG-TS, of which decord returns wrong frames; {_fix(path, '-c copy')}")
        if _is_raw_stream(head):
            fix = _fix(path, "-c copy", before="-framerate RATE ")
            raise RefusedError(f"is a raw H.264/H.265 stream without presentation times; {fix}")
        if head[4:8] in MP4_BOXES:
            _check_boxes(file, path.stat().st_size)


def _is_mpeg_ts(head: bytes) -> bool:
    """Whether sync bytes, and not the bytes after them (a grey picture), are at a constant distance.

    A recording may begin within a packet, so the first sync byte may be anywhere in it.
    """
    for layout in TS_LAYOUTS:
        for first in range(min(layout, len(head))):
            if head[first] == TS_SYNC:
                enough = max(5, 0.9 * len(range(first, len(head), layout)))
                if head[first::layout].count(TS_SYNC) >= enough > head[first + 1 :: layout].count(TS_SYNC):
                    return True
    return False


def _is_raw_stream(head: bytes) -> bool:
    """Whether an Annex-B start code is followed by an H.264 or H.265 unit (MPEG-PS has start codes too)."""
    if head[4:8] in MP4_BOXES:  # a first box with a 64-bit length begins like a start code
        return False
    for code in (b"\0\0\0\1", b"\0\0\1"):
        if head.startswith(code) and len(head) > len(code):
            unit = head[len(code)]
            return unit < 0x80 and (unit & 0x1F in H264_HEADS or unit >> 1 in H265_HEADS)
    return False


def _check_boxes(file: Any, size: int) -> None:
    """Walk the top-level boxes of an MP4: decord's own messages for truncated files do not help."""
    position, has_index = 0, False
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        kind, length = header[4:8], int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8:
            break
        has_index |= kind == b"moov"
        position += length
        if position > size and kind in (b"moov", b"moof", b"mdat"):
            raise RefusedError(f"is truncated: {size} of at least {position} bytes; copy or download it again")
    if not has_index:
        raise RefusedError("has no index (moov box): its recording or copying was cut short; copy it again")


def _fix(path: Path, how: str, before: str = "") -> str:
    """The command that makes a readable copy of a file."""
    target = path.with_name(path.stem + ".fixed.mp4")
    return f"fix: ffmpeg {before}-i {shlex.quote(str(path))} -map 0:v:0 {how} {shlex.quote(str(target))}"


# --- reading --------------------------------------------------------------------------------------------


def open_video(path: Path, size: tuple[int, int] | None) -> Any:
    """Open a file that `check_content` passed.

    Args:
        path: the file.
        size: (height, width) of the frames; None keeps the video's own.

    Returns:
        A `decord.VideoReader` of at least one frame. It applies rotation tags.
    """
    import decord

    height, width = size or (-1, -1)
    # One thread: several processes decode on a machine, and more threads gain little.
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    if len(reader) == 0:
        raise RefusedError("holds no frames")
    return reader


def timeline(reader: Any, path: Path) -> tuple[NDArray[np.float64], int]:
    """Presentation times (T,) of the displayed frames in seconds, relative to the first, and the number of hidden ones.

    Hidden frames are those before the start of an edit list: they are decoded but not displayed.

    Raises:
        RefusedError: frames have no presentation times, or all are hidden.
    """
    import numpy as np

    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    if not np.isfinite(starts).all() or starts[0] < -1e9:  # FFmpeg's value for an unknown time
        raise RefusedError(f"has frames without presentation times; {_fix(path, '-c:v libx264')}")
    hidden = int((starts < 0).sum())
    if hidden == len(starts):
        raise RefusedError("displays no frames: its edit list hides them all")
    return starts[hidden:] - starts[hidden], hidden


def frames_of(reader: Any, indices: list[int], hidden: int) -> NDArray[np.uint8]:
    """Decode frames (N, H, W, 3).

    Frames are read one by one: `get_batch` hangs on files that this reads (dmlc/decord#375), and is no faster. After an
    edit list decord's seeking is off by the hidden frames, which it counts but the decoder never returns; reading in
    order from the start is correct.

    Args:
        reader: from `open_video`.
        indices: indices among the displayed frames, rising.
        hidden: number of hidden frames, from `timeline`.
    """
    import numpy as np

    frames: NDArray[np.uint8] | None = None  # filled in place: stacking a list would take twice the memory
    requested = set(indices)
    row = 0
    for index in range(indices[-1] + 1) if hidden else indices:
        frame = reader.next() if hidden else reader[index]
        if index in requested:
            pixels = _unpadded(frame)
            frames = np.empty((len(indices), *pixels.shape), np.uint8) if frames is None else frames
            frames[row] = pixels
            row += 1
    assert frames is not None
    return frames


def _unpadded(frame: Any) -> NDArray[np.uint8]:
    """Undo decord's misreading of padded rows: a frame 48 wide comes as (H, 48, 4) (dmlc/decord#93)."""
    array: NDArray[np.uint8] = frame.asnumpy()
    height, width, channels = array.shape
    if channels == 3:
        return array
    return array.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def times(path: Path) -> NDArray[np.float64]:
    """Job: presentation times (T,)."""
    return timeline(open_video(path, None), path)[0]


def fitted(sides: tuple[int, int], longer: int) -> tuple[int, int]:
    """Both sides scaled down to at most `longer` pixels with the aspect ratio unchanged; never enlarged."""
    factor = min(1.0, longer / max(sides))
    first, second = (max(1, round(side * factor)) for side in sides)
    return first, second


def read(path: Path, indices: list[int], size: tuple[int, int] | int | None) -> NDArray[np.uint8]:
    """Job: the frames (N, H, W, 3) at rising indices, see `decoder.Decoder.read`."""
    if isinstance(size, int):
        height, width, _ = _unpadded(open_video(path, None)[0]).shape
        size = fitted((height, width), size)
    reader = open_video(path, size)
    times_T, hidden = timeline(reader, path)
    if indices[-1] >= len(times_T) or indices[0] < 0:
        raise RefusedError(f"has frames 0 to {len(times_T) - 1}; {indices[0]} to {indices[-1]} were requested")
    return frames_of(reader, indices, hidden)


def read_all(path: Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Job: presentation times (T,) and all frames (T, H, W, 3)."""
    reader = open_video(path, None)
    times_T, hidden = timeline(reader, path)
    return times_T, frames_of(reader, list(range(len(times_T))), hidden)


# --- the process ------------------------------------------------------------------------------------------

JOBS: dict[str, Any] = {"times": times, "read": read, "read_all": read_all}


def respond(job: str, path: Path, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Do one job; return ("done", result) or ("refused", reason)."""
    import decord

    try:
        check_content(path)
        return "done", JOBS[job](path, *arguments)
    except RefusedError as refusal:
        return "refused", str(refusal)
    except OSError as error:
        return "refused", f"cannot be read ({error.strerror or error})"
    except StopIteration:
        return "refused", "ends before the number of frames that it declares; it is damaged or truncated"
    except UnicodeError:
        return "refused", "has a name that is not UTF-8, which decord needs; rename it"
    except MemoryError:
        return "refused", "does not fit into memory; request fewer or smaller frames"
    except (decord.DECORDError, RuntimeError) as error:
        return "refused", sentence(str(error), path)


def sentence(message: str, path: Path) -> str:
    """One sentence for decord's message, which has time stamps, source lines and a backtrace."""
    for part, meaning in SENTENCES.items():
        if part in message:
            return meaning
    if "Failed to measure duration" in message:
        return f"declares neither duration nor frame count, which decord needs; {_fix(path, '-c:v libx264')}"
    if message.startswith("Error reading"):
        with path.open("rb") as file:
            head = file.read(24)
        begin = head.decode("ascii") if head.isascii() else head[:8].hex(" ")
        return f"is not a video that FFmpeg can read: it begins with {begin!r}"
    first = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", (message.strip() or "an unknown error").splitlines()[0])
    return f"cannot be decoded: {first.replace(str(path), 'it')}"


def serve(connection: Connection, parent: int) -> None:
    """Do jobs until the parent closes the connection or ends."""
    while True:
        # A process forked from the parent may keep the connection open after the parent has ended.
        while not connection.poll(ORPHAN_CHECK_S):
            if os.getppid() != parent:
                return
        job, path, arguments, timeout_s = connection.recv()
        # If the parent dies while native code hangs, only the kernel can kill this process.
        signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)
        # `send` would use an older pickle protocol, which copies the frames twice more.
        connection.send_bytes(pickle.dumps(respond(job, Path(path), arguments), protocol=5))
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Run as `python -P decode_child.py FD`."""
    connection = Connection(int(sys.argv[1]))
    try:
        sys.path[:], parent = connection.recv()
        try:
            import decord  # noqa: F401  imported before the first job
        except (ImportError, OSError, RuntimeError) as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))
            return
        connection.send(("ready", None))
        serve(connection, parent)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has ended, or closed the connection


if __name__ == "__main__":
    main()
