"""Opens a video once with PyAV: when its frames are displayed, in which shape, and whether decord reads it rightly.

All packets are read and the first frame is decoded. The times come from the packets where each packet is known to be
one frame; elsewhere all frames are decoded and counted. Stored numbers of frames and durations are not used.
Legend: T displayed frames, K key frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from models.video.animation_reader import index_animation
from models.video.file_checks import DAMAGED, FileKind, RefusedError, check_file, fix
from models.video.geometry import MAX_STRETCH, Orientation, square_pixels
from models.video.key_frames import key_frame
from models.video.pyav_reader import opened, opened_stream
from models.video.video_index import Beat, KeyFrames, VideoIndex

MP4, MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
"""FFmpeg's names of the containers that have times for all frames."""
SEEKABLE = (MP4, MATROSKA)
ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1", "mjpeg", "prores")
"""Codecs without packets that display nothing, such as the alternate references of VP8."""
DECORD_CODECS = ("h264", "hevc")
"""Codecs whose change of resolution within a file shows in parameter sets; decord then returns stale frames."""
MISSING_S = 0.5
"""Difference in seconds up to which Matroska's declared duration is believed: its last frames may have none."""
MAX_KEY_DISTANCE = 1000
"""Largest number of frames from one key frame to the next for decord, which cannot report progress in between."""


@dataclass
class Packets:
    """What the packets of a stream declare, in decoding order."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_hidden: list[bool] = field(default_factory=list)
    """Whether an edit list hides the frame."""
    changes: bool = False
    """Whether parameter sets change, and with them perhaps the resolution."""
    is_open: bool = False
    """Whether frames after a key frame may refer to frames before it."""
    sets: tuple[bytes, ...] = ()
    """The last parameter sets within a packet."""

    def add(self, packet: Any, codec: str, *, has_lengths: bool) -> None:
        """Add a packet; `has_lengths`: the container is one for which `key_frame` is written."""
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.is_key.append(packet.is_keyframe)
        self.is_hidden.append(packet.is_discard)
        self.changes |= packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")
        if packet.is_keyframe and has_lengths and codec in DECORD_CODECS:
            sets, is_closed = key_frame(bytes(packet), codec)
            self.is_open |= not is_closed
            self.changes |= bool(sets and self.sets) and sets != self.sets
            self.sets = sets or self.sets


def index_video(path: Path, beat: Beat, *, has_decord: bool) -> VideoIndex:
    """Index a file.

    Raises:
        RefusedError: it cannot be read; the message names the problem.
        av.error.FFmpegError: it is no video, or damaged.
    """
    if (kind := check_file(path)) is FileKind.PICTURE:
        return index_animation(path, beat)
    with opened(path) as container:
        streams = [stream for stream in container.streams.video if "attached_pic" not in _dispositions(stream)]
        if not streams:
            raise RefusedError("holds no video stream (audio only?)")
        stream = next((one for one in streams if "default" in _dispositions(one)), streams[0])
        if stream.codec_context is None:
            raise RefusedError("has a video stream of a codec that FFmpeg cannot decode here")
        index, base_s, rate = _index_stream(container, stream, beat)
    reasons = [
        *index.notes,
        *(["fragmented"] if kind is FileKind.FRAGMENTED else []),
        *(["several video streams"] if len(streams) > 1 else []),
        *([] if has_decord else ["decord is not installed"]),
    ]
    if index.pts_T is None:
        times_T = _by_decoding(path, index.stream, base_s, rate, beat)
        reasons.append("frames counted by decoding all")
        index = replace(index, times_T=times_T)
    return replace(index, reader="pyav" if reasons else "decord", notes=tuple(reasons))


def _index_stream(container: Any, stream: Any, beat: Beat) -> tuple[VideoIndex, float, Fraction | None]:
    """The index of a stream, its time base in seconds and its frame rate; without `pts_T`, frames are still counted."""
    stream.codec_context.thread_count = 1
    packets, first = _read_packets(container, stream, beat)
    orientation, aspect = _orientation(first), float(stream.sample_aspect_ratio or 1)
    base_s, codec = float(stream.time_base), stream.codec_context.codec.canonical_name
    pts_T, keys = None, None
    if container.format.name in SEEKABLE and _is_countable(codec, packets, first, container):
        pts_T, keys = _by_packets(packets)
    index = VideoIndex(
        reader="pyav",
        times_T=np.zeros(0) if pts_T is None else (pts_T - pts_T[0]) * base_s,
        sides=_display_sides(first, orientation, aspect),
        codec=codec,
        notes=tuple(_reasons(container, codec, packets, orientation, aspect)),
        stream=stream.index,
        orientation=orientation,
        pts_T=pts_T,
        keys=keys,
    )
    return index, base_s, stream.codec_context.framerate


def _dispositions(stream: Any) -> set[str]:
    return {flag.name for flag in stream.disposition}


@dataclass
class Span:
    """Time that the packets of all streams cover, in seconds."""

    end_s: float | None = None
    longest_s: float = 0.0
    """The longest time from one end to the next."""

    def add(self, packet: Any) -> None:
        """Extend it by a packet."""
        if packet.pts is None:
            return
        end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        if self.end_s is None:
            self.end_s = end_s
        elif end_s > self.end_s:
            self.longest_s, self.end_s = max(self.longest_s, end_s - self.end_s), end_s

    def check(self, declared_s: float) -> None:
        """Refuse a file that declares more: of a damaged Matroska, FFmpeg reads the first part without an error.

        Raises:
            RefusedError: the end is missing.
        """
        if declared_s > (self.end_s or 0.0) + max(MISSING_S, 2 * self.longest_s):
            raise RefusedError(f"{DAMAGED} ({self.end_s or 0.0:.1f} of {declared_s:.1f} s can be read)")


def _read_packets(container: Any, stream: Any, beat: Beat) -> tuple[Packets, Any]:
    """All packets of a stream, and its first decoded frame."""
    packets, span, first = Packets(), Span(), None
    is_matroska, is_mp4 = (container.format.name == name for name in (MATROSKA, MP4))
    # The number of packets, with those that an edit list hides; other containers have no complete index.
    declared = len(stream.index_entries) if is_mp4 else 0
    for packet in container.demux() if is_matroska else container.demux(stream):
        beat()
        span.add(packet)
        if packet.stream_index != stream.index:
            continue
        if first is None:
            first = next(iter(packet.decode()), None)
        if packet.size > 0:  # not the end
            packets.add(packet, stream.codec_context.codec.canonical_name, has_lengths=is_matroska or is_mp4)
    if is_matroska:
        span.check((container.duration or 0) / 1e6)
    if len(packets.pts) < declared:
        raise RefusedError(f"{DAMAGED} (it has {len(packets.pts)} of {declared} frames)")
    if first is None:
        is_hidden = any(packets.is_hidden)
        raise RefusedError("displays no frames: its edit list hides them all" if is_hidden else "holds no frames")
    return packets, first


def _orientation(frame: Any) -> Orientation:
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV 18 fails if any data of the frame have a type that it does not know; the angle is left
        return Orientation.from_quarters(round(-frame.rotation / 90))
    values = np.frombuffer(bytes(matrix), np.int32).tolist() if matrix is not None else []
    return Orientation.from_matrix(values) if any(values) else Orientation()


def _display_sides(frame: Any, orientation: Orientation, aspect: float) -> tuple[int, int]:
    if not 1 / MAX_STRETCH <= aspect <= MAX_STRETCH:
        raise RefusedError(f"declares pixels whose width is {aspect:g} times their height; write the right ratio")
    return orientation.stored(square_pixels(frame.height, frame.width, aspect))


def _reasons(container: Any, codec: str, packets: Packets, orientation: Orientation, aspect: float) -> list[str]:
    """Why decord would read the file wrongly, or not at all."""
    keys = np.flatnonzero([*packets.is_key, True])
    checks = {
        f"container {container.format.name}": container.format.name not in SEEKABLE,
        f"codec {codec}": codec not in DECORD_CODECS,
        f"an edit list hides {sum(packets.is_hidden)} frames": any(packets.is_hidden),
        "parameters change within the file": packets.changes,
        f"pixels are not square ({aspect:g})": aspect != 1,
        "mirrored": not orientation.is_rotation,
        "key frames are far apart": np.diff(keys, prepend=0).max() > MAX_KEY_DISTANCE,
        "decord may seek to a wrong frame": not _is_safe_to_seek(packets),
    }
    return [reason for reason, applies in checks.items() if applies]


def _is_safe_to_seek(packets: Packets) -> bool:
    """Whether decord, which counts frames from a key frame on, starts at the right one and misses none.

    It seeks to the presentation time of a key frame, where FFmpeg searches decoding times: the next key frame must be
    decoded later than this one is displayed. And all groups of pictures must be closed: of an open one, the decoder
    drops frames after a seek.
    """
    if packets.is_open or None in packets.pts:
        return False
    pts = np.array(packets.pts, np.int64)
    keys = np.flatnonzero(packets.is_key)
    earliest = np.minimum.accumulate(pts[::-1])[::-1]
    next_dts = [packets.dts[key] for key in keys[1:]]
    if (earliest[keys] < pts[keys]).any() or None in next_dts:
        return False
    return bool((np.array(next_dts, np.int64) > pts[keys[:-1]]).all())


def _is_countable(codec: str, packets: Packets, first: Any, container: Any) -> bool:
    """Whether each packet is one displayed frame, all with different times, none before the first key frame."""
    if codec not in ONE_FRAME_A_PACKET or (first.interlaced_frame and container.format.name != MP4):
        return False  # outside of MP4 each packet of interlaced video may be a field
    if None in packets.pts or len(set(packets.pts)) < len(packets.pts) or not packets.is_key[0]:
        return False
    # A file that was cut begins with frames that refer to frames before the cut: they are never decoded.
    return any(packets.is_hidden) or min(pts for pts in packets.pts if pts is not None) == packets.pts[0]


def _by_packets(packets: Packets) -> tuple[np.ndarray, KeyFrames]:
    """Presentation times (T,) in rising order, and the key frames."""
    pts = np.array(packets.pts, np.int64)
    keys = np.flatnonzero(packets.is_key)
    seek = [packets.dts[key] if packets.dts[key] is not None else packets.pts[key] for key in keys]
    order = np.argsort(pts[keys], kind="stable")
    return np.sort(pts[~np.array(packets.is_hidden)]), KeyFrames(pts[keys][order], np.array(seek, np.int64)[order])


def _by_decoding(path: Path, number: int, base_s: float, rate: Any, beat: Beat) -> np.ndarray:
    """Times (T,) in seconds of all frames that the decoder returns.

    Raises:
        RefusedError: frames have neither times nor a rate, or their times go back.
    """
    stamps: list[tuple[int | None, int | None]] = []
    with opened_stream(path, number) as (container, stream):
        for frame in container.decode(stream):
            beat()
            stamps.append((frame.pts, frame.dts))
    for candidates in zip(*stamps, strict=True):  # presentation times, or those of decoding (AVI)
        if None not in candidates:
            times = np.array(candidates, np.float64) * base_s
            if (np.diff(times) >= 0).all():
                return times - times[0]
            raise RefusedError(f"has presentation times that go back; {fix(path, '-c:v libx264')}")
    if not rate:
        how = fix(path, "-c copy", before="-framerate RATE ")
        raise RefusedError(f"has frames without presentation times, and states no frame rate; {how}")
    return np.arange(len(stamps)) / float(rate)
