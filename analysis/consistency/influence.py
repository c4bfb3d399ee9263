"""What inflates R^2: influential designs, and factors with effects so large that any two scales agree on them.

Legend: `n` designs; x_n and y_n their scores at the small and at the large scale.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.numbers import agreement
from analysis.tables import NO_VALUE, factors_as_text, value_as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analysis.numbers import Floats

MOST_REMOVED = 3
"""Designs that are removed one after another to find those on which R^2 depends most."""
FEWEST_LEFT = 4
"""Designs below which no further one is removed."""


@dataclass(frozen=True)
class Removal:
    """R^2 without this design and those of the removals before it."""

    design: str
    r2: float | None


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """R^2 of the residuals after means of groups were subtracted from the scores of both scales."""

    r2: float | None
    n: int
    """Number of designs used; within levels, those that share their level with another one."""
    freedom: int
    """Degrees of freedom: number of designs less the number of fitted means."""
    left_out: tuple[str, ...]
    """Within levels, designs alone in their level or without a value of the factor; else those without any axis."""


def r2_without_each(x_n: Floats, y_n: Floats) -> Floats:
    """R^2 without each design in turn, shape (n,)."""
    return agreement.jackknife(agreement.weighted_r2, x_n, y_n)


def most_influential(designs: Sequence[str], x_n: Floats, y_n: Floats) -> tuple[Removal, ...]:
    """Up to `MOST_REMOVED` designs; each step removes the one without which R^2 is lowest.

    On the paper's tables these are v07, v14 and v21 for each small scale against 7B: those whose training collapsed.
    """
    left, removed = list(range(len(designs))), list[Removal]()
    while len(removed) < MOST_REMOVED and len(left) > FEWEST_LEFT:
        r2_n = r2_without_each(x_n[left], y_n[left])
        if not np.isfinite(r2_n).any():
            break
        lowest = int(np.nanargmin(r2_n))
        removed.append(Removal(designs[left.pop(lowest)], float(r2_n[lowest])))
    return tuple(removed)


def within(designs: Sequence[str], x_n: Floats, y_n: Floats, factor: pd.Series[Any]) -> Adjusted:
    """R^2 of the scores less the mean of their level: agreement about the designs within a level.

    Args:
        designs: names of the n designs.
        x_n: scores at the small scale.
        y_n: scores at the large scale.
        factor: design -> level of one axis; levels are compared as text.
    """
    level_n = np.array([value_as_text(level) for level in factor.reindex(list(designs))], dtype=object)
    sizes = Counter(level_n)
    is_used = np.array([level != NO_VALUE and sizes[level] > 1 for level in level_n], dtype=bool)
    groups = level_n[is_used]
    less_x_n, less_y_n = (_less_mean(scores_n[is_used], groups) for scores_n in (x_n, y_n))
    return Adjusted(
        r2=_r2(less_x_n, less_y_n, x_n, y_n),
        n=int(is_used.sum()),
        freedom=int(is_used.sum()) - len(set(groups)),
        left_out=tuple(name for name, used in zip(designs, is_used, strict=True) if not used),
    )


def without_main_effects(designs: Sequence[str], x_n: Floats, y_n: Floats, factors: pd.DataFrame) -> Adjusted:
    """R^2 of the residuals of an additive model of all factors, fitted at each scale.

    The residuals contain interactions and noise: whether the scales agree on more than "more tokens are better". An
    axis that does not apply to a design counts as a level; designs without a value of any axis are left out.

    Args:
        designs: names of the n designs.
        x_n: scores at the small scale.
        y_n: scores at the large scale.
        factors: designs x axes.
    """
    table = factors_as_text(factors, designs)
    is_used = np.isin(np.array(designs, dtype=object), table.index.to_numpy(dtype=object))
    varied = sorted((name for name in table if table[name].nunique() > 1), key=lambda name: table[name].nunique())
    # The axis with most levels is fitted first, by its means: equal to least squares, and fast for thousands of levels.
    groups = table[varied[-1]].to_numpy() if varied else np.zeros(len(table))
    dummies = [pd.get_dummies(table[name], drop_first=True).to_numpy(dtype=np.float64).T for name in varied[:-1]]
    columns = [_less_mean(column, groups) for levels in dummies for column in levels]
    u, singular, _ = np.linalg.svd(np.column_stack([np.zeros(len(table)), *columns]), full_matrices=False)
    basis = u[:, singular > 1e-9 * singular.max(initial=1.0)]
    less_x_n, less_y_n = (_less_mean(scores_n[is_used], groups) for scores_n in (x_n, y_n))
    rest_x_n, rest_y_n = (less_n - basis @ (basis.T @ less_n) for less_n in (less_x_n, less_y_n))
    freedom = len(table) - len(set(groups)) - basis.shape[1]
    return Adjusted(
        r2=_r2(rest_x_n, rest_y_n, x_n, y_n) if freedom > 1 else None,
        n=len(table),
        freedom=freedom,
        left_out=tuple(name for name, used in zip(designs, is_used, strict=True) if not used),
    )


def _less_mean(scores_n: Floats, group_n: NDArray[Any]) -> Floats:
    means = pd.Series(scores_n).groupby(group_n).transform("mean").to_numpy()
    return np.asarray(scores_n - means)


def _r2(rest_x_n: Floats, rest_y_n: Floats, x_n: Floats, y_n: Floats) -> float | None:
    """R^2 of residuals; None where they are rounding errors."""
    residuals = ((rest_x_n, x_n), (rest_y_n, y_n))
    if len(rest_x_n) < 3 or any(np.ptp(rest) <= 1e-12 * np.abs(whole).max() for rest, whole in residuals):
        return None
    value = agreement.r2(rest_x_n, rest_y_n)
    return value if math.isfinite(value) else None
