"""What inflates R^2: single designs, and factors so strong that any two scales agree on them.

Legend: `n` designs; x_n and y_n their scores at the small and at the large scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import agreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.agreement import Floats

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
    """Designs that say anything: those that share their level with another one."""
    freedom: int
    """Designs less the means that were fitted: of so many independent differences R^2 is made."""
    left_out: tuple[str, ...]
    """Designs alone in their level, or without a value of the factor."""


def r2_without_each(x_n: Floats, y_n: Floats) -> Floats:
    """R^2 without each design in turn."""
    return agreement.jackknife(agreement.weighted_r2, x_n, y_n)


def most_influential(designs: Sequence[str], x_n: Floats, y_n: Floats) -> tuple[Removal, ...]:
    """Up to `MOST_REMOVED` designs, at each step the one without which R^2 is lowest.

    On the paper's tables these are v07, v14 and v21 for each small scale against 7B: the three whose training collapsed.
    """
    left, removed = list(range(len(designs))), []
    while len(removed) < MOST_REMOVED and len(left) > FEWEST_LEFT:
        r2_n = r2_without_each(x_n[left], y_n[left])
        if not np.isfinite(r2_n).any():
            break
        place = int(np.nanargmin(r2_n))
        removed.append(Removal(designs[left.pop(place)], float(r2_n[place])))
    return tuple(removed)


def within(designs: Sequence[str], x_n: Floats, y_n: Floats, factor: pd.Series) -> Adjusted:  # type: ignore[type-arg]
    """R^2 of the scores less the mean of their level: whether designs of one level are ordered alike.

    Args:
        designs: their names.
        x_n: scores at the small scale.
        y_n: scores at the large scale.
        factor: design -> level; levels are compared as text.
    """
    level_n = factor.reindex(list(designs))
    counts = level_n.astype("str").where(level_n.notna()).value_counts()
    kept = np.array([pd.notna(level) and counts[str(level)] > 1 for level in level_n], dtype=bool)
    groups = level_n[kept].astype("str").to_numpy()
    centred = [_less_mean(scores_n[kept], groups) for scores_n in (x_n, y_n)]
    return Adjusted(
        r2=_r2(*centred),
        n=int(kept.sum()),
        freedom=int(kept.sum()) - len(set(groups)),
        left_out=tuple(name for name, is_kept in zip(designs, kept, strict=True) if not is_kept),
    )


def without_main_effects(designs: Sequence[str], x_n: Floats, y_n: Floats, factors: pd.DataFrame) -> Adjusted:
    """R^2 of the residuals once each factor's levels had their own additive effect, at both scales.

    What remains are interactions and noise: whether the scales agree on more than "more tokens are better".
    """
    table = factors.reindex(list(designs))
    kept = table.notna().all(axis="columns").to_numpy()
    varied = [name for name in table if table[name][kept].astype("str").nunique() > 1]
    levels = pd.get_dummies(table[varied][kept].astype("str"), drop_first=True) if varied else pd.DataFrame()
    x_np = np.column_stack([np.ones(int(kept.sum())), *levels.to_numpy(dtype=np.float64).T])
    u, singular, _ = np.linalg.svd(x_np, full_matrices=False)
    basis = u[:, singular > 1e-9 * singular.max(initial=1.0)]
    rest = [scores_n[kept] - basis @ (basis.T @ scores_n[kept]) for scores_n in (x_n, y_n)]
    freedom = int(kept.sum()) - basis.shape[1]
    return Adjusted(
        r2=_r2(*rest) if freedom > 1 else None,
        n=int(kept.sum()),
        freedom=freedom,
        left_out=tuple(name for name, is_kept in zip(designs, kept, strict=True) if not is_kept),
    )


def _less_mean(scores_n: Floats, group_n: np.ndarray) -> Floats:
    means = pd.Series(scores_n).groupby(group_n).transform("mean").to_numpy()
    return np.asarray(scores_n - means)


def _r2(x_n: Floats, y_n: Floats) -> float | None:
    """None where rounding is all that is left."""
    if len(x_n) < 3 or min(np.ptp(x_n), np.ptp(y_n)) < 1e-9:
        return None
    value = agreement.r2(x_n, y_n)
    return value if math.isfinite(value) else None
