"""The axes of a study's designs as text, and sets of designs that differ in a single axis.

Legend: `n` designs; `m` designs that have a partner; `P` pairs.
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

NO_VALUE = "not set"
"""Text of an axis without a value. Designs to which an axis does not apply share this level of it."""


def factors_as_text(factors: pd.DataFrame, designs: Iterable[str]) -> pd.DataFrame:
    """Axis values of designs as text.

    Args:
        factors: design -> its value of each axis, as in `ScoreTable.factors`.
        designs: their names.

    Returns:
        One row per design, in the order of `designs`; designs without any value are left out.
    """
    rows = factors.reindex([design for design in designs if design in factors.index])
    rows = rows[rows.notna().any(axis="columns")] if len(rows.columns) else rows.iloc[:0]
    return pd.DataFrame(
        {name: [value_as_text(value) for value in rows[name]] for name in rows}, index=rows.index, dtype="str"
    )


def value_as_text(value: object) -> str:
    """Text of an axis value: 2 and 2.0 are the same, 1e-05 is not rounded, a missing value is `NO_VALUE`."""
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        number = float(value)
        if number != number:
            return NO_VALUE
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return NO_VALUE if value is None or value is pd.NA or value is pd.NaT else str(value)


def levels_of(column: Iterable[str]) -> list[str]:
    """Distinct values of an axis, sorted: numbers by size, then words alphabetically."""

    def order(value: str) -> tuple[bool, float, str]:
        number = _number(value)
        return number is None, number or 0.0, value

    return sorted(set(column), key=order)


def level_named(name: str, levels: Sequence[str]) -> str | None:
    """The level with a name: the same text, else the same number, else the same text in another case.

    Returns:
        None if no level matches, or several do.
    """
    if name in levels:
        return name
    number = _number(name)
    matches = [v for v in levels if (number is not None and _number(v) == number) or v.casefold() == name.casefold()]
    return matches[0] if len(matches) == 1 else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


@dataclass(frozen=True, eq=False)
class Blocks:
    """Designs in blocks: within a block, they differ in a single axis. Sorted by block, then by level."""

    levels: tuple[str, ...]
    design_m: NDArray[np.intp]
    """Indices into the rows of the factors."""
    block_m: NDArray[np.intp]
    """Number of the block of each design."""
    level_m: NDArray[np.intp]
    """Indices into `levels`."""
    confused: tuple[str, ...]
    """Designs left out because another design has the same value of every axis."""

    def every_pair(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """All pairs within blocks, as two arrays of P indices into the factors' rows: lower level, higher level."""
        ones, others = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
        most = int(np.bincount(self.block_m).max()) if len(self.block_m) else 0
        for step in range(1, most):
            in_one_block = self.block_m[step:] == self.block_m[:-step]
            ones.append(self.design_m[:-step][in_one_block])
            others.append(self.design_m[step:][in_one_block])
        return np.concatenate(ones), np.concatenate(others)

    def against(self, level: int, baseline: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of two levels, as two arrays of P indices into the factors' rows: with `level`, with `baseline`."""
        one, other = self.level_m == level, self.level_m == baseline
        _, i, j = np.intersect1d(self.block_m[one], self.block_m[other], assume_unique=True, return_indices=True)
        return self.design_m[one][i], self.design_m[other][j]


def blocks(factors: pd.DataFrame, axis: str) -> Blocks:
    """Blocks of designs that differ in `axis` alone.

    Args:
        factors: from `factors_as_text`.
        axis: one of its columns.
    """
    others = [name for name in factors if name != axis]
    levels = levels_of(factors[axis])
    level_n = np.asarray(factors[axis].map({level: index for index, level in enumerate(levels)}), dtype=np.intp)
    block_n = np.zeros(len(factors), dtype=np.intp)
    if others:
        block_n = np.asarray(factors.groupby(others, sort=False).ngroup(), dtype=np.intp)
    _, cell_n, counts = np.unique(block_n * len(levels) + level_n, return_inverse=True, return_counts=True)
    is_unique_n = counts[cell_n] == 1
    size_n = np.bincount(block_n[is_unique_n], minlength=len(factors))[block_n]
    design_m = np.flatnonzero(is_unique_n & (size_n > 1))
    design_m = design_m[np.lexsort((level_n[design_m], block_n[design_m]))]
    return Blocks(
        levels=tuple(levels),
        design_m=design_m,
        block_m=block_n[design_m],
        level_m=level_n[design_m],
        confused=tuple(map(str, factors.index[~is_unique_n])),
    )
