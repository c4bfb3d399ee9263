"""Writes the chosen designs as a sweep spec, with reasons as comments, and their predictions as a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, study_paths
from ablate.promotion.preparation import Prepared, Request
from ablate.record import Promotion, write_promotion, write_text
from ablate.spec import (
    Chosen,
    OpenChosen,
    OpenFields,
    SpecFields,
    SweepSpec,
    open_sweep_text,
    stated_fields,
    sweep_text,
)
from ablate.study import KnownDesigns
from analysis.promotion import (
    Policy,
    Prediction,
    Selection,
)
from models.ladder import own_scale_card, scale_card

MOST_NAMES = 6
"""Number of designs that a message names."""
_MARK = "# Promoted from study"


@dataclass(frozen=True, kw_only=True)
class Written:
    """The files that a promotion wrote."""

    spec: Path | None
    """Path of the spec; None if there was nothing to promote, or a design has no config."""
    record: Path | None
    """Path of the predictions, for `ablate consistency`; None for the published study."""
    why_not: str | None = None
    """Why no spec was written."""


def spec_path(request: Request, policy: Policy, output: Path | None) -> Path:
    """`sweeps/STUDY.promoted-7B.yaml` below the working directory, unless `output` names another file."""
    purpose = "calibrate" if policy.rule == "calibrate" else "promoted"
    return output or Path("sweeps") / f"{request.study}.{purpose}-{request.large}.yaml"


def write(prepared: Prepared, selection: Selection, output: Path | None, run_ids: Callable[[str], str]) -> Written:
    """Write the chosen designs as a sweep spec, and the predictions as a record: both files, or neither.

    Args:
        prepared: the study.
        selection: the chosen designs.
        output: path of the spec; that of `spec_path` if None.
        run_ids: trial key -> its MLflow run, or "".

    Raises:
        UsageError: the file exists and was not written by this function.
    """
    request, designs = prepared.request, prepared.study_designs
    if not selection.promoted:
        return Written(spec=None, record=None, why_not="nothing to promote: the trained designs satisfy the rule")
    if prepared.trainer is not None and prepared.trainer.spec is None:
        return Written(spec=None, record=None, why_not=f"no spec written: {prepared.trainer.problem}")
    if lacking := [name for name in selection.promoted if name not in designs.keys]:
        more = f" and {len(lacking) - MOST_NAMES} more" if len(lacking) > MOST_NAMES else ""
        return Written(
            spec=None,
            record=None,
            why_not=f"no spec written: no configs of {', '.join(lacking[:MOST_NAMES])}{more}; name a spec that "
            "declares them by these names with --designs",
        )
    path = spec_path(request, selection.policy, output)
    _refuse_overwriting(path)
    text = _text(prepared, selection, run_ids)
    if request.study == PUBLISHED:
        write_text(path, text)
        return Written(spec=path, record=None)
    record = write_promotion(study_paths(request.study), _promotion(prepared, selection, path))
    try:
        write_text(path, text)
    except BaseException:  # both or neither
        record.unlink()
        raise
    return Written(spec=path, record=record)


def _refuse_overwriting(path: Path) -> None:
    """Refuse to overwrite files other than those of `ablate promote`."""
    if path.exists() and not path.is_file():
        kind = "a folder; name a file in it" if path.is_dir() else "a device or pipe; name a file"
        raise UsageError(f"--output {path} is {kind}")
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise UsageError(f"{path} exists and was not written by `ablate promote`; name another file with --output")


def _text(prepared: Prepared, selection: Selection, run_ids: Callable[[str], str]) -> str:
    """The spec of the chosen designs."""
    designs = prepared.study_designs
    reasons = {
        row.design: f"predicted {row.predicted:+.2f} +- {row.half_width:.2f}, {row.reason}"
        for row in selection.candidates
    }
    names, values = selection.promoted, designs.values
    if prepared.trainer is not None and prepared.trainer.spec is not None:
        open_chosen = [
            OpenChosen(
                name=name,
                design=designs.open_designs[name],
                key=designs.keys[name],
                axes=values.get(name, {}),
                reason=reasons[name],
            )
            for name in names
        ]
        fields = _open_fields(prepared, prepared.trainer.spec, _comments(prepared, selection, run_ids))
        return open_sweep_text(fields, open_chosen, designs.axes)
    chosen = [
        Chosen(name=name, design=designs.configs[name], axes=values.get(name, {}), reason=reasons[name])
        for name in names
    ]
    return sweep_text(_spec_fields(prepared, selection, run_ids), chosen, designs.axes)


def _open_fields(prepared: Prepared, spec: SweepSpec, heading: list[str]) -> OpenFields:
    """The fields of a spec with the user's own trainer: those of the study's spec, at the large scale."""
    request, stated = prepared.request, stated_fields(spec, prepared.request.large)
    metric, own = prepared.table.metric, spec.user_trainer
    assert own is not None
    if metric.split("/", 1)[0] == own.metric.name.split("/", 1)[0]:  # else the program may report no such score
        lower = prepared.candidates.lower_is_better
        stated["metric"] = {"name": metric, "lower_is_better": True} if lower else metric
    return OpenFields(
        study=request.study,
        question=_question(prepared),
        heading=heading,
        stated=stated,
        seeds=request.seeds,
        samples=prepared.samples,
    )


def _question(prepared: Prepared) -> str:
    scales = " and ".join(prepared.candidates.scales)
    return f"Are the designs predicted to be best from {scales} the best at {prepared.request.large}?"


def _spec_fields(prepared: Prepared, selection: Selection, run_ids: Callable[[str], str]) -> SpecFields:
    request, designs = prepared.request, prepared.study_designs
    assert prepared.samples is not None, "designs with configs are priced by their number of samples"
    on_gpu = [b.on_gpu for name in selection.promoted if (b := prepared.prices.get(name)) and b.on_gpu]
    benchmarks = {designs.configs[name].data.benchmark for name in selection.promoted}
    is_of_benchmark = prepared.table.metric.split("/", 1)[0].removesuffix("_prob") in benchmarks
    scale = {"label": request.large, "llm": request.llm, "llm_lr_factor": prepared.llm_lr_factor}
    stated = {key: value for key, value in scale.items() if value is not None}
    return SpecFields(
        study=f"{request.study}-promoted" if request.study == PUBLISHED else request.study,
        question=_question(prepared),
        heading=_comments(prepared, selection, run_ids),
        scale=stated if len(stated) > 1 else request.large,
        seeds=request.seeds,
        samples=prepared.samples,
        metric=prepared.table.metric if is_of_benchmark else None,
        gpus=max((one.gpus for one in on_gpu), default=None) if request.gpu else None,
    )


def _comments(prepared: Prepared, selection: Selection, run_ids: Callable[[str], str]) -> list[str]:
    """Lines of the comment at the top of the spec."""
    origins = _origins(prepared.study_designs, selection.promoted, run_ids)
    return [*_heading(prepared, selection), *_left_out(selection), *origins]


def _heading(prepared: Prepared, selection: Selection) -> list[str]:
    """How the designs were chosen, and what the choice is based on."""
    request, transfer = prepared.request, prepared.transfer
    scales, mark = " and ".join(prepared.candidates.scales), _MARK.removeprefix("# ")
    lines = [
        f"{mark} {request.study}, {scales}, by `ablate promote --to {request.large}`: {selection.policy}.",
        f"Expected regret {selection.expected_regret:.2f} points; the best design is included with probability "
        f"{selection.chance:.0%}; {selection.cost:.4g} {prepared.unit}.",
        f"Transfer model: {transfer.prior_share:.0%} prior ({transfer.prior.source}), {transfer.num_known} designs "
        f"measured at {request.large}.",
    ]
    if prepared.trainer is None:
        card = own_scale_card(request.large, request.llm) if request.llm else scale_card(request.large)
        factor = card.llm_lr_factor if prepared.llm_lr_factor is None else prepared.llm_lr_factor
        lines.append(f"At {request.large} the learning rates of the LLM are {factor:.3g} times those below.")
    if transfer.is_relative:
        lines.append("Predicted scores are differences from the mean of all designs: no score at this scale is known.")
    return lines


def _origins(designs: KnownDesigns, names: tuple[str, ...], run_ids: Callable[[str], str]) -> list[str]:
    """The trials behind each promoted design, with their MLflow runs."""
    return [f"{name}: {_with_runs(designs.trials[name], run_ids)}" for name in names if name in designs.trials]


def _with_runs(trials: tuple[str, ...], run_ids: Callable[[str], str]) -> str:
    texts = []
    for trial in trials:
        run = run_ids(trial.rsplit(" ", 1)[-1])
        texts.append(f"{trial}{f' (run {run})' if run else ''}")
    return ", ".join(texts)


def _left_out(selection: Selection, most: int = 12) -> list[str]:
    rows = [row for row in selection.candidates if not row.is_promoted and not row.is_known]
    lines = [f"{row.design} {row.reason}" for row in rows[:most]]
    return [*lines, f"and {len(rows) - most} more are left out"] if len(rows) > most else lines


def _promotion(prepared: Prepared, selection: Selection, path: Path) -> Promotion:
    request, transfer = prepared.request, prepared.transfer
    return Promotion(
        study=request.study,
        large=request.large,
        scales=prepared.candidates.scales,
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
