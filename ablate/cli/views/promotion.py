"""What people see of `ablate promote`: the choice, what next, the replay; and their --json twins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ablate.cli.views.out import ERR, OUT, print_json, save_plot, table, three_digits
from ablate.cli.views.sweep import run_and_show
from ablate.errors import UsageError
from ablate.promotion import CALIBRATE, Prepared, Request, Written, backtests, choose, next_steps, prepare, write
from analysis.promotion import Policy

if TYPE_CHECKING:
    from analysis.promotion import Advice, Candidate, Replayed, Rule, Selection

MOST_ROWS = 30
MOST_STEPS = 8
_EXAMPLES: Mapping[Rule, float] = {"regret": 0.25, "confidence": 0.95, "top-k": 5, "gpu-hours": 500, "calibrate": 4}
SHOWN_K = (1, 2, 3, 5, 8, 13, 21, 34)
"""Of the top-k and random-k curves; --json has every k."""


def policy_of(wishes: Mapping[Rule, float | None]) -> Policy:
    """The one rule that the user stated; the best design with a probability of 95% if none was.

    Raises:
        UsageError: several rules, or a value that the rule does not allow.
    """
    stated = {rule: value for rule, value in wishes.items() if value is not None}
    if len(stated) > 1:
        raise UsageError(f"give one rule, not {' and '.join(f'--{rule}' for rule in stated)}")
    unstated: tuple[Rule, float] = ("confidence", 0.95)
    rule, value = next(iter(stated.items()), unstated)
    if not math.isfinite(value) or value < 0 or (rule == "confidence" and not 0 < value <= 1):
        allowed = "a probability above 0 and up to 1" if rule == "confidence" else "a number from 0"
        raise UsageError(f"--{rule} {value:g}: give {allowed}, e.g. --{rule} {_EXAMPLES[rule]:g}")
    return Policy(rule=rule, value=value)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the answer goes."""

    path: Path | None
    """The spec; None for its usual place."""
    launch: bool
    plot: Path | None
    as_json: bool


def promote_and_show(request: Request, policy: Policy, output: Output) -> int:
    """Choose designs, write the next sweep, and run it if asked; returns the exit code."""
    prepared = prepare(request)
    selection = choose(prepared, policy)
    if output.plot is not None:
        from analysis.figures import promotion_figure

        over = "over the mean of all designs " if prepared.transfer.is_relative else ""
        label = f"PredictionCheck score {over}at {request.large}, in points"
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
    from ablate.spec import load_spec

    return run_and_show(
        make_plan(load_spec(written.spec)), address=None, cpus=None, tracking_uri=request.tracking_uri, as_json=False
    )


def _run_ids(request: Request) -> Callable[[str], str]:
    """Trial key -> its MLflow run, as far as this machine's store knows it."""
    from ablate.tracking import run_ids

    known = run_ids(request.study, request.tracking_uri)
    return lambda key: known.get(key, "")


def _print_selection(prepared: Prepared, selection: Selection, written: Written) -> None:
    found, transfer, unit = prepared.found, prepared.transfer, prepared.unit
    name = f"{prepared.request.study}: {' + '.join(found.scales)} -> {found.large}"
    OUT.print(Text(f"{name}   {_metric(prepared)}, {len(found.designs)} designs", style="bold"))
    number = transfer.num_known
    OUT.print(
        f"what is known of the transfer: {transfer.prior_share:.0%} prior ({transfer.prior.source}), {number} designs "
        f"known at {found.large}"
    )
    what = f"over the mean at {found.large}" if transfer.is_relative else f"at {found.large}"
    costs = len({row.cost for row in selection.candidates}) > 1
    columns = ["", "design", f"foretold {what}", "+-", "best", *([unit] if costs else []), "front", "why"]
    rows = table(*columns, right=(columns[2], "+-", "best", unit))
    for row in selection.candidates[:MOST_ROWS]:
        mark = "known" if row.is_known else f"{row.order}." if row.order else ""
        cost = [three_digits(row.cost)] if costs else []
        half = "" if row.is_known else f"{row.half_width:.2f}"
        front = "*" if row.is_on_front else ""
        rows.add_row(
            mark, row.design, _score(row, transfer.is_relative), half, f"{row.chance:.1%}", *cost, front, row.reason
        )
    OUT.print(rows)
    if len(selection.candidates) > MOST_ROWS:
        OUT.print(f"and {len(selection.candidates) - MOST_ROWS} more (--json)")
    _print_sums(prepared, selection)
    if selection.policy.rule != "calibrate":
        _print_unknown(prepared)
    if written.spec is not None:
        OUT.print(f"written: {written.spec}")
        OUT.print(f"next: ablate plan {written.spec}   then: ablate sweep {written.spec}")
        if prepared.request.study != "apollo":
            again = f"ablate consistency --study {prepared.request.study} --large {found.large}"
            OUT.print(f"then: {again}   (foretold against observed)")
    elif written.why_not:
        OUT.print(written.why_not)


def _metric(prepared: Prepared) -> str:
    modality = f", {prepared.request.modality}" if prepared.request.modality != "video" else ""
    direction = ", lower is better" if prepared.found.lower_is_better else ""
    told = f"{modality}{direction}".removeprefix(", ")
    return f"{prepared.table.metric} ({told})" if told else prepared.table.metric


def _score(row: Candidate, is_relative: bool) -> str:
    return f"{row.predicted:+.2f}" if is_relative and not row.is_known else f"{row.predicted:.2f}"


def _print_sums(prepared: Prepared, selection: Selection) -> None:
    number, every = len(selection.promoted), prepared.costs_n.sum()
    share = f", {selection.cost / every:.0%} of training all" if every > 0 else ""
    cost = f", {three_digits(selection.cost)} {prepared.unit}" if prepared.unit != "designs" else ""
    OUT.print(f"\n{selection.policy}: {number} promoted{cost}{share}")
    if selection.expected_regret == selection.expected_regret:
        winner = f"the winner is among them with a chance of {selection.chance:.0%}"
        OUT.print(f"expected regret {selection.expected_regret:.2f} points; {winner}")
    if len(selection.curve) > 1:
        steps = ", ".join(f"{k}: {lost:.2f}" for k, lost, _ in selection.curve[:MOST_ROWS] if lost == lost)
        OUT.print(f"expected regret by number promoted: {steps}")


def _print_unknown(prepared: Prepared) -> None:
    """Until designs are known at the large scale, say what rests on other people's studies, and how to find out."""
    if prepared.transfer.num_known >= CALIBRATE:
        return
    best = choose(prepared, Policy(rule="calibrate", value=CALIBRATE))
    if not best.promoted:
        return
    request, prior = prepared.request, prepared.transfer.prior.source
    ERR.print(
        f"note: until a few designs are trained at {request.large}, the level of scores there is unknown, and how far the "
        f"order is kept and how far scores spread is the prior's word ({prior}). Most would be told by "
        f"{', '.join(best.promoted)}: ablate promote --study {request.study} --to {request.large}"
        f"{' --blind' if request.blind else ''} --calibrate {CALIBRATE}",
        style="yellow",
    )


def _to_json(prepared: Prepared, selection: Selection, written: Written) -> dict[str, Any]:
    transfer, expected = prepared.transfer, selection.expected_regret
    return {
        "study": prepared.request.study,
        "large": prepared.found.large,
        "scales": list(prepared.found.scales),
        "metric": prepared.table.metric,
        "modality": prepared.request.modality,
        "lower_is_better": prepared.found.lower_is_better,
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


def show_next(request: Request, wanted: float, *, as_json: bool) -> None:
    """The training that is worth most for its cost."""
    prepared = prepare(request)
    advice = next_steps(prepared, wanted)
    if as_json:
        return print_json({"study": request.study, "large": request.large, "unit": prepared.unit} | asdict(advice))
    _print_advice(prepared, advice, wanted)
    for note in prepared.notes:
        ERR.print(f"note: {note}", style="yellow")


def _print_advice(prepared: Prepared, advice: Advice, wanted: float) -> None:
    found = prepared.found
    OUT.print(Text(f"{prepared.request.study} -> {found.large}   {_metric(prepared)}", style="bold"))
    known = advice.pick in {d for d, y in zip(found.designs, found.known_n, strict=True) if y == y}
    trained = "trained there" if known else "not trained there yet"
    OUT.print(f"if you stopped now: {advice.pick} ({trained}), expected regret {advice.regret:.2f} points")
    if advice.is_enough:
        return OUT.print(f"stop: that is within {wanted:g} points")
    if not advice.steps:
        return OUT.print("stop: nothing is left to train")
    rows = table(
        "next",
        "design",
        "scale",
        "worth",
        prepared.unit,
        "worth for its cost",
        right=("worth", prepared.unit, "worth for its cost"),
    )
    told = {"design": "train", "seed": "another seed", "scale": "another scale"}
    for step in advice.steps[:MOST_STEPS]:
        numbers = (f"{step.worth:.3f}", three_digits(step.cost), f"{step.per_cost:.2g}")
        rows.add_row(told[step.kind], step.design, step.scale, *numbers)
    OUT.print(rows)
    OUT.print(f"worth: points by which the expected regret of stopping then is lower; stop at {wanted:g} (--regret)")
    return None


# --- replay -----------------------------------------------------------------------------------------


def show_backtest(request: Request, *, subsets: int, plot: Path | None, as_json: bool) -> None:
    """Cost and regret of every policy on a study whose large-scale scores are known."""
    found = backtests(request, subsets=subsets)
    if plot is not None:
        from analysis.figures import backtest_figure

        save_plot(partial(backtest_figure, found), plot)
    if as_json:
        return print_json({"backtests": [one.to_json() for one in found]})
    first = found[0]
    OUT.print(Text(f"{first.study} -> {first.large}   {first.designs} designs", style="bold"))
    OUT.print(
        f"means over {first.subsets} random subsets of two thirds of the designs; cost: share of training all of them "
        f"at {first.large}, and that of the small scale before; prior: {first.prior}"
    )
    right = ("trained", "cost", "+ small", "regret", "95% below", "winner in", "regret ", "winner in ")
    rows = table("proxy", "policy", *right[:6], "whole study", *right[6:], right=right)
    for one in found:
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
    number, lost, is_in = row.whole
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
        f"{lost:.2f}",
        "yes" if is_in else "no",
    )
