"""Tables of docs/tiny-study.md, from the records of a study: `python -m benchmarks.tiny_study [STUDY]`.

Run the study first: `ablate sweep sweeps/sampling.yaml --seeds 0,1,2`.
"""

from __future__ import annotations

import sys

import pandas as pd
from scipy.stats import binomtest

from ablate.paths import study_paths
from ablate.record import Record, TrialFolder, scan
from ablate.study import load_table, own_metric, rankings
from analysis.consistency import compare
from analysis.noise import across_seeds, noise_between_seeds
from models.tiny import NEEDS


def main() -> None:
    study = sys.argv[1] if len(sys.argv) > 1 else "sampling"
    records = [record for record in scan(study_paths(study)) if record.result]
    outcomes = pd.concat([_outcomes(record) for record in records], ignore_index=True)
    print(f"study {study}: {len(records)} trials; {_commits(records)}\n")
    _categories(study)
    _paired(study)
    _modalities(outcomes)
    _tasks(outcomes)
    _consistency(study)
    _times(records)


def _outcomes(record: Record) -> pd.DataFrame:
    frame = pd.read_parquet(TrialFolder(record.path).file("predictions.parquet"))
    right = frame["answer"] == frame["predicted"]
    about = record.about
    return frame.assign(right=right, design=about.design_label, scale=about.scale, seed=about.seed)


def _commits(records: list[Record]) -> str:
    versions = {
        (r.result.environment.get("git_commit", "?")[:10], r.result.environment.get("torch", "?"))
        for r in records
        if r.result
    }
    return ", ".join(f"commit {commit}, torch {torch}" for commit, torch in sorted(versions))


def _categories(study: str) -> None:
    print("### Scores: mean over seeds (standard deviation), percent\n")
    for frame in rankings(load_table(study)):
        names = [c for c in frame.columns if "/" in c]
        rows = [["design", "overall", *(name.split("/")[1] for name in names), "seeds"]]
        for row in frame.to_dict("records"):
            sd = f" ({row['sd']:.1f})" if row["sd"] == row["sd"] else ""
            rows.append([row["design"], f"{row['mean']:.1f}{sd}", *(f"{row[n]:.1f}" for n in names), row["seeds"]])
        print(f"{frame['scale'].iloc[0]}\n\n{_markdown(rows)}\n")


PAIRS = (
    ("fps1", "uniform4"),
    ("fps1", "uniform8"),
    ("fps2", "uniform8"),
    ("fps2", "uniform16"),
    ("fps4", "uniform16"),
)
"""Sampling by time and sampling by count with about as many frames: a video lasts 6.7 s on average."""


def _paired(study: str) -> None:
    table = load_table(study).select(own_metric(study))
    if not {design for pair in PAIRS for design in pair} <= set(table.frame["design"]):
        return
    print("### Time against count: difference of the overall score, seed by seed, points\n")
    rows: list[list[object]] = [["scale", "designs", "each seed", "mean", "standard error"]]
    for scale in table.scales:
        scores = table.per_seed(scale)
        for by_time, by_count in PAIRS:
            gaps = (scores.loc[by_time] - scores.loc[by_count]).dropna()
            error = f"{gaps.sem():.1f}" if len(gaps) > 1 else ""
            each = ", ".join(f"{gap:+.1f}" for gap in gaps)
            rows.append([scale, f"{by_time} - {by_count}", each, f"{gaps.mean():+.1f}", error])
    print(_markdown(rows), "\n")


def _modalities(outcomes: pd.DataFrame) -> None:
    print("### Video, its centre frame, text alone: percent, all designs and seeds (chance 25)\n")
    table = 100 * outcomes.pivot_table(index="scale", columns="modality", values="right")[["video", "frame", "text"]]
    print(
        _markdown([["scale", *table.columns], *([s, *(f"{v:.1f}" for v in row)] for s, row in table.iterrows())]), "\n"
    )


def _tasks(outcomes: pd.DataFrame) -> None:
    """Print the accuracy of each question type; `o` marks those not above chance (one-sided binomial test, 5%)."""
    print("### Question types, percent from video; `o`: not above chance (binomial test, 5%)\n")
    video = outcomes[outcomes["modality"] == "video"]
    for scale, at_scale in video.groupby("scale"):
        designs = sorted(at_scale["design"].unique(), key=_design_order)
        rows = [["type", "needs", *designs]]
        for task, answers in at_scale.groupby("task"):
            rows.append([task, NEEDS[task], *(_accuracy(answers[answers["design"] == d]["right"]) for d in designs)])
        print(f"{scale}\n\n{_markdown(rows)}\n")


def _design_order(design: str) -> tuple[str, int]:
    return design.rstrip("0123456789"), int("".join(filter(str.isdigit, design)) or 0)


def _accuracy(right: pd.Series) -> str:
    test = binomtest(int(right.sum()), len(right), 0.25, alternative="greater")
    return f"{100 * right.mean():.0f}" + (" o" if test.pvalue > 0.05 else "")


def _consistency(study: str) -> None:
    print("### Does the ranking transfer?\n")
    table = load_table(study)
    small, large = table.scales[0], table.scales[-1]
    rows = [["score", "n", "R2", "95%", "Spearman", "95%", "agreement", "regret@1"]]
    columns = [*(f"noise {scale}" for scale in (small, large)), *(f"detectable {scale}" for scale in (small, large))]
    rows_seeds = [["score", "same seed", "other seed", "means", *columns]]
    metric = own_metric(study) or "tinybench/overall"
    for name in (metric, metric.replace("/", "_prob/")):
        c = compare(table, small, large, name)
        r2, rho = c.intervals["r2"], c.intervals["spearman"]
        agreement, regret = _3(c.decision_accuracy), f"{c.regret[1]:.2f}"
        rows.append([name, c.n, _3(c.r2), _span(r2), _3(c.spearman), _span(rho), agreement, regret])
        for warning in c.warnings:
            print(f"- {name}: {warning}")
        print(f"- {name}: collapsed designs: {', '.join(c.collapsed) or 'none'}")
        s = across_seeds(table.select(name), small, large)
        noise = [noise_between_seeds(table, scale, name) for scale in (small, large)]
        sds = [f"{n.sd:.2f}" if n.sd is not None else "?" for n in noise]
        differences = [f"{n.detectable:.1f}" if n.detectable is not None else "?" for n in noise]
        rows_seeds.append([name, _3(s.same_seeds), _3(s.different_seeds), _3(s.mean_of_seeds), *sds, *differences])
    print(f"\n{small} against {large}, means over seeds\n\n{_markdown(rows)}\n")
    print(
        "R2 between single seeds: the same seed at both scales, another one, and the means over seeds; the standard "
        "deviation between seeds; the smallest detectable difference between two designs, at each scale\n"
    )
    print(_markdown(rows_seeds), "\n")


def _3(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _span(interval: object) -> str:
    return "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"


def _times(records: list[Record]) -> None:
    print("### Seconds per trial (two trials in parallel on two cores)\n")
    rows = [["scale", "design", "mean", "least", "most"]]
    seconds = pd.DataFrame([(r.about.scale, r.about.design_label, r.result.seconds) for r in records if r.result])
    for (scale, design), group in seconds.groupby([0, 1])[2]:
        rows.append([scale, design, f"{group.mean():.0f}", f"{group.min():.0f}", f"{group.max():.0f}"])
    print(_markdown(rows))


def _markdown(rows: list[list[object]]) -> str:
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
