"""The axes of a study's designs as text: how values are written, and which designs differ in one axis alone.

Legend: `n` designs; `m` those of them that have a partner; `P` pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

UNTOLD = "not told"
"""How an axis without a value is written: designs to which an axis does not apply are alike in it."""


def told(factors: pd.DataFrame, designs: Iterable[str]) -> pd.DataFrame:
    """The axes of those designs that have a value of any, as text, in the order given."""
    rows = factors.reindex([design for design in designs if design in factors.index])
    rows = rows[rows.notna().any(axis="columns")] if len(rows.columns) else rows.iloc[:0]
    return pd.DataFrame(
        {name: [written(value) for value in rows[name]] for name in rows}, index=rows.index, dtype="str"
    )


def written(value: object) -> str:
    """A value as people write it: 2 and 2.0 are one, 1e-05 is not rounded."""
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        number = float(value)
        if number != number:
            return UNTOLD
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return UNTOLD if value is None or value is pd.NA or value is pd.NaT else str(value)


def levels_of(column: Iterable[str]) -> list[str]:
    """The values of an axis: numbers by size, before words by letter."""

    def order(value: str) -> tuple[bool, float, str]:
        number = _number(value)
        return number is None, number or 0.0, value

    return sorted(set(column), key=order)


def level_named(wanted: str, levels: Sequence[str]) -> str | None:
    """The value that is meant: as written, or as the same number, or but for upper and lower case."""
    if wanted in levels:
        return wanted
    number = _number(wanted)
    same = [v for v in levels if (number is not None and _number(v) == number) or v.casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


@dataclass(frozen=True, eq=False)
class Blocks:
    """Designs in sets that differ in one axis alone. Sorted by block, within it by level."""

    levels: tuple[str, ...]
    design_m: NDArray[np.intp]
    """Places in the factors' rows."""
    block_m: NDArray[np.intp]
    level_m: NDArray[np.intp]
    """Places in `levels`."""
    confused: tuple[str, ...]
    """Designs left out since the axes do not tell them from another one."""

    def every_pair(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Both designs of each pair within a block, the lower level first, P of each."""
        ones, others = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
        most = int(np.bincount(self.block_m).max()) if len(self.block_m) else 0
        for step in range(1, most):
            together = self.block_m[step:] == self.block_m[:-step]
            ones.append(self.design_m[:-step][together])
            others.append(self.design_m[step:][together])
        return np.concatenate(ones), np.concatenate(others)

    def against(self, level: int, baseline: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Designs with one level and their partners with another, P of each."""
        one, other = self.level_m == level, self.level_m == baseline
        _, i, j = np.intersect1d(self.block_m[one], self.block_m[other], assume_unique=True, return_indices=True)
        return self.design_m[one][i], self.design_m[other][j]


def blocks(factors: pd.DataFrame, axis: str) -> Blocks:
    """Sets of designs that differ in `axis` alone.

    Args:
        factors: from `told`.
        axis: one of its columns.
    """
    others = [name for name in factors if name != axis]
    levels = levels_of(factors[axis])
    level_n = np.asarray(factors[axis].map({level: place for place, level in enumerate(levels)}), dtype=np.intp)
    block_n = np.zeros(len(factors), dtype=np.intp)
    if others:
        block_n = np.asarray(factors.groupby(others, sort=False).ngroup(), dtype=np.intp)
    _, cell_n, counts = np.unique(block_n * len(levels) + level_n, return_inverse=True, return_counts=True)
    alone_n = counts[cell_n] == 1
    partners_n = np.bincount(block_n[alone_n], minlength=len(factors))[block_n]
    kept = np.flatnonzero(alone_n & (partners_n > 1))
    kept = kept[np.lexsort((level_n[kept], block_n[kept]))]
    return Blocks(
        levels=tuple(levels),
        design_m=kept,
        block_m=block_n[kept],
        level_m=level_n[kept],
        confused=tuple(map(str, factors.index[~alone_n])),
    )
