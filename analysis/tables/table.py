"""The score table, the input of all of `analysis`: its columns, its checks, and the published tables.

A table refuses rows that are invalid. Rows whose score is NaN are the only ones left out, and they are counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.tables.scales import scale_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

COLUMNS = ("study", "design", "scale", "seed", "samples", "benchmark", "category", "modality", "score")
"""Columns. One row is the score of one trial on one category of one benchmark, evaluated in one modality."""

KEY = COLUMNS[:-1]
"""Columns that identify a row; each combination occurs at most once."""

_TEXT = ("study", "design", "scale", "benchmark", "category", "modality")
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
"""Column of Tables 14 and 15 -> axis. Whether vision was trained is inferred: the tables do not state it."""


class TableError(ValueError):
    """An invalid score table, or a selection that matches none of its rows."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Validated scores. Rows are sorted by `KEY`, in whichever order they were passed.

    Raises:
        TableError: a column is missing, a cell is invalid, or a trial has two scores of one metric; the message names
            the rows and the rule.
    """

    frame: pd.DataFrame
    """`COLUMNS` and no others. `samples` is a nullable integer: unknown for published studies. Scores are finite."""
    lower_is_better: bool = False
    """True for losses and error rates. `select` sets it to the direction of the selected metric."""
    directions: Mapping[str, bool] = field(default_factory=dict)
    """Metric -> whether lower is better, for metrics whose direction is not that of the whole table."""
    factors: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Design -> its value of each axis; empty, or partly missing, if the values are unknown."""
    order: tuple[str, ...] = ()
    """Labels of scales from small to large, for those that are no sizes."""
    dropped: pd.DataFrame = field(init=False)
    """Rows whose score is NaN: trials that finished without this score. Stored separately, so that they are counted."""

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
        """Name of the study.

        Raises:
            TableError: the table has no rows, or several studies.
        """
        studies = self.frame["study"].unique().tolist()
        if len(studies) != 1:
            raise TableError(
                f"one study at a time: the table contains {_join(studies)}; narrow it with only(study=...)"
                if studies
                else "the table contains no scores: no trial has finished"
            )
        return str(studies[0])

    @property
    def metric(self) -> str:
        """The metric, `benchmark/category`, of a table narrowed to one by `select`.

        Raises:
            TableError: the table has several metrics, studies or modalities.
        """
        metrics = self.frame[["study", "benchmark", "category", "modality"]].drop_duplicates()
        if len(metrics) != 1:
            raise TableError(f"one metric of one study at a time, got {len(metrics)}: select() first")
        return "/".join(metrics[["benchmark", "category"]].iloc[0])

    @property
    def scales(self) -> tuple[str, ...]:
        """Labels of the scales, smallest first; those that are no sizes last, in the order of `order`."""
        return tuple(sorted(self.frame["scale"].unique().tolist(), key=partial(scale_order, order=self.order)))

    def metrics(self, modality: str = "video") -> tuple[str, ...]:
        """Every `benchmark/category` with scores in a modality, sorted."""
        rows = self.frame[self.frame["modality"] == modality]
        return tuple(sorted((rows["benchmark"] + "/" + rows["category"]).unique().tolist()))

    def only(self, *, study: str | None = None, samples: int | None = None) -> ScoreTable:
        """The rows of one study, of one number of training samples, or of both.

        Raises:
            TableError: there are none; the message lists the studies or numbers of samples.
        """
        values = {name: value for name, value in (("study", study), ("samples", samples)) if value is not None}
        narrowed = self._narrow(values)
        if narrowed.frame.empty:
            selection = _join(f"{name} {value}" for name, value in values.items())
            available = (f"{name} {_join(self.frame[name].dropna().unique()) or 'unknown'}" for name in values)
            raise TableError(f"no scores with {selection}; there are: {'; '.join(available)}")
        return narrowed

    def select(self, metric: str | None = None, modality: str = "video") -> ScoreTable:
        """The rows of one metric in one modality.

        Args:
            metric: `benchmark/category`; None for the only metric of the table, or the only overall one.
            modality: input of the questions, such as video, frame or text.

        Raises:
            TableError: no such scores, or several overall metrics; the message lists the metrics.
        """
        name = metric if metric is not None else self._only_overall(modality)
        available = self.metrics(modality)
        if name not in available:
            modalities = _join(self.frame["modality"].unique())
            raise TableError(
                f"no scores for {name} with modality {modality} in study {self.study};"
                f" there are: {_join(available) if available else f'other modalities only ({modalities})'}"
            )
        benchmark, category = name.split("/", 1)
        chosen = self._narrow({"benchmark": benchmark, "category": category, "modality": modality})
        object.__setattr__(chosen, "lower_is_better", self.directions.get(name, self.lower_is_better))
        return chosen

    def at(self, scale: str) -> pd.DataFrame:
        """The rows of one scale.

        Raises:
            TableError: there are none; the message lists the scales.
        """
        rows = self.frame[self.frame["scale"] == scale]
        if rows.empty:
            raise TableError(f"no trials at {scale} in study {self.study}; there are: {_join(self.scales)}")
        return rows

    def per_seed(self, scale: str) -> pd.DataFrame:
        """Scores of one metric by seed; the table must be narrowed to the metric.

        Returns:
            Designs as rows, seeds as columns, NaN for trials that were not run.

        Raises:
            TableError: no trials at the scale, several metrics, or a design with several numbers of training samples.
        """
        rows = self.at(scale)
        assert self.metric  # the property raises if there are several
        self._refuse_mixed_samples(rows, scale)
        return rows.pivot(index="design", columns="seed", values="score")

    def per_design(self, scale: str) -> pd.DataFrame:
        """Means of one metric over seeds; the table must be narrowed to the metric.

        Returns:
            Indexed by design, sorted: `mean` (in units of the score), `sd` (over seeds, NaN for one), `seeds`
            (their number), `samples` (number of training samples of the design at this scale, may be missing).

        Raises:
            TableError: as `per_seed`.
        """
        scores = self.per_seed(scale)
        # 12 digits: designs with equally many right answers must tie exactly, in whichever order seeds are summed.
        mean = scores.mean(axis=1).map(lambda value: float(f"{value:.12g}"))
        samples = self.at(scale).groupby("design")["samples"].first()
        return pd.DataFrame({"mean": mean, "sd": scores.std(axis=1), "seeds": scores.count(axis=1), "samples": samples})

    def _narrow(self, values: Mapping[str, object]) -> ScoreTable:
        """The rows with a value in each of some columns."""

        def matching(rows: pd.DataFrame) -> pd.DataFrame:
            for column, value in values.items():
                rows = rows[(rows[column] == value).fillna(False)]
            return rows.reset_index(drop=True)

        return self._with_rows(matching(self.frame), matching(self.dropped))

    def without(self, designs: Collection[str]) -> ScoreTable:
        """All rows except those of some designs."""
        frame, dropped = (rows[~rows["design"].isin(list(designs))] for rows in (self.frame, self.dropped))
        return self._with_rows(frame.reset_index(drop=True), dropped.reset_index(drop=True))

    def _with_rows(self, frame: pd.DataFrame, dropped: pd.DataFrame) -> ScoreTable:
        """A table of some of the rows. They are valid and sorted already, so the slow checks are skipped."""
        table = object.__new__(ScoreTable)
        for name in ("lower_is_better", "directions", "factors", "order"):
            object.__setattr__(table, name, getattr(self, name))
        object.__setattr__(table, "frame", frame)
        object.__setattr__(table, "dropped", dropped)
        return table

    def _only_overall(self, modality: str) -> str:
        available = self.metrics(modality)
        overall = [name for name in available if name.endswith("/overall")] if len(available) > 1 else list(available)
        if len(overall) != 1:
            raise TableError(
                f"metric required: study {self.study} has no unique overall score with modality {modality};"
                f" choose one of: {_join(available) or 'none'}"
            )
        return overall[0]

    def _refuse_mixed_samples(self, rows: pd.DataFrame, scale: str) -> None:
        """Refuse means over trials that were trained on different numbers of samples: they describe no trial."""
        if rows["samples"].nunique(dropna=False) < 2:
            return
        numbers = rows.groupby("design")["samples"].nunique(dropna=False)
        mixed = numbers[numbers > 1]
        if not mixed.empty:
            raise TableError(
                f"design {mixed.index[0]} was trained at {scale} on different numbers of samples"
                f" ({_join(rows[rows['design'] == mixed.index[0]]['samples'].unique())});"
                " narrow the table to one of them with only(samples=...)"
            )


def published(name: str) -> ScoreTable:
    """The tables of a paper as a study.

    Args:
        name: `apollo`, the only one so far: 21 designs at 4 scales, one seed, scores in percent correct.

    Raises:
        TableError: no study of this name is included.
    """
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
    """Refuse cells that are missing, of a wrong type or ambiguous; NaN scores pass and are dropped later."""
    for column in _TEXT:
        is_name = _cells(frame[column], lambda cell: isinstance(cell, str) and bool(cell))
        _refuse(frame, ~is_name, f"{column} must be a name")
    has_slash = _cells(frame["benchmark"], lambda cell: "/" in str(cell))
    _refuse(frame, has_slash, "benchmark must not contain a slash: a metric is written benchmark/category")
    _refuse(frame, ~_cells(frame["seed"], _is_whole), "seed must be a whole number")
    has_samples = frame["samples"].notna()
    _refuse(frame, has_samples & ~_cells(frame["samples"], _is_whole), "samples must be a whole number, or missing")
    _refuse(frame, ~_cells(frame["score"], _is_number), "score must be a number: fix the evaluation's output")
    _refuse(frame, _cells(frame["score"], _is_infinite), "score is infinite: use NaN for a missing score")
    twice = frame[frame.duplicated(list(KEY), keep=False)]
    clashes = twice.sort_values(list(KEY))  # so that the message names conflicting rows side by side
    all_rows = pd.Series(True, index=clashes.index)
    _refuse(clashes, all_rows, "one trial has two scores for the same metric: keep one of them")


def _cells(column: pd.Series[Any], test: Callable[[object], bool]) -> pd.Series[bool]:
    """Result of a test for each cell. Distinct cells are tested once, unless the column mixes types."""
    if column.dtype == object:  # pandas takes 1, 1.0 and True for the same value
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
    """Raise a TableError with the rule and the first rows that break it, if any do."""
    if not bad.any():
        return
    rows = frame[bad]
    examples = [f"row {index}: " + ", ".join(str(cell) for cell in row) for index, row in rows.head(3).T.items()]
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    raise TableError(f"{rule} ({'; '.join(examples)}{more})")


def _join(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
