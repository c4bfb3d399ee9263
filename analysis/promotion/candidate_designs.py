"""The designs that a promotion chooses among: their scores at every scale, aligned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.noise import noise_between_seeds
from analysis.tables import TableError, scale_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analysis.numbers import Floats
    from analysis.tables import ScoreTable


FEWEST = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What is known of the designs that may be promoted."""

    designs: tuple[str, ...]
    scales: tuple[str, ...]
    """The small ones, by size."""
    log_size_S: Floats
    score_nS: Floats
    """Means over seeds, NaN where not run."""
    seeds_nS: Floats
    noise_S: Floats
    """Standard deviation of one run, NaN where no design has two seeds."""
    large: str
    log_size: float
    """Of the large scale."""
    known_n: Floats
    """Scores at the large scale, NaN where not trained there."""
    lower_is_better: bool

    def only(self, places: Sequence[int] | NDArray[np.intp]) -> Candidates:
        """Some of the designs."""
        index = np.asarray(places, dtype=np.intp)
        return replace(
            self,
            designs=tuple(self.designs[i] for i in index),
            score_nS=self.score_nS[index],
            seeds_nS=self.seeds_nS[index],
            known_n=self.known_n[index],
        )

    def knowing(self, known_n: Floats) -> Candidates:
        """The same with other scores at the large scale."""
        return replace(self, known_n=known_n)


def candidates(table: ScoreTable, large: str, scales: Sequence[str] | None = None) -> Candidates:
    """The designs with a score at any of the small scales.

    Args:
        table: narrowed to one metric.
        large: label of the large scale, with scores or without.
        scales: the small ones to look at; all that are smaller where left out.

    Raises:
        TableError: no such small scale, none smaller, or fewer than three designs; or `large` is no size.
    """
    if not math.isfinite(scale_size(large)):
        raise TableError(f"{large!r} is no size such as 7B, so nothing can be said of what lies between it and others")
    smaller = [scale for scale in table.scales if scale_size(scale) < scale_size(large)]
    chosen = sorted(scales, key=scale_size) if scales else smaller
    if wrong := [scale for scale in chosen if scale not in smaller]:
        raise TableError(f"no scores at {wrong[0]} below {large}; smaller scales are: {', '.join(smaller) or 'none'}")
    if not chosen:
        raise TableError(f"no scores at a scale smaller than {large}; there are: {', '.join(table.scales)}")
    sign = -1.0 if table.lower_is_better else 1.0
    tables = {scale: table.per_design(scale) for scale in chosen}
    names = sorted({str(design) for frame in tables.values() for design in frame.index})
    if len(names) < FEWEST:
        raise TableError(f"{len(names)} designs at {', '.join(chosen)}; a promotion chooses among {FEWEST} or more")
    known = table.per_design(large)["mean"].reindex(names) if large in table.scales else None
    noises = [noise_between_seeds(table, scale).sd for scale in chosen]
    return Candidates(
        designs=tuple(names),
        scales=tuple(chosen),
        log_size_S=np.log([scale_size(scale) for scale in chosen]),
        score_nS=np.column_stack([sign * tables[s]["mean"].reindex(names).to_numpy(dtype=np.float64) for s in chosen]),
        seeds_nS=np.column_stack([tables[s]["seeds"].reindex(names).fillna(0).to_numpy(np.float64) for s in chosen]),
        noise_S=np.array([math.nan if noise is None else noise for noise in noises]),
        large=large,
        log_size=math.log(scale_size(large)),
        known_n=np.full(len(names), math.nan) if known is None else sign * known.to_numpy(dtype=np.float64),
        lower_is_better=table.lower_is_better,
    )
