"""Content of the packet of a key frame of H.264 or H.265: parameter sets, and whether decoding can start there."""

from __future__ import annotations

from collections.abc import Iterator

LENGTH_BYTES = 4
"""Bytes of a unit's length in MP4 and Matroska, as all writers choose it."""
SEQUENCE_SETS = {"h264": 7, "hevc": 33}
"""Codec -> type of the units that state the resolution."""
REFRESH_PICTURES = {"h264": (5,), "hevc": (19, 20)}
"""Codec -> types of the units of pictures after which no frame refers to an earlier one (IDR)."""


def key_frame(packet: bytes, codec: str) -> tuple[tuple[bytes, ...], bool]:
    """The sequence parameter sets in front of a key frame's picture, and whether it starts a closed group.

    Where there are no such sets, they stand in the header of the file alone.

    Args:
        packet: content of a packet of MP4 or Matroska: each unit follows its length.
        codec: "h264" or "hevc".
    """
    sets: list[bytes] = []
    for kind, unit in _units(packet, codec):
        if kind == SEQUENCE_SETS[codec]:
            sets.append(unit)
        elif kind < 6 if codec == "h264" else kind < 32:  # the picture
            return tuple(sets), kind in REFRESH_PICTURES[codec]
    return tuple(sets), False


def _units(packet: bytes, codec: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each unit."""
    position = 0
    while position + LENGTH_BYTES < len(packet):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(packet[position:start], "big")
        kind = packet[start] & 0x1F if codec == "h264" else packet[start] >> 1 & 0x3F
        yield kind, packet[start:position]
