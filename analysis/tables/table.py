"""The score table, the only currency of `analysis`: its columns, its checks, and the published tables.

A table refuses what it cannot read; the one thing it leaves out is a score that is NaN, and that it counts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

COLUMNS = ("study", "design", "scale", "seed", "samples", "benchmark", "category", "modality", "score")
"""One row is the score of one trial on one category of one benchmark, asked in one modality."""

KEY = COLUMNS[:-1]
"""What may occur once only."""

_TEXT = ("study", "design", "scale", "benchmark", "category", "modality")
_MULTIPLE = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_SIZE = re.compile(r"(?:.+[-_ ])?(\d+(?:\.\d+)?)([KMBT])", re.IGNORECASE)
_APOLLO_SCALES = {
    "Qwen2-0.5B-Instruct": "0.5B",
    "Qwen2-1.5B-Instruct": "1.5B",
    "Qwen1.5-4B-Chat": "4B",
    "Qwen2-7B-Instruct": "7B",
}
_APOLLO_FACTORS = {
    "vision_towers": "encoders",
    "clip_duration_s": "clip_duration_s",
    "tokens_per_clip": "tokens_per_clip",
    "fps": "fps",
    "data_mixture": "data_mix",
    "vision_inferred": "vision",
}
"""Column of Tables 14 and 15 -> axis. Whether vision was trained is inferred: the tables leave it out."""


class TableError(ValueError):
    """A score table that cannot be read, or a question it holds no answer to."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores, checked. Rows are in the order of their key, whatever order they came in."""

    frame: pd.DataFrame
    """`COLUMNS`, no other. `samples` is a nullable integer: unknown for published studies. Scores are finite."""
    lower_is_better: bool = False
    """True for losses and error rates."""
    factors: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Design -> its value of each axis; empty, or partly missing, where that is not known."""
    dropped: pd.DataFrame = field(init=False)
    """The rows whose score was NaN: trials that finished without this score. Kept apart, so that they are counted."""

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.frame.columns]
        if missing:
            raise TableError(f"score table lacks {_join(missing)}; its columns must be {_join(COLUMNS)}")
        frame = self.frame[list(COLUMNS)]
        _check(frame)
        types = dict.fromkeys(_TEXT, "str") | {"seed": "int64", "samples": "Int64", "score": "float64"}
        scores = frame["score"].where(frame["score"].notna(), math.nan)  # None and NA, too
        typed = frame.assign(score=scores).astype(types).sort_values(list(KEY), kind="stable", ignore_index=True)
        if self.factors.index.has_duplicates:
            twice = self.factors.index[self.factors.index.duplicated()][0]
            raise TableError(f"design {twice} has two rows of factors: keep one of them")
        scored = typed["score"].notna()
        object.__setattr__(self, "frame", typed[scored].reset_index(drop=True))
        object.__setattr__(self, "dropped", typed[~scored].reset_index(drop=True))

    @property
    def study(self) -> str:
        """The one study of this table."""
        studies = self.frame["study"].unique().tolist()
        if len(studies) != 1:
            raise TableError(
                f"one study at a time: the table holds {_join(studies)}; narrow it with only(study=...)"
                if studies
                else "the table holds no scores: no trial of it has finished"
            )
        return str(studies[0])

    @property
    def metric(self) -> str:
        """The one metric this table was narrowed to, of one study in one modality."""
        named = self.frame[["study", "benchmark", "category", "modality"]].drop_duplicates()
        if len(named) != 1:
            raise TableError(f"one metric of one study at a time, got {len(named)}: select() first")
        return "/".join(named[["benchmark", "category"]].iloc[0])

    @property
    def scales(self) -> tuple[str, ...]:
        """Labels, smallest first."""
        return tuple(sorted(self.frame["scale"].unique().tolist(), key=scale_order))

    def metrics(self, modality: str = "video") -> tuple[str, ...]:
        """Every `benchmark/category` that was scored in this modality."""
        rows = self.frame[self.frame["modality"] == modality]
        return tuple(sorted((rows["benchmark"] + "/" + rows["category"]).unique().tolist()))

    def only(self, *, study: str | None = None, samples: int | None = None) -> ScoreTable:
        """The rows of one study, or of one training budget (in samples)."""
        wanted = {name: value for name, value in (("study", study), ("samples", samples)) if value is not None}
        narrowed = self._narrow(wanted)
        if narrowed.frame.empty:
            asked = _join(f"{name} {value}" for name, value in wanted.items())
            there = (f"{name} {_join(self.frame[name].dropna().unique()) or 'unknown'}" for name in wanted)
            raise TableError(f"no scores of {asked}; there are: {'; '.join(there)}")
        return narrowed

    def select(self, metric: str | None = None, modality: str = "video") -> ScoreTable:
        """The rows of one metric, `benchmark/category`; without a name, of the only one, or the only overall one."""
        name = metric if metric is not None else self._only_overall(modality)
        there = self.metrics(modality)
        if name not in there:
            modalities = _join(self.frame["modality"].unique())
            raise TableError(
                f"no scores for {name} from {modality} in study {self.study};"
                f" there are: {_join(there) if there else f'none from {modality}, only from {modalities}'}"
            )
        benchmark, category = name.split("/", 1)
        return self._narrow({"benchmark": benchmark, "category": category, "modality": modality})

    def at(self, scale: str) -> pd.DataFrame:
        """The rows of one scale."""
        rows = self.frame[self.frame["scale"] == scale]
        if rows.empty:
            raise TableError(f"no trials at {scale} in study {self.study}; there are: {_join(self.scales)}")
        return rows

    def per_seed(self, scale: str) -> pd.DataFrame:
        """Scores of the one metric this table was narrowed to: designs down, seeds across, NaN where not run."""
        rows = self.at(scale)
        assert self.metric  # refuses where there are several
        self._refuse_mixed_budgets(rows, scale)
        return rows.pivot(index="design", columns="seed", values="score")

    def per_design(self, scale: str) -> pd.DataFrame:
        """Means over seeds of the one metric this table was narrowed to.

        Returns:
            Indexed by design, sorted: `mean` (in units of the score), `sd` (over seeds, NaN for one), `seeds`
            (their number), `samples` (the training budget of the design at this scale, may be missing).
        """
        scores = self.per_seed(scale)
        # 12 digits: designs that answer equally many questions must tie exactly, in whatever order seeds are summed.
        mean = scores.mean(axis=1).map(lambda value: float(f"{value:.12g}"))
        samples = self.at(scale).groupby("design")["samples"].first()
        return pd.DataFrame({"mean": mean, "sd": scores.std(axis=1), "seeds": scores.count(axis=1), "samples": samples})

    def _narrow(self, wanted: Mapping[str, object]) -> ScoreTable:
        def chosen(rows: pd.DataFrame) -> pd.DataFrame:
            for column, value in wanted.items():
                rows = rows[(rows[column] == value).fillna(False)]
            return rows.reset_index(drop=True)

        return self._with_rows(chosen(self.frame), chosen(self.dropped))

    def without(self, designs: Collection[str]) -> ScoreTable:
        """All rows but those of some designs."""
        frame, dropped = (rows[~rows["design"].isin(list(designs))] for rows in (self.frame, self.dropped))
        return self._with_rows(frame.reset_index(drop=True), dropped.reset_index(drop=True))

    def _with_rows(self, frame: pd.DataFrame, dropped: pd.DataFrame) -> ScoreTable:
        """Some of the rows, which have been checked and sorted: looking at each of them again takes long."""
        table = object.__new__(ScoreTable)
        values = {"lower_is_better": self.lower_is_better, "factors": self.factors, "frame": frame, "dropped": dropped}
        for name, value in values.items():
            object.__setattr__(table, name, value)
        return table

    def _only_overall(self, modality: str) -> str:
        there = self.metrics(modality)
        overall = [name for name in there if name.endswith("/overall")] if len(there) > 1 else list(there)
        if len(overall) != 1:
            raise TableError(
                f"which score? study {self.study} has no single overall one from {modality};"
                f" name one of: {_join(there) or 'none'}"
            )
        return overall[0]

    def _refuse_mixed_budgets(self, rows: pd.DataFrame, scale: str) -> None:
        """A mean over unlike budgets would be the score of no trial."""
        if rows["samples"].nunique(dropna=False) < 2:
            return
        budgets = rows.groupby("design")["samples"].nunique(dropna=False)
        mixed = budgets[budgets > 1]
        if not mixed.empty:
            raise TableError(
                f"design {mixed.index[0]} was trained at {scale} on several budgets"
                f" ({_join(rows[rows['design'] == mixed.index[0]]['samples'].unique())} samples);"
                " narrow the table to one with only(samples=...)"
            )


def scale_size(label: str) -> float:
    """Parameters behind a label such as 0.15M, 7B or Qwen2.5-7B; infinite for one that does not end in a size."""
    match = _SIZE.fullmatch(label.strip())
    return float(match[1]) * _MULTIPLE[match[2].upper()] if match else math.inf


def scale_order(label: str) -> tuple[float, str]:
    """Sort key: by size, then alphabetically, so that labels that are not sizes come last."""
    return scale_size(label), label


def published(name: str) -> ScoreTable:
    """The tables of a paper as a study. So far `apollo`: 21 designs at 4 scales, one seed (percent correct)."""
    if name != "apollo":
        raise TableError(f"no published study {name}; there is: apollo")
    folder = Path(__file__).parents[1] / "published" / "apollo"
    rows = pd.read_csv(folder / "scaling_consistency_t14_t15.csv")
    factors = (
        rows.drop_duplicates("variant").set_index("variant")[list(_APOLLO_FACTORS)].rename(columns=_APOLLO_FACTORS)
    )
    return ScoreTable(
        pd.DataFrame(
            {
                "study": name,
                "design": rows["variant"],
                "scale": rows["llm"].map(_APOLLO_SCALES),
                "seed": 0,
                # The paper gives 750K samples for its ablations, but not for these rows.
                "samples": pd.array([pd.NA] * len(rows), dtype="Int64"),
                "benchmark": name,
                "category": "overall",
                "modality": "video",
                "score": rows["average"],
            }
        ),
        factors=factors.rename_axis("design"),
    )


def _check(frame: pd.DataFrame) -> None:
    """Refuse what has no one reading; NaN scores pass, they are dropped later."""
    for column in _TEXT:
        named = _cells(frame[column], lambda cell: isinstance(cell, str) and bool(cell))
        _refuse(frame, ~named, f"{column} must be a name")
    slash = _cells(frame["benchmark"], lambda cell: "/" in str(cell))
    _refuse(frame, slash, "benchmark must hold no slash: a metric is written benchmark/category")
    _refuse(frame, ~_cells(frame["seed"], _is_whole), "seed must be a whole number")
    known = frame["samples"].notna()
    _refuse(frame, known & ~_cells(frame["samples"], _is_whole), "samples must be a whole number, or missing")
    _refuse(frame, ~_cells(frame["score"], _is_number), "score must be a number: mend the evaluation's output")
    _refuse(frame, _cells(frame["score"], _is_infinite), "score is infinite: use NaN where there is no score")
    twice = frame[frame.duplicated(list(KEY), keep=False)]
    clashes = twice.sort_values(list(KEY))  # so that the rows that clash are named side by side
    every = pd.Series(True, index=clashes.index)
    _refuse(clashes, every, "one trial has two scores for the same metric: keep one of them")


def _cells(column: pd.Series[Any], test: Callable[[object], bool]) -> pd.Series[bool]:
    """A test of each cell; of each distinct one where the column's type keeps apart what the test does."""
    if column.dtype == object:  # 1, 1.0 and True are one to pandas
        return column.map(test).astype(bool)
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return pd.Series([test(cell) for cell in distinct], dtype=bool).take(codes).set_axis(column.index)


def _is_number(cell: object) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, Real) and not isinstance(cell, bool))


def _is_infinite(cell: object) -> bool:
    return isinstance(cell, Real) and math.isinf(cell)


def _is_whole(cell: object) -> bool:
    if isinstance(cell, bool):
        return False
    return isinstance(cell, Integral) or (isinstance(cell, float) and cell.is_integer())


def _refuse(frame: pd.DataFrame, bad: pd.Series[bool], rule: str) -> None:
    """Name the first rows that break the rule."""
    if not bad.any():
        return
    rows = frame[bad]
    named = [f"row {index}: " + ", ".join(str(cell) for cell in row) for index, row in rows.head(3).T.items()]
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    raise TableError(f"{rule} ({'; '.join(named)}{more})")


def _join(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
