"""`ablate promote`: from small-scale scores to the next sweep spec at a larger scale.

Statistics are in analysis/ (transfer.py foretells, selection.py chooses); here a study is read, designs are priced, and
what was chosen is written as a spec that `ablate plan` and `ablate sweep` take as it is.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ablate.errors import UsageError
from ablate.gpus import gpu
from ablate.known_designs import KnownDesigns, known_designs
from ablate.paths import PUBLISHED, study_paths
from ablate.promotion_costs import Unit, budgets_of, costs_of, samples_of
from ablate.promotions import Promotion, keep
from ablate.record import write_text
from ablate.scales import LABEL
from ablate.study import StudyScores, load_study
from ablate.sweep_writer import Chosen, Sheet, sweep_text
from analysis.promotion import (
    Advice,
    Backtest,
    Candidates,
    Policy,
    Prediction,
    Prior,
    Selection,
    Transfer,
    advise,
    candidates,
    foretell,
    policies,
    published_prior,
    replay,
    select,
    vague_prior,
)
from analysis.tables import TableError, scale_size
from models.design import TrialConfig
from models.ladder import own_rung, rung

if TYPE_CHECKING:
    from ablate.budget import Budget
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

CALIBRATE = 4
"""Designs that are proposed for calibration where no number is given."""
MOST_NAMES = 6
"""Of designs in a message."""
_MARK = "# Promoted from study"
REGRETS, CONFIDENCES = (0.1, 0.25, 0.5, 1.0), (0.8, 0.95)
"""Of the policies that a backtest replays, in points and as chances."""
FAR = 20
"""Times the largest small scale above which a note says how far that is: the published studies end at 14 times."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is to be promoted."""

    study: str
    large: str
    llm: str | None = None
    """Of a large scale that is no label of the ladder: a hub id or folder."""
    scales: tuple[str, ...] = ()
    """Small scales to foretell from; all that are smaller where empty."""
    metric: str | None = None
    modality: str = "video"
    samples: int | None = None
    """Training budget of the small-scale scores, where a study has several."""
    designs: str | None = None
    """A sweep spec that declares the designs, for studies of imported scores."""
    gpu: str | None = None
    utilisation: float = 0.4
    seeds: tuple[int, ...] = (0,)
    budget: int | None = None
    """Training samples at the large scale; as at the small ones where left out."""
    blind: bool = False
    """As if no score at the large scale were known."""
    tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A study, read and foretold."""

    ask: Ask
    table: ScoreTable
    """Narrowed to the metric."""
    transfer: Transfer
    known: KnownDesigns
    budgets: Mapping[str, Budget]
    """Design -> what a trial of it takes at the large scale; those nobody can price are missing."""
    samples: int | None
    """Of a trial at the large scale; None where nothing tells."""
    costs_n: Floats
    """Of all seeds of each design there."""
    unit: Unit
    notes: tuple[str, ...]

    @property
    def found(self) -> Candidates:
        """The designs that may be promoted."""
        return self.transfer.candidates

    def run_costs(self) -> dict[str, Floats]:
        """Scale -> cost of one run of each design there, in `unit`: for the small scales by parameters."""
        sizes = {scale: scale_size(scale) / scale_size(self.ask.large) for scale in self.found.scales}
        run_n = self.costs_n if self.unit == "designs" else self.costs_n / len(self.ask.seeds)
        return {self.ask.large: run_n} | {scale: share * run_n for scale, share in sizes.items()}


def prepare(ask: Ask) -> Prepared:
    """Read a study, foretell its designs at the large scale, and price them there.

    Raises:
        UsageError: no such study, scale, metric or spec; too few designs.
        InfeasibleError: a design fits on no allowed number of the GPUs.
    """
    _refuse_ask(ask)
    scores = load_study(ask.study, tracking_uri=ask.tracking_uri, samples=ask.samples)
    try:
        table = scores.table.select(ask.metric or scores.metric, ask.modality)
        found = candidates(table, ask.large, ask.scales or None)
        if ask.blind:
            found = found.knowing(np.full(len(found.designs), np.nan))
        transfer = foretell(found, prior_for(ask.study))
    except TableError as error:
        raise UsageError(f"study {ask.study!r}: {error}") from None
    known = known_designs(ask.study, ask.designs)
    samples = samples_of(ask.budget, table, known)
    budgets = _budgets(ask, known, found.designs, samples)
    costs_n, unit, notes = costs_of(found.designs, budgets, len(ask.seeds))
    told = [known.note] if known.note else []
    return Prepared(
        ask=ask,
        table=table,
        transfer=transfer,
        known=known,
        budgets=budgets,
        samples=samples,
        costs_n=costs_n,
        unit=unit,
        notes=(*told, *notes, *_notes_on_scores(scores, transfer)),
    )


def prior_for(study: str) -> Prior:
    """The published prior, but for the study that it was made from."""
    return vague_prior() if study == PUBLISHED else published_prior()


def _refuse_ask(ask: Ask) -> None:
    """Before anything is read: what no study could satisfy."""
    if ask.gpu is not None:
        gpu(ask.gpu)
    for seed in ask.seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"--seeds {seed}: seeds are whole numbers from 0 to {2**32 - 1}")
        if ask.seeds.count(seed) > 1:
            raise UsageError(f"--seeds: {seed} is given twice; more replicates are more seeds, e.g. 0,1,2")
    if re.search(LABEL, ask.large) is None:
        raise UsageError(
            f"--to {ask.large}: a label is made of letters, digits, '_', '-', '.'; a letter or digit first"
        )
    try:
        if ask.llm is None:
            rung(ask.large)
        else:
            own_rung(ask.large, ask.llm)
    except (ValueError, FileNotFoundError) as error:
        mend = "" if ask.llm else f"; a scale of your own is --to {ask.large}=HUB-ID-OR-FOLDER"
        raise UsageError(f"--to {ask.large}: {error}{mend}") from None


def _budgets(ask: Ask, known: KnownDesigns, names: tuple[str, ...], samples: int | None) -> dict[str, Budget]:
    configs = {name: known.configs[name] for name in names if name in known.configs}
    if not configs:
        return {}
    if samples is None:
        raise UsageError(
            f"study {ask.study!r} has no one training budget: say with --train how many samples the new trials get"
        )
    design = next(iter(configs.values()))
    like = TrialConfig(design=design, scale=ask.large, llm=ask.llm, seed=ask.seeds[0], samples=samples)
    return budgets_of(configs, like, ask.gpu, ask.utilisation)


def _notes_on_scores(scores: StudyScores, transfer: Transfer) -> list[str]:
    found, notes = transfer.candidates, list[str]()
    if scores.all_budgets is not None:
        budgets = " and ".join(f"{one:,}" for one in sorted(scores.table.frame["samples"].dropna().unique()))
        notes.append(f"the study has several training budgets; foretold from {budgets} samples (--samples)")
    times = math.exp(found.log_size - float(found.log_size_S[-1]))
    if times > FAR:
        notes.append(
            f"{found.large} is {times:,.0f} times {found.scales[-1]}; published studies tell of steps up to 14 times, "
            "so how far scores spread there is a guess"
        )
    for scale, column in zip(found.scales, np.isfinite(found.score_nS).T, strict=True):
        if missing := [name for name, there in zip(found.designs, column, strict=True) if not there]:
            notes.append(f"no score at {scale}, so foretold less surely: {', '.join(missing)}")
    if len(found.designs) < 10:
        notes.append(
            f"only {len(found.designs)} designs: what lies between the scales rests on the prior and few points"
        )
    return [*notes, *scores.notes]


def next_steps(prepared: Prepared, wanted: float) -> Advice:
    """The training whose result is worth most for its cost, and whether to stop at an expected regret."""
    return advise(prepared.transfer, prepared.run_costs(), wanted)


def backtests(ask: Ask, *, subsets: int) -> list[Backtest]:
    """Replay policies on a study whose scores at the large scale are known, for each small scale and all together.

    Raises:
        UsageError: no such study or scale, or fewer than six designs with scores at both.
    """
    scores = load_study(ask.study, tracking_uri=ask.tracking_uri, samples=ask.samples)
    try:
        table = scores.table.select(ask.metric or scores.metric, ask.modality)
        every = candidates(table, ask.large, ask.scales or None)
        proxies = [(scale,) for scale in every.scales] + ([every.scales] if len(every.scales) > 1 else [])
        found = [every if proxy == every.scales else candidates(table, ask.large, proxy) for proxy in proxies]
        prior, several = prior_for(ask.study), policies(len(every.designs), REGRETS, CONFIDENCES)
        return [replay(each, prior, several, study=ask.study, subsets=subsets) for each in found]
    except TableError as error:
        raise UsageError(f"study {ask.study!r}: {error}") from None


def choose(prepared: Prepared, policy: Policy) -> Selection:
    """Choose designs by a policy.

    Raises:
        UsageError: a budget in GPU-hours where designs have no price, or one that buys nothing.
    """
    if policy.rule == "budget":
        if prepared.unit == "designs":
            raise UsageError("--budget needs prices: no config of these designs is known; name a spec with --designs")
        unknown = ~np.isfinite(prepared.found.known_n)
        if unknown.any() and policy.value < prepared.costs_n[unknown].min():
            least = prepared.costs_n[unknown].min()
            raise UsageError(f"--budget {policy.value:g}: the cheapest design takes {least:.4g} {prepared.unit}")
    factors = prepared.table.factors.reindex(list(prepared.found.designs))
    levels = factors.map(str).to_numpy(dtype=np.str_) if not factors.empty else None  # one not known is "nan"
    return select(prepared.transfer, policy, prepared.costs_n, levels)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a promotion left on disk."""

    spec: Path | None
    """None if there was nothing to promote, or no config of a design is known."""
    record: Path | None
    """The predictions, for `ablate consistency`; None for the published study."""
    why_not: str | None = None


def spec_path(ask: Ask, policy: Policy, output: Path | None) -> Path:
    """`sweeps/STUDY.promoted-7B.yaml` below the working directory, unless the user says otherwise."""
    what = "calibrate" if policy.rule == "calibrate" else "promoted"
    return output or Path("sweeps") / f"{ask.study}.{what}-{ask.large}.yaml"


def write(prepared: Prepared, selection: Selection, output: Path | None, run_ids: Callable[[str], str]) -> Written:
    """Write the chosen designs as a sweep spec, and keep what was foretold.

    Args:
        prepared: the study.
        selection: what was chosen.
        output: path of the spec; `spec_path` where None.
        run_ids: trial key -> its MLflow run, or "".
    """
    ask, known = prepared.ask, prepared.known
    if not selection.promoted:
        return Written(spec=None, record=None, why_not="nothing to promote: what is known holds the wish already")
    if lacking := [name for name in selection.promoted if name not in known.configs]:
        more = f" and {len(lacking) - MOST_NAMES} more" if len(lacking) > MOST_NAMES else ""
        return Written(
            spec=None,
            record=None,
            why_not=f"no spec written: no config is known of {', '.join(lacking[:MOST_NAMES])}{more}; name a spec "
            "that declares them by these names with --designs",
        )
    path = spec_path(ask, selection.policy, output)
    _refuse_strangers(path)
    text = sweep_text(_sheet(prepared, selection, run_ids), _chosen(prepared, selection), known.axes)
    if ask.study == PUBLISHED:
        write_text(path, text)
        return Written(spec=path, record=None)
    record = keep(study_paths(ask.study), _promotion(prepared, selection, path))
    try:
        write_text(path, text)
    except BaseException:  # both or neither
        record.unlink()
        raise
    return Written(spec=path, record=record)


def _refuse_strangers(path: Path) -> None:
    """Only what was written here is written over."""
    if path.exists() and not path.is_file():
        kind = "a folder; name a file in it" if path.is_dir() else "a device or pipe; name a file"
        raise UsageError(f"--output {path}: is {kind}")
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise UsageError(f"{path} exists and was not written by `ablate promote`; name another file with --output")


def _chosen(prepared: Prepared, selection: Selection) -> list[Chosen]:
    rows = {row.design: row for row in selection.candidates}
    return [
        Chosen(
            name=name,
            design=prepared.known.configs[name],
            axes=prepared.known.values.get(name, {}),
            reason=f"foretold {rows[name].predicted:+.2f} +- {rows[name].half_width:.2f}, {rows[name].reason}",
        )
        for name in selection.promoted
    ]


def _sheet(prepared: Prepared, selection: Selection, run_ids: Callable[[str], str]) -> Sheet:
    ask, known = prepared.ask, prepared.known
    assert prepared.samples is not None, "designs with configs have a budget"
    on_gpu = [b.on_gpu for name in selection.promoted if (b := prepared.budgets.get(name)) and b.on_gpu]
    benchmarks = {known.configs[name].data.benchmark for name in selection.promoted}
    is_theirs = prepared.table.metric.split("/", 1)[0].removesuffix("_prob") in benchmarks
    return Sheet(
        study=f"{ask.study}-promoted" if ask.study == PUBLISHED else ask.study,
        question=f"Do the designs foretold to be best from {' and '.join(prepared.found.scales)} hold at {ask.large}?",
        heading=[*_heading(prepared, selection), *_out(selection), *_origins(known, selection.promoted, run_ids)],
        scale=ask.large if ask.llm is None else {"label": ask.large, "llm": ask.llm},
        seeds=ask.seeds,
        samples=prepared.samples,
        metric=prepared.table.metric if is_theirs else None,
        gpus=max((one.gpus for one in on_gpu), default=None) if ask.gpu else None,
    )


def _heading(prepared: Prepared, selection: Selection) -> list[str]:
    ask, transfer = prepared.ask, prepared.transfer
    step = own_rung(ask.large, ask.llm) if ask.llm else rung(ask.large)
    scales = " and ".join(prepared.found.scales)
    lines = [
        f"{_MARK.removeprefix('# ')} {ask.study}, {scales}, by `ablate promote --to {ask.large}`: {selection.policy}.",
        f"Expected regret {selection.expected_regret:.2f} points, the winner is in with {selection.chance:.0%}; "
        f"{selection.cost:.4g} {prepared.unit}.",
        f"Of what is known of the transfer {transfer.prior_share:.0%} is prior: {transfer.prior.source}.",
        f"At {ask.large} the LLM learns at {step.llm_lr_factor:.3g} times the rates below.",
    ]
    if transfer.is_relative:
        lines.append("Foretold scores are differences to the mean of all designs: no score at this scale is known.")
    return lines


def _origins(known: KnownDesigns, names: tuple[str, ...], run_ids: Callable[[str], str]) -> list[str]:
    """The trials that each promoted design is promoted for, with their MLflow runs."""
    return [f"{name}: {_with_runs(known.trials[name], run_ids)}" for name in names if name in known.trials]


def _with_runs(trials: tuple[str, ...], run_ids: Callable[[str], str]) -> str:
    told = []
    for trial in trials:
        run = run_ids(trial.rsplit(" ", 1)[-1])
        told.append(f"{trial}{f' (run {run})' if run else ''}")
    return ", ".join(told)


def _out(selection: Selection, most: int = 12) -> list[str]:
    left = [row for row in selection.candidates if not row.is_promoted and not row.is_known]
    lines = [f"{row.design} {row.reason}" for row in left[:most]]
    return [*lines, f"and {len(left) - most} more are out"] if len(left) > most else lines


def _promotion(prepared: Prepared, selection: Selection, path: Path) -> Promotion:
    ask, transfer = prepared.ask, prepared.transfer
    return Promotion(
        study=ask.study,
        large=ask.large,
        scales=prepared.found.scales,
        metric=prepared.table.metric,
        modality=ask.modality,
        samples=prepared.samples,
        policy=str(selection.policy),
        prior=transfer.prior.source,
        prior_share=transfer.prior_share,
        is_relative=transfer.is_relative,
        is_blind=ask.blind,
        spec=str(path.resolve()),
        made_at=time.time(),
        predictions=tuple(
            Prediction(
                design=row.design, predicted=row.predicted, half_width=row.half_width, is_promoted=row.is_promoted
            )
            for row in selection.candidates
            if not row.is_known
        ),
    )
