"""The designs that a promotion chooses among, with their scores at every scale, aligned by design."""

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


MIN_DESIGNS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Scores of the n designs that may be promoted, at S small scales and at the large scale."""

    designs: tuple[str, ...]
    scales: tuple[str, ...]
    """Labels of the small scales, by size."""
    log_size_S: Floats
    """Natural logarithm of the number of parameters of the LLM."""
    score_nS: Floats
    """Means over seeds, NaN where a design was not trained. Higher is better: losses are negated."""
    seeds_nS: Floats
    """Number of seeds behind each mean."""
    noise_S: Floats
    """Standard deviation of one run, NaN where no design has two seeds."""
    large: str
    """Label of the large scale."""
    log_size: float
    """Natural logarithm of the number of parameters of the LLM at the large scale."""
    known_n: Floats
    """Scores at the large scale, NaN where a design was not trained there."""
    lower_is_better: bool
    """Whether the scores of the study were negated."""

    def subset(self, indices: Sequence[int] | NDArray[np.intp]) -> Candidates:
        """The designs with these indices, in their order."""
        index = np.asarray(indices, dtype=np.intp)
        return replace(
            self,
            designs=tuple(self.designs[i] for i in index),
            score_nS=self.score_nS[index],
            seeds_nS=self.seeds_nS[index],
            known_n=self.known_n[index],
        )

    def with_scores(self, known_n: Floats) -> Candidates:
        """The same designs with other scores at the large scale."""
        return replace(self, known_n=known_n)


def find_candidates(table: ScoreTable, large: str, scales: Sequence[str] | None = None) -> Candidates:
    """The designs with a score at any of the small scales.

    Args:
        table: narrowed to one metric.
        large: label of the large scale, with scores or without.
        scales: the small scales to use; all that are smaller than `large` if omitted.

    Raises:
        TableError: no such small scale, none smaller than `large`, fewer than three designs, or `large` is no size.
    """
    if not math.isfinite(scale_size(large)):
        reason = "so its ratio to the other scales is undefined; a label may end in its size"
        raise TableError(f"{large!r} is not a size such as 7B, {reason}: {large}-7B")
    smaller = [scale for scale in table.scales if scale_size(scale) < scale_size(large)]
    chosen = sorted(scales, key=scale_size) if scales else smaller
    if wrong := [scale for scale in chosen if scale not in smaller]:
        raise TableError(f"no scores at {wrong[0]} below {large}; smaller scales are: {', '.join(smaller) or 'none'}")
    if not chosen:
        raise TableError(f"no scores at a scale smaller than {large}; there are: {', '.join(table.scales)}")
    sign = -1.0 if table.lower_is_better else 1.0
    tables = {scale: table.per_design(scale) for scale in chosen}
    names = sorted({str(design) for frame in tables.values() for design in frame.index})
    if len(names) < MIN_DESIGNS:
        raise TableError(f"{len(names)} designs at {', '.join(chosen)}; a promotion needs {MIN_DESIGNS} or more")
    at_large = table.per_design(large)["mean"].reindex(names) if large in table.scales else None
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
        known_n=np.full(len(names), math.nan) if at_large is None else sign * at_large.to_numpy(dtype=np.float64),
        lower_is_better=table.lower_is_better,
    )
