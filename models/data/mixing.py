"""Records drawn in the proportions of a mix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.data.manifest import Kind, ManifestError, Record
from models.design import Mix

KINDS: tuple[Kind, ...] = ("text", "image", "video", "multi_image")
"""In this order a stage's samples are dealt; a new kind goes last, so that seeds keep their meaning."""


def draw(records: list[Record], mix: Mix, count: int, rng: np.random.Generator) -> Iterator[Record]:
    """`count` records in the mix's exact proportions, in random order; each kind is gone through before it repeats.

    Raises:
        ManifestError: a kind with a share has no record.
    """
    shares = {kind: getattr(mix, kind) for kind in KINDS}
    decks = {kind: [r for r in records if r.kind == kind] for kind in shares}
    for kind, share in shares.items():
        if share > 0 and not decks[kind]:
            raise ManifestError(f"the mix asks for {share:.0%} {kind}, but train.json has no {kind} record")
    wanted = np.array(list(shares.values()))
    counts = np.floor(wanted * count).astype(int)
    counts[int(np.argmax(counts + wanted))] += count - counts.sum()  # the largest share where counts tie
    order = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    streams = [_endless(deck, rng) for deck in decks.values()]
    return (next(streams[kind]) for kind in order)


def _endless(deck: list[Record], rng: np.random.Generator) -> Iterator[Record]:
    while True:
        yield from (deck[i] for i in rng.permutation(len(deck)))
