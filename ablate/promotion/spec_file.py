"""A choice of designs as a sweep spec, with its reasons as comments, and as a record beside the study."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, study_paths
from ablate.promotion.preparation import Prepared, Request
from ablate.record import Promotion, keep, write_text
from ablate.spec import Chosen, Sheet, sweep_text
from ablate.study import KnownDesigns
from analysis.promotion import (
    Policy,
    Prediction,
    Selection,
)
from models.ladder import own_scale_card, scale_card

MOST_NAMES = 6
"""Of designs in a message."""
_MARK = "# Promoted from study"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a promotion left on disk."""

    spec: Path | None
    """None if there was nothing to promote, or no config of a design is known."""
    record: Path | None
    """The predictions, for `ablate consistency`; None for the published study."""
    why_not: str | None = None


def spec_path(request: Request, policy: Policy, output: Path | None) -> Path:
    """`sweeps/STUDY.promoted-7B.yaml` below the working directory, unless the user says otherwise."""
    what = "calibrate" if policy.rule == "calibrate" else "promoted"
    return output or Path("sweeps") / f"{request.study}.{what}-{request.large}.yaml"


def write(prepared: Prepared, selection: Selection, output: Path | None, run_ids: Callable[[str], str]) -> Written:
    """Write the chosen designs as a sweep spec, and keep what was foretold.

    Args:
        prepared: the study.
        selection: what was chosen.
        output: path of the spec; `spec_path` where None.
        run_ids: trial key -> its MLflow run, or "".
    """
    request, known = prepared.request, prepared.known
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
    path = spec_path(request, selection.policy, output)
    _refuse_strangers(path)
    text = sweep_text(_sheet(prepared, selection, run_ids), _chosen(prepared, selection), known.axes)
    if request.study == PUBLISHED:
        write_text(path, text)
        return Written(spec=path, record=None)
    record = keep(study_paths(request.study), _promotion(prepared, selection, path))
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
    request, known = prepared.request, prepared.known
    assert prepared.samples is not None, "designs with configs have a budget"
    on_gpu = [b.on_gpu for name in selection.promoted if (b := prepared.prices.get(name)) and b.on_gpu]
    benchmarks = {known.configs[name].data.benchmark for name in selection.promoted}
    is_theirs = prepared.table.metric.split("/", 1)[0].removesuffix("_prob") in benchmarks
    return Sheet(
        study=f"{request.study}-promoted" if request.study == PUBLISHED else request.study,
        question=f"Do the designs foretold to be best from {' and '.join(prepared.found.scales)} hold at {request.large}?",
        heading=[*_heading(prepared, selection), *_out(selection), *_origins(known, selection.promoted, run_ids)],
        scale=request.large if request.llm is None else {"label": request.large, "llm": request.llm},
        seeds=request.seeds,
        samples=prepared.samples,
        metric=prepared.table.metric if is_theirs else None,
        gpus=max((one.gpus for one in on_gpu), default=None) if request.gpu else None,
    )


def _heading(prepared: Prepared, selection: Selection) -> list[str]:
    request, transfer = prepared.request, prepared.transfer
    step = own_scale_card(request.large, request.llm) if request.llm else scale_card(request.large)
    scales = " and ".join(prepared.found.scales)
    lines = [
        f"{_MARK.removeprefix('# ')} {request.study}, {scales}, by `ablate promote --to {request.large}`: {selection.policy}.",
        f"Expected regret {selection.expected_regret:.2f} points, the winner is in with {selection.chance:.0%}; "
        f"{selection.cost:.4g} {prepared.unit}.",
        f"Of what is known of the transfer {transfer.prior_share:.0%} is prior: {transfer.prior.source}.",
        f"At {request.large} the LLM learns at {step.llm_lr_factor:.3g} times the rates below.",
    ]
    if transfer.is_relative:
        lines.append(
            "PredictionCheck scores are differences to the mean of all designs: no score at this scale is known."
        )
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
    request, transfer = prepared.request, prepared.transfer
    return Promotion(
        study=request.study,
        large=request.large,
        scales=prepared.found.scales,
        metric=prepared.table.metric,
        modality=request.modality,
        samples=prepared.samples,
        policy=str(selection.policy),
        prior=transfer.prior.source,
        prior_share=transfer.prior_share,
        is_relative=transfer.is_relative,
        is_blind=request.blind,
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
