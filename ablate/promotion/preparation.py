"""`ablate promote`: from small-scale scores to the next sweep spec at a larger scale.

Statistics are in analysis/ (transfer.py foretells, selection.py chooses); here a study is read, designs are priced, and
what was chosen is written as a spec that `ablate plan` and `ablate sweep` take as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ablate.errors import UsageError
from ablate.paths import PUBLISHED
from ablate.plan import gpu
from ablate.promotion.costs import Unit, costs_of, prices_of, samples_of
from ablate.spec import LABEL
from ablate.study import KnownDesigns, StudyScores, known_designs, load_study
from analysis.promotion import (
    Candidates,
    Prior,
    Transfer,
    candidates,
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
"""Designs that are proposed for calibration where no number is given."""
FAR = 20
"""Times the largest small scale above which a note says how far that is: the published studies end at 14 times."""


@dataclass(frozen=True, kw_only=True)
class Request:
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
    train_samples: int | None = None
    """Training samples at the large scale; as at the small ones where left out."""
    blind: bool = False
    """As if no score at the large scale were known."""
    tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A study, read and foretold."""

    request: Request
    table: ScoreTable
    """Narrowed to the metric."""
    transfer: Transfer
    known: KnownDesigns
    prices: Mapping[str, Price]
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
        sizes = {scale: scale_size(scale) / scale_size(self.request.large) for scale in self.found.scales}
        run_n = self.costs_n if self.unit == "designs" else self.costs_n / len(self.request.seeds)
        return {self.request.large: run_n} | {scale: share * run_n for scale, share in sizes.items()}


def prepare(request: Request) -> Prepared:
    """Read a study, foretell its designs at the large scale, and price them there.

    Raises:
        UsageError: no such study, scale, metric or spec; too few designs.
        InfeasibleError: a design fits on no allowed number of the GPUs.
    """
    _refuse_ask(request)
    scores = load_study(request.study, tracking_uri=request.tracking_uri, samples=request.samples)
    try:
        table = scores.table.select(request.metric or scores.metric, request.modality)
        found = candidates(table, request.large, request.scales or None)
        if request.blind:
            found = found.knowing(np.full(len(found.designs), np.nan))
        transfer = predict(found, prior_for(request.study))
    except TableError as error:
        raise UsageError(f"study {request.study!r}: {error}") from None
    known = known_designs(request.study, request.designs)
    samples = samples_of(request.train_samples, table, known)
    prices = _prices(request, known, found.designs, samples)
    costs_n, unit, notes = costs_of(found.designs, prices, len(request.seeds))
    told = [known.note] if known.note else []
    return Prepared(
        request=request,
        table=table,
        transfer=transfer,
        known=known,
        prices=prices,
        samples=samples,
        costs_n=costs_n,
        unit=unit,
        notes=(*told, *notes, *_notes_on_scores(scores, transfer)),
    )


def prior_for(study: str) -> Prior:
    """The published prior, but for the study that it was made from."""
    return vague_prior() if study == PUBLISHED else published_prior()


def _refuse_ask(request: Request) -> None:
    """Before anything is read: what no study could satisfy."""
    if request.gpu is not None:
        gpu(request.gpu)
    for seed in request.seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"--seeds {seed}: seeds are whole numbers from 0 to {2**32 - 1}")
        if request.seeds.count(seed) > 1:
            raise UsageError(f"--seeds: {seed} is given twice; more replicates are more seeds, e.g. 0,1,2")
    if re.search(LABEL, request.large) is None:
        raise UsageError(
            f"--to {request.large}: a label is made of letters, digits, '_', '-', '.'; a letter or digit first"
        )
    try:
        if request.llm is None:
            scale_card(request.large)
        else:
            own_scale_card(request.large, request.llm)
    except (ValueError, FileNotFoundError) as error:
        mend = "" if request.llm else f"; a scale of your own is --to {request.large}=HUB-ID-OR-FOLDER"
        raise UsageError(f"--to {request.large}: {error}{mend}") from None


def _prices(request: Request, known: KnownDesigns, names: tuple[str, ...], samples: int | None) -> dict[str, Price]:
    configs = {name: known.configs[name] for name in names if name in known.configs}
    if not configs:
        return {}
    if samples is None:
        raise UsageError(
            f"study {request.study!r} has no one training budget: say with --train-samples how many samples the new trials get"
        )
    design = next(iter(configs.values()))
    like = TrialConfig(design=design, scale=request.large, llm=request.llm, seed=request.seeds[0], samples=samples)
    return prices_of(configs, like, request.gpu, request.utilisation)


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
