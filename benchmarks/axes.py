"""Results of each axis of the embedded study, with those of the paper for comparison.

Run `python -m benchmarks.axes [STUDY ...]` after the sweeps (`ablate sweep tokens`, and so on). docs/tiny-study.md
quotes its output.
"""

from __future__ import annotations

import sys
from importlib.resources import files

import pandas as pd

from ablate.paths import study_paths
from ablate.record import scan
from ablate.spec import find_spec, load_spec
from ablate.study import load_table, own_metric, rankings
from analysis.consistency import compare
from analysis.noise import noise_between_seeds
from analysis.tables import ScoreTable

PAPER: dict[str, tuple[str, dict[str, int]]] = {
    "encoders": (
        "encoders_t9",
        {
            "image": 3,
            "image-contrastive": 2,
            "image-mae": 1,
            "video": 7,
            "video-mae": 4,
            "video+image": 19,
            "video-mae+image": 10,
        },
    ),
    "resamplers": ("resamplers_t1", {"conv-pool-tpf2": 1, "mlp-pool-tpf2": 2, "perceiver-tpf2": 3}),
    "integration": ("token_integration_t2", {"plain": 1, "separators": 2, "timestamps": 3, "both": 4}),
    "schedules": (
        "training_schedules_t12",
        {"cl": 1, "vcl": 3, "c.cl": 5, "vc.cl": 7, "vc.vcl": 10, "c.vc.cl": 13, "c.vc.vcl": 16},
    ),
    "mixes": ("data_mix_t13", {"apollo-best": 2, "images": 6, "no-images": 8, "no-text": 13}),
}
"""Study -> the paper's table (analysis/published/apollo) and the row of each of our designs in it, or of the most
similar design: the encoder with the same kind of training, the run at the middle rate of the vision encoder (5e-6)."""

STUDIES = ("tokens", *PAPER)


def main() -> None:
    for study in sys.argv[1:] or STUDIES:
        report(study)


def report(study: str) -> None:
    """Print scores by design with those of the paper, the noise, and whether the ranking transfers."""
    spec = load_spec(find_spec(study))
    print(f"## {study}\n\n{spec.question}\n")
    table, metric = load_table(study), own_metric(study)
    frames = rankings(table, metric)
    paper = _paper(study)
    names = [name for name in frames[-1].columns if "/" in name]
    head = ["design", *(f"{frame['scale'].iloc[0]}" for frame in frames), *(n.split("/")[1] for n in names)]
    rows: list[list[object]] = [[*head, *(["paper"] if paper else [])]]
    for row in frames[-1].to_dict("records"):
        design = row["design"]
        cells = [_mean(frame.set_index("design").loc[design]) for frame in frames if design in set(frame["design"])]
        published = [f"{paper[design]:.1f}" if design in paper else ""] if paper else []
        rows.append([design, *cells, *(f"{row[name]:.0f}" for name in names), *published])
    print(f"{_markdown(rows)}\n\nCategories are those of {frames[-1]['scale'].iloc[0]}.")
    _noise(table, metric)
    _transfer(table, metric)
    _time(study)


def _paper(study: str) -> dict[str, float]:
    if study not in PAPER:
        return {}
    name, rows = PAPER[study]
    scores = pd.read_csv(str(files("analysis") / f"published/apollo/{name}.csv")).set_index("row")["overall"]
    return {design: float(scores[row]) for design, row in rows.items()}


def _mean(row: pd.Series) -> str:
    return f"{row['mean']:.1f}" + (f" ({row['sd']:.1f})" if row["sd"] == row["sd"] else "")


def _noise(table: ScoreTable, metric: str | None) -> None:
    for scale in table.scales:
        noise = noise_between_seeds(table, scale, metric)
        if noise.sd is not None and noise.detectable is not None:
            print(
                f"Seed noise at {scale}: {noise.sd:.1f} points; two designs differ if their means are "
                f"{noise.detectable:.1f} apart (95%, one pair chosen beforehand)."
            )


def _transfer(table: ScoreTable, metric: str | None) -> None:
    if len(table.scales) < 2:
        return
    c = compare(table, table.scales[0], table.scales[-1], metric)
    statistics = [
        f"{name} {value:.2f}" for name, value in (("R2", c.r2), ("Spearman", c.spearman)) if value is not None
    ]
    print(f"{c.small} -> {c.large}: {', '.join(statistics)}, {c.n} designs, regret@1 {c.regret[1]:.2f} points.")


def _time(study: str) -> None:
    results = [record.result for record in scan(study_paths(study)) if record.result]
    wall = max(r.ended_at for r in results) - min(r.started_at for r in results)
    mean = sum(r.seconds for r in results) / len(results)
    commits = {r.environment.get("git_commit", "?")[:10] for r in results}
    print(
        f"{len(results)} trials in {wall / 60:.1f} minutes from the first's start to the last's end, "
        f"{mean:.0f} s each; commit {', '.join(sorted(commits))}.\n"
    )


def _markdown(rows: list[list[object]]) -> str:
    head, *body = [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))


if __name__ == "__main__":
    main()
