"""Output of `ablate promote`, `next` and `backtest`, as tables or JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from ablate.cli.views.out import ERR, OUT, print_json, save_plot, table, three_digits
from ablate.cli.views.sweep import run_and_show
from ablate.errors import UsageError
from ablate.promotion import CALIBRATE, Prepared, Request, Written, backtests, choose, next_steps, prepare, write
from analysis.promotion import Policy

if TYPE_CHECKING:
    from rich.table import Table

    from analysis.promotion import Advice, Candidate, Replayed, Rule, Selection

MOST_ROWS = 30
MOST_STEPS = 8
"""Numbers of rows that a table shows; --json has all."""
_EXAMPLES: Mapping[Rule, float] = {"regret": 0.25, "confidence": 0.95, "top-k": 5, "gpu-hours": 500, "calibrate": 4}
SHOWN_K = (1, 2, 3, 5, 8, 13, 21, 34)
"""Values of k that the table of a backtest shows; --json has every k."""


def policy_of(values: Mapping[Rule, float | None]) -> Policy:
    """The policy of the one rule that has a value; `--confidence 0.95` if none has.

    Raises:
        UsageError: several rules, or a value that the rule does not allow.
    """
    stated = {rule: value for rule, value in values.items() if value is not None}
    if len(stated) > 1:
        raise UsageError(f"give one rule, not {' and '.join(f'--{rule}' for rule in stated)}")
    default: tuple[Rule, float] = ("confidence", 0.95)
    rule, value = next(iter(stated.items()), default)
    if not math.isfinite(value) or value < 0 or (rule == "confidence" and not 0 < value <= 1):
        allowed = "a probability above 0 and up to 1" if rule == "confidence" else "a number from 0"
        raise UsageError(f"--{rule} {value:g}: give {allowed}, e.g. --{rule} {_EXAMPLES[rule]:g}")
    return Policy(rule=rule, value=value)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the result is written, and in which form."""

    path: Path | None
    """Path of the spec; None for the default one."""
    launch: bool
    """Whether to run the spec."""
    plot: Path | None
    """Path of the figure."""
    as_json: bool


def promote_and_show(request: Request, policy: Policy, output: Output) -> int:
    """Choose designs, write the next sweep, and run it with `--launch`; returns the exit code."""
    prepared = prepare(request)
    selection = choose(prepared, policy)
    if output.plot is not None:
        from analysis.figures import promotion_figure

        difference = "difference from the mean of all designs" if prepared.transfer.is_relative else "score"
        label = f"Predicted {difference} at {request.large}, in points"
        save_plot(partial(promotion_figure, selection, label), output.plot)
    written = write(prepared, selection, output.path, _run_ids(request))
    if output.as_json:
        print_json(_to_json(prepared, selection, written))
    else:
        _print_selection(prepared, selection, written)
    for note in prepared.notes:
        ERR.print(f"note: {note}", style="yellow")
    if output.plot is not None:
        ERR.print(f"plot: {output.plot}")
    if not output.launch:
        return 0
    if written.spec is None:
        raise UsageError(f"nothing to launch: {written.why_not}")
    from ablate.plan import make_plan
    from ablate.run import Cluster, Options
    from ablate.spec import load_spec

    return run_and_show(make_plan(load_spec(written.spec)), Options(uri=request.tracking_uri), Cluster())


def _run_ids(request: Request) -> Callable[[str], str]:
    """Trial key -> its MLflow run, or "" if the store does not contain it."""
    from ablate.tracking import run_ids

    runs = run_ids(request.study, request.tracking_uri)
    return lambda key: runs.get(key, "")


def _print_selection(prepared: Prepared, selection: Selection, written: Written) -> None:
    candidates, transfer = prepared.candidates, prepared.transfer
    name = f"{prepared.request.study}: {' + '.join(candidates.scales)} -> {candidates.large}"
    OUT.print(Text(f"{name}   {_metric(prepared)}, {len(candidates.designs)} designs", style="bold"))
    OUT.print(
        f"transfer model: {transfer.prior_share:.0%} prior ({transfer.prior.source}), {transfer.num_known} designs "
        f"measured at {candidates.large}"
    )
    OUT.print(_candidate_table(prepared, selection))
    if len(selection.candidates) > MOST_ROWS:
        OUT.print(f"and {len(selection.candidates) - MOST_ROWS} more (--json)")
    _print_sums(prepared, selection)
    if selection.policy.rule != "calibrate":
        _print_calibration_note(prepared)
    if written.spec is not None:
        OUT.print(f"written: {written.spec}")
        OUT.print(f"next: ablate plan {written.spec}   then: ablate sweep {written.spec}")
        if prepared.request.study != "apollo":
            check = f"ablate consistency --study {prepared.request.study} --large {candidates.large}"
            OUT.print(f"then: {check}   (predicted against observed)")
    elif written.why_not:
        OUT.print(written.why_not)


def _candidate_table(prepared: Prepared, selection: Selection) -> Table:
    """A row for each design, highest prediction first; costs only where they differ."""
    is_relative, unit = prepared.transfer.is_relative, prepared.unit
    predicted = f"predicted{' - mean' if is_relative else ''} at {prepared.candidates.large}"
    costs_differ = len({row.cost for row in selection.candidates}) > 1
    columns = ["", "design", predicted, "+-", "P(best)", *([unit] if costs_differ else []), "front", "reason"]
    rows = table(*columns, right=(predicted, "+-", "P(best)", unit))
    for row in selection.candidates[:MOST_ROWS]:
        mark = "known" if row.is_known else f"{row.order}." if row.order else ""
        cost = [three_digits(row.cost)] if costs_differ else []
        half = "" if row.is_known else f"{row.half_width:.2f}"
        front = "*" if row.is_on_front else ""
        rows.add_row(mark, row.design, _score(row, is_relative), half, f"{row.chance:.1%}", *cost, front, row.reason)
    return rows


def _metric(prepared: Prepared) -> str:
    modality = f", {prepared.request.modality}" if prepared.request.modality != "video" else ""
    direction = ", lower is better" if prepared.candidates.lower_is_better else ""
    details = f"{modality}{direction}".removeprefix(", ")
    return f"{prepared.table.metric} ({details})" if details else prepared.table.metric


def _score(row: Candidate, is_relative: bool) -> str:
    return f"{row.predicted:+.2f}" if is_relative and not row.is_known else f"{row.predicted:.2f}"


def _print_sums(prepared: Prepared, selection: Selection) -> None:
    number, total = len(selection.promoted), prepared.costs_n.sum()
    share = f", {selection.cost / total:.0%} of training all" if total > 0 else ""
    cost = f", {three_digits(selection.cost)} {prepared.unit}" if prepared.unit != "designs" else ""
    OUT.print(f"\n{selection.policy}: {number} promoted{cost}{share}")
    if selection.expected_regret == selection.expected_regret:
        best = f"the best design is among them with probability {selection.chance:.0%}"
        OUT.print(f"expected regret {selection.expected_regret:.2f} points; {best}")
    if len(selection.curve) > 1:
        steps = ", ".join(f"{k}: {regret:.2f}" for k, regret, _ in selection.curve[:MOST_ROWS] if regret == regret)
        OUT.print(f"expected regret by number promoted: {steps}")


def _print_calibration_note(prepared: Prepared) -> None:
    """While few designs are measured at the large scale: what is assumed from other studies, and how to measure it."""
    if prepared.transfer.num_known >= CALIBRATE:
        return
    best = choose(prepared, Policy(rule="calibrate", value=CALIBRATE))
    if not best.promoted:
        return
    request, prior = prepared.request, prepared.transfer.prior.source
    ERR.print(
        f"note: until a few designs are trained at {request.large}, the level of scores there is unknown, and their "
        f"correlation with the small scales and their standard deviation are assumed from the prior ({prior}). Most "
        f"informative are {', '.join(best.promoted)}: ablate promote --study {request.study} --to {request.large}"
        f"{' --blind' if request.blind else ''} --calibrate {CALIBRATE}",
        style="yellow",
    )


def _to_json(prepared: Prepared, selection: Selection, written: Written) -> dict[str, Any]:
    transfer, expected = prepared.transfer, selection.expected_regret
    return {
        "study": prepared.request.study,
        "large": prepared.candidates.large,
        "scales": list(prepared.candidates.scales),
        "metric": prepared.table.metric,
        "modality": prepared.request.modality,
        "lower_is_better": prepared.candidates.lower_is_better,
        "unit": prepared.unit,
        "prior": asdict(transfer.prior),
        "prior_share": transfer.prior_share,
        "num_known": transfer.num_known,
        "is_relative": transfer.is_relative,
        "slope": transfer.slope,
        "residual_sd": transfer.residual_sd,
        "policy": asdict(selection.policy),
        "promoted": list(selection.promoted),
        "expected_regret": expected if expected == expected else None,
        "chance": selection.chance,
        "cost": selection.cost,
        "curve": [list(point) for point in selection.curve if point[1] == point[1]],
        "candidates": [asdict(row) for row in selection.candidates],
        "spec": None if written.spec is None else str(written.spec),
        "record": None if written.record is None else str(written.record),
        "why_not": written.why_not,
        "notes": list(prepared.notes),
    }


# --- one at a time ----------------------------------------------------------------------------------


def show_next(request: Request, target: float, *, as_json: bool) -> None:
    """Print the training with the highest worth per cost, or to stop at an expected regret of `target` points."""
    prepared = prepare(request)
    advice = next_steps(prepared, target)
    if as_json:
        return print_json({"study": request.study, "large": request.large, "unit": prepared.unit} | asdict(advice))
    _print_advice(prepared, advice, target)
    spread = float(np.nanstd(prepared.candidates.score_nS[:, -1]))
    if target > spread > 0:  # the default is meant for percentages
        ERR.print(
            f"note: the target of {target:g} is larger than the standard deviation of the scores at "
            f"{prepared.candidates.scales[-1]}, {spread:.2g}: give --regret in the unit of {prepared.table.metric}",
            style="yellow",
        )
    for note in prepared.notes:
        ERR.print(f"note: {note}", style="yellow")


def _print_advice(prepared: Prepared, advice: Advice, target: float) -> None:
    candidates = prepared.candidates
    OUT.print(Text(f"{prepared.request.study} -> {candidates.large}   {_metric(prepared)}", style="bold"))
    trained = {d for d, y in zip(candidates.designs, candidates.known_n, strict=True) if y == y}
    state = f"{'trained' if advice.pick in trained else 'not yet trained'} at {candidates.large}"
    OUT.print(f"best so far: {advice.pick} ({state}), expected regret of stopping now {advice.regret:.2f} points")
    if advice.is_enough:
        return OUT.print(f"stop: the expected regret is within {target:g} points")
    if not advice.steps:
        return OUT.print("stop: no training is left")
    numeric = ("worth", prepared.unit, "worth / cost")
    rows = table("next", "design", "scale", *numeric, right=numeric)
    kinds = {"design": "train", "seed": "another seed", "scale": "another scale"}
    for step in advice.steps[:MOST_STEPS]:
        numbers = (f"{step.worth:.3f}", three_digits(step.cost), f"{step.per_cost:.2g}")
        rows.add_row(kinds[step.kind], step.design, step.scale, *numbers)
    OUT.print(rows)
    OUT.print(f"worth: points by which the training reduces the expected regret; stop at {target:g} points (--regret)")
    return None


# --- replay -----------------------------------------------------------------------------------------


def show_backtest(request: Request, *, subsets: int, plot: Path | None, as_json: bool) -> None:
    """Print cost and regret of every policy on a study whose large-scale scores are known."""
    results = backtests(request, subsets=subsets)
    if plot is not None:
        from analysis.figures import backtest_figure

        save_plot(partial(backtest_figure, results), plot)
    if as_json:
        return print_json({"backtests": [one.to_json() for one in results]})
    first = results[0]
    OUT.print(Text(f"{first.study} -> {first.large}   {first.designs} designs", style="bold"))
    OUT.print(
        f"means over {first.subsets} random subsets of two thirds of the designs; cost: share of training all of them "
        f"at {first.large}, plus that of the small scales; prior: {first.prior}"
    )
    right = ("trained", "cost", "+ small", "regret", "regret 95%", "has best", "regret ", "has best ")
    rows = table("proxy", "policy", *right[:6], "whole study", *right[6:], right=right)
    for one in results:
        for row in one.rows:
            if _is_shown(row):
                rows.add_row(*_replayed(row, one.designs))
    OUT.print(rows)
    if plot is not None:
        ERR.print(f"plot: {plot}")
    return None


def _is_shown(row: Replayed) -> bool:
    kind, _, number = row.policy.partition("-")
    return kind not in ("top", "random") or int(number) in SHOWN_K


def _replayed(row: Replayed, designs: int) -> tuple[str, ...]:
    number, regret, has_best = row.whole
    numbers = (
        f"{row.promoted:.1f}",
        f"{row.cost:.0%}",
        f"{row.small_cost:.0%}",
        f"{row.regret:.2f}",
        f"{row.regret_95:.2f}",
    )
    return (
        row.proxy,
        row.policy,
        *numbers,
        f"{row.winner_in:.0%}",
        f"{number} of {designs}, {number / designs:.0%}",
        f"{regret:.2f}",
        "yes" if has_best else "no",
    )
