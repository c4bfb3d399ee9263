"""What inflates R^2: single designs, and factors so strong that any two scales agree on them.

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
from analysis.tables import UNTOLD, told, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analysis.numbers import Floats

MOST_REMOVED = 3
"""Designs that are taken away one after another to see what R^2 rests on."""
FEWEST_LEFT = 4
"""Designs below which nothing more is taken away."""


@dataclass(frozen=True)
class Removal:
    """R^2 once this design, and those of the removals before, are left out."""

    design: str
    r2: float | None


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """R^2 of what is left of the scores once some means are taken from both scales."""

    r2: float | None
    n: int
    """Designs that say anything: within levels, those that share theirs with another one."""
    freedom: int
    """Designs less the means that were fitted: of so many independent differences R^2 is made."""
    left_out: tuple[str, ...]
    """Within levels, designs alone in theirs or without a value of the factor; else those of which no axis is known."""


def r2_without_each(x_n: Floats, y_n: Floats) -> Floats:
    """R^2 without each design in turn."""
    return agreement.jackknife(agreement.weighted_r2, x_n, y_n)


def most_influential(designs: Sequence[str], x_n: Floats, y_n: Floats) -> tuple[Removal, ...]:
    """Up to `MOST_REMOVED` designs, at each step the one without which R^2 is lowest.

    On the paper's tables these are v07, v14 and v21 for each small scale against 7B: those whose training collapsed.
    """
    left, removed = list(range(len(designs))), list[Removal]()
    while len(removed) < MOST_REMOVED and len(left) > FEWEST_LEFT:
        r2_n = r2_without_each(x_n[left], y_n[left])
        if not np.isfinite(r2_n).any():
            break
        place = int(np.nanargmin(r2_n))
        removed.append(Removal(designs[left.pop(place)], float(r2_n[place])))
    return tuple(removed)


def within(designs: Sequence[str], x_n: Floats, y_n: Floats, factor: pd.Series[Any]) -> Adjusted:
    """R^2 of the scores less the mean of their level: whether designs of one level are ordered alike.

    Args:
        designs: their names.
        x_n: scores at the small scale.
        y_n: scores at the large scale.
        factor: design -> level; levels are compared as text.
    """
    level_n = np.array([written(level) for level in factor.reindex(list(designs))], dtype=object)
    sizes = Counter(level_n)
    kept = np.array([level != UNTOLD and sizes[level] > 1 for level in level_n], dtype=bool)
    groups = level_n[kept]
    less_x_n, less_y_n = (_less_mean(scores_n[kept], groups) for scores_n in (x_n, y_n))
    return Adjusted(
        r2=_r2(less_x_n, less_y_n, x_n, y_n),
        n=int(kept.sum()),
        freedom=int(kept.sum()) - len(set(groups)),
        left_out=tuple(name for name, is_kept in zip(designs, kept, strict=True) if not is_kept),
    )


def without_main_effects(designs: Sequence[str], x_n: Floats, y_n: Floats, factors: pd.DataFrame) -> Adjusted:
    """R^2 of the residuals once each factor's levels had their own additive effect, at both scales.

    What remains are interactions and noise: whether the scales agree on more than "more tokens are better". An axis
    that does not apply to a design counts as a level; designs of which no axis is known are left out.
    """
    table = told(factors, designs)
    kept = np.isin(np.array(designs, dtype=object), table.index.to_numpy(dtype=object))
    varied = sorted((name for name in table if table[name].nunique() > 1), key=lambda name: table[name].nunique())
    # The axis with most levels is taken out by its means, before the others: as least squares, but quick for thousands.
    groups = table[varied[-1]].to_numpy() if varied else np.zeros(len(table))
    dummies = [pd.get_dummies(table[name], drop_first=True).to_numpy(dtype=np.float64).T for name in varied[:-1]]
    columns = [_less_mean(column, groups) for levels in dummies for column in levels]
    u, singular, _ = np.linalg.svd(np.column_stack([np.zeros(len(table)), *columns]), full_matrices=False)
    basis = u[:, singular > 1e-9 * singular.max(initial=1.0)]
    less_x_n, less_y_n = (_less_mean(scores_n[kept], groups) for scores_n in (x_n, y_n))
    rest_x_n, rest_y_n = (less_n - basis @ (basis.T @ less_n) for less_n in (less_x_n, less_y_n))
    freedom = len(table) - len(set(groups)) - basis.shape[1]
    return Adjusted(
        r2=_r2(rest_x_n, rest_y_n, x_n, y_n) if freedom > 1 else None,
        n=len(table),
        freedom=freedom,
        left_out=tuple(name for name, is_kept in zip(designs, kept, strict=True) if not is_kept),
    )


def _less_mean(scores_n: Floats, group_n: NDArray[Any]) -> Floats:
    means = pd.Series(scores_n).groupby(group_n).transform("mean").to_numpy()
    return np.asarray(scores_n - means)


def _r2(rest_x_n: Floats, rest_y_n: Floats, x_n: Floats, y_n: Floats) -> float | None:
    """R^2 of what is left of the scores; None where that is rounding."""
    lefts = ((rest_x_n, x_n), (rest_y_n, y_n))
    if len(rest_x_n) < 3 or any(np.ptp(rest) <= 1e-12 * np.abs(whole).max() for rest, whole in lefts):
        return None
    value = agreement.r2(rest_x_n, rest_y_n)
    return value if math.isfinite(value) else None
