"""`ablate promote`: from small-scale scores to the next sweep spec at a larger scale.

The statistics are in analysis/promotion (transfer.py predicts, selection.py chooses). This package reads a study,
prices its designs, and writes the chosen ones as a spec for `ablate plan` and `ablate sweep`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ablate.errors import UsageError
from ablate.paths import PUBLISHED
from ablate.plan import gpu
from ablate.promotion.costs import Unit, costs_of, costs_of_own_trainer, hours_by_scale, prices_of, samples_of
from ablate.promotion.own_trainer import OwnTrainer, own_trainer
from ablate.spec import SCALE_LABEL
from ablate.study import KnownDesigns, StudyScores, factors_in_words, known_designs, load_study
from analysis.promotion import (
    Candidates,
    Prior,
    Transfer,
    find_candidates,
    predict,
    published_prior,
    vague_prior,
)
from analysis.tables import TableError, scale_size
from models.design import TrialConfig
from models.ladder import own_scale_card, scale_card

if TYPE_CHECKING:
    from ablate.plan import Price
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable


CALIBRATE = 4
"""Number of designs that a note proposes for calibration."""
FAR = 20
"""Ratio of the large scale to the largest small one above which a note warns: published studies end at 14."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to promote: a study, its scores, and the large scale."""

    study: str
    large: str
    """Label of the large scale."""
    llm: str | None = None
    """Hub id or folder of the LLM, for a large scale that is not on the ladder."""
    scales: tuple[str, ...] = ()
    """Small scales to predict from; all that are smaller if empty."""
    metric: str | None = None
    modality: str = "video"
    samples: int | None = None
    """Number of training samples behind the scores, where a study has several."""
    designs: str | None = None
    """A sweep spec that declares the designs, for studies of imported scores."""
    gpu: str | None = None
    """The GPU to price against."""
    utilisation: float = 0.4
    """Share of the GPU's peak that training reaches."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the new trials."""
    train_samples: int | None = None
    """Number of training samples at the large scale; that of the small scales if omitted."""
    blind: bool = False
    """Whether to ignore scores at the large scale."""
    tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A study with its predictions and costs at the large scale."""

    request: Request
    table: ScoreTable
    """Scores of the study, narrowed to the metric."""
    transfer: Transfer
    """Posterior of the scores at the large scale."""
    study_designs: KnownDesigns
    """Configs of the designs."""
    prices: Mapping[str, Price]
    """Design -> price of a trial at the large scale; designs that cannot be priced are missing."""
    samples: int | None
    """Number of training samples of a trial at the large scale; None where unknown."""
    llm_lr_factor: float | None
    """Factor of the LLM's learning rates at the large scale that the study's trials there state; None if none."""
    costs_n: Floats
    """Cost of all seeds of each design at the large scale, in `unit`."""
    unit: Unit
    trainer: OwnTrainer | None = None
    """The spec of the user's own trainer; None for ablate's."""
    scale_hours: Mapping[str, float] = field(default_factory=dict)
    """Scale -> GPU-hours of one run of the user's own trainer there, where stated or measured."""
    notes: tuple[str, ...]
    """Warnings for the user."""

    @property
    def candidates(self) -> Candidates:
        """The designs that may be promoted."""
        return self.transfer.candidates

    def run_costs(self) -> dict[str, Floats]:
        """Scale -> cost of one run of each design there, in `unit`.

        At small scales where the cost of the user's own trainer is neither stated nor measured, and for ablate's own
        trainer, it is in proportion to parameters.
        """
        run_n = self.costs_n if self.unit == "designs" else self.costs_n / len(self.request.seeds)
        costs = {self.request.large: run_n}
        for scale in self.candidates.scales:
            if self.unit == "GPU-hours" and scale in self.scale_hours:
                costs[scale] = np.full_like(run_n, self.scale_hours[scale])
            else:
                costs[scale] = run_n * (scale_size(scale) / scale_size(self.request.large))
        return costs


def prepare(request: Request) -> Prepared:
    """Read a study, predict its designs at the large scale, and price them there.

    Raises:
        UsageError: no such study, scale, metric or spec; too few designs.
        InfeasibleError: a design fits on no allowed number of the GPUs.
    """
    _refuse_invalid(request)
    designs = known_designs(request.study, request.designs)
    trainer = own_trainer(designs, request.large, request.llm) if designs.open_designs else None
    if trainer is None:
        _refuse_unknown_scale(request)
    scores = load_study(request.study, tracking_uri=request.tracking_uri, samples=request.samples)
    table, transfer = _predicted(request, scores)
    names = transfer.candidates.designs
    samples = samples_of(request.train_samples, table, designs)
    factor = _stated_factor(request, designs)
    prices = _prices(request, designs, names, samples)
    hours = {} if trainer is None else hours_by_scale(trainer, request.study, samples)
    if trainer is None:
        costs_n, unit, notes = costs_of(names, prices, len(request.seeds))
    else:
        numbers = len(names), len(request.seeds)
        costs_n, unit, notes = costs_of_own_trainer(trainer, hours, request.large, numbers)
    notes = [designs.note, *notes] if designs.note else notes
    return Prepared(
        request=request,
        table=table,
        transfer=transfer,
        study_designs=designs,
        prices=prices,
        samples=samples,
        llm_lr_factor=factor,
        costs_n=costs_n,
        scale_hours=hours,
        trainer=trainer,
        unit=unit,
        notes=(*notes, *(trainer.notes if trainer else ()), *_notes_on_scores(scores, transfer)),
    )


def _predicted(request: Request, scores: StudyScores) -> tuple[ScoreTable, Transfer]:
    """The scores of the metric, and the prediction of all designs at the large scale.

    Raises:
        UsageError: no such metric or scale, or too few designs.
    """
    try:
        table = scores.table.select(request.metric or scores.metric, request.modality)
        candidates = find_candidates(table, request.large, request.scales or None)
        if request.blind:
            candidates = candidates.with_scores(np.full(len(candidates.designs), np.nan))
        return table, predict(candidates, prior_for(request.study))
    except TableError as error:
        raise UsageError(f"study {request.study!r}: {error}") from None


def prior_for(study: str) -> Prior:
    """The published prior; the vague one for the study that the published prior was fitted to."""
    return vague_prior() if study == PUBLISHED else published_prior()


def _refuse_invalid(request: Request) -> None:
    """Refuse requests that are invalid for any study, before one is read."""
    if request.gpu is not None:
        gpu(request.gpu)
    for seed in request.seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"--seeds {seed}: seeds are whole numbers from 0 to {2**32 - 1}")
        if request.seeds.count(seed) > 1:
            raise UsageError(f"--seeds: {seed} is given twice; more replicates are more seeds, e.g. 0,1,2")
    if re.search(SCALE_LABEL, request.large) is None:
        raise UsageError(
            f"--to {request.large}: a label has letters, digits, '_', '-' and '.', and begins with a letter or digit"
        )


def _refuse_unknown_scale(request: Request) -> None:
    """Refuse a large scale that ablate's own trainer does not know."""
    try:
        if request.llm is None:
            scale_card(request.large)
        else:
            own_scale_card(request.large, request.llm)
    except (ValueError, FileNotFoundError) as error:
        fix = "" if request.llm else f"; a scale of your own is --to {request.large}=HUB-ID-OR-FOLDER"
        raise UsageError(f"--to {request.large}: {error}{fix}") from None


def _stated_factor(request: Request, designs: KnownDesigns) -> float | None:
    """The factor of the LLM's learning rates that the study's trials at the large scale state.

    Raises:
        UsageError: they differ, so that neither their scores nor those of new trials are comparable.
    """
    factors = designs.llm_lr_factors.get(request.large, frozenset((None,)))
    if len(factors) > 1:
        raise UsageError(
            f"study {request.study!r} has trials at {request.large} with several `llm_lr_factor` "
            f"({factors_in_words(factors)}), so their scores cannot be compared: train them again with one factor, or "
            "in a study of their own"
        )
    return next(iter(factors))


def _prices(request: Request, designs: KnownDesigns, names: tuple[str, ...], samples: int | None) -> dict[str, Price]:
    """Prices of the designs of these names; empty where none has a config."""
    configs = {name: designs.configs[name] for name in names if name in designs.configs}
    if not configs:
        return {}
    if samples is None:
        raise UsageError(
            f"study {request.study!r} has scores of several numbers of training samples: set that of the new trials "
            "with --train-samples"
        )
    design = next(iter(configs.values()))
    like = TrialConfig(design=design, scale=request.large, llm=request.llm, seed=request.seeds[0], samples=samples)
    return prices_of(configs, like, request.gpu, request.utilisation)


def _notes_on_scores(scores: StudyScores, transfer: Transfer) -> list[str]:
    candidates, notes = transfer.candidates, list[str]()
    if scores.all_samples is not None:
        numbers = " and ".join(f"{one:,}" for one in sorted(scores.table.frame["samples"].dropna().unique()))
        notes.append(
            f"the study has several numbers of training samples; predicted from scores of {numbers} samples (--samples)"
        )
    ratio = math.exp(candidates.log_size - float(candidates.log_size_S[-1]))
    if ratio > FAR:
        notes.append(
            f"{candidates.large} is {ratio:,.0f} times {candidates.scales[-1]}; published studies cover up to 14 times,"
            " so the standard deviation of scores there is extrapolated"
        )
    for scale, column in zip(candidates.scales, np.isfinite(candidates.score_nS).T, strict=True):
        if missing := [name for name, is_scored in zip(candidates.designs, column, strict=True) if not is_scored]:
            notes.append(f"no score at {scale}, so predicted with wider intervals: {', '.join(missing)}")
    if len(candidates.designs) < 10:
        notes.append(f"only {len(candidates.designs)} designs: the transfer model rests on the prior and few scores")
    return [*notes, *scores.notes]
