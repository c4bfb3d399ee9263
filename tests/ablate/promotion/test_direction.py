"""Losses: a study in which lower is better gives the decisions of the same study with negated scores."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.cli.main import main
from ablate.paths import study_paths
from ablate.record import About, Result, Score, StudyFacts, folder_of, remember

SCALES = ("0.5B", "1.5B", "7B")


def write_study(study: str, scores: dict[tuple[int, str, int], float], *, lower: bool, also: str | None = None) -> None:
    """Finished trials of the user's own trainer, as its sweep leaves them.

    Args:
        study: its name.
        scores: number of the design, scale, seed -> score.
        lower: whether lower is better.
        also: another metric with the same values, beside val/loss, which ranks.
    """
    paths = study_paths(study)
    facts = StudyFacts().with_sweep(metric="val/loss", lower_is_better=lower, samples=None, spec=None)
    remember(paths, facts)
    metrics = [name.split("/") for name in ("val/loss", also) if name]
    for (number, scale, seed), value in scores.items():
        key, label = f"{number:04d}{scale}{seed}".replace(".", "_"), f"lr{number}"
        resolved = {"design": {"lr": number, "wd": number % 2}, "scale": scale, "seed": seed, "trainer": {"version": 1}}
        folder = folder_of(paths, key)
        folder.describe(
            About(
                key=key, design_key=f"{number:016x}", label=f"{label}@{scale}/s{seed}", design_label=label, study=study,
                sweep="s", scale=scale, seed=seed, samples=None, axes={"lr": number, "wd": number % 2},
                config={"scale": scale}, resolved=resolved,
            )
        )  # fmt: skip
        folder.finish(
            Result(
                key=key, attempt=0, seconds=60, started_at=0, ended_at=1, environment={},
                scores=[Score(benchmark=b, category=c, modality="video", score=value) for b, c in metrics],
            )
        )  # fmt: skip


def ablate(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ablate", *arguments])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


def ablate_json(*arguments: str) -> Any:
    code, out, err = ablate(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@st.composite
def losses(draw: st.DrawFn) -> dict[tuple[int, str, int], float]:
    """Losses of 6 to 9 designs at three scales, some of which have two seeds."""
    size = draw(st.integers(6, 9))
    level = st.integers(100, 400)
    quality = draw(st.lists(level, min_size=size, max_size=size, unique=True))
    seeds = draw(st.integers(1, 2))
    noise = st.integers(-20, 20)
    return {
        (number, scale, seed): (quality[number] - 30 * SCALES.index(scale) + draw(noise)) / 100
        for number in range(size)
        for scale in SCALES
        for seed in range(seeds)
    }


COMMANDS = [
    ("ls", "{}"),
    ("consistency", "--study", "{}"),
    ("promote", "--study", "{}", "--to", "70B", "--regret", "0.2"),
    ("promote", "--study", "{}", "--to", "7B", "--blind", "--confidence", "0.9"),
    ("promote", "--study", "{}", "--to", "70B", "--calibrate", "4"),
    ("next", "--study", "{}", "--to", "7B", "--blind"),
    ("backtest", "--study", "{}", "--to", "7B", "--subsets", "2"),
]


def assert_same_decisions(
    runs: Path, scores: dict[tuple[int, str, int], float], commands: list[tuple[str, ...]]
) -> None:
    """All of --json is the same for losses and for their negatives, but for the sign of scores."""
    shutil.rmtree(runs, ignore_errors=True)
    write_study("down", scores, lower=True)
    write_study("up", {trial: -value for trial, value in scores.items()}, lower=False)
    for command in commands:
        down, up = (ablate_json(*(piece.format(study) for piece in command)) for study in ("down", "up"))
        assert not decisions(down) ^ decisions(up), command


def test_losses_rank_compare_and_promote_like_their_negatives(runs):
    scores = {(n, scale, 0): (150 + n * 37 % 90 - 30 * k) / 100 for n in range(7) for k, scale in enumerate(SCALES)}
    assert_same_decisions(runs, scores, COMMANDS[:3])


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(losses())
def test_losses_give_the_decisions_of_their_negatives(runs, scores):
    assert_same_decisions(runs, scores, COMMANDS)


def decisions(answer: Any, path: str = "") -> set[tuple[str, Any]]:
    """Path and value of each entry of an answer, without the signs of scores, and intervals as sets of both ends."""
    if isinstance(answer, dict):
        if answer.keys() == {"low", "high"}:
            answer = sorted(abs(end) for end in answer.values())
        else:
            return {leaf for name, value in answer.items() for leaf in decisions(value, f"{path}.{name}")}
    if isinstance(answer, list):
        items = sorted(map(abs, answer)) if _INTERVAL.search(path) else answer
        return {leaf for n, value in enumerate(items) for leaf in decisions(value, f"{path}.{n}")}
    if path.endswith((".study", ".lower_is_better")):
        return set()
    if isinstance(answer, float):
        answer = float(f"{abs(answer) if _SCORE.search(path) else answer:.6g}")
    return {(path, answer)}


_SCORE = re.compile(r"\.(mean|x|y|intercept|value|predicted)$|/loss$|\.(interval|intercept)\.\d$")
"""Paths of numbers whose sign is that of the scores."""
_INTERVAL = re.compile(r"\.(interval|intercept)$")


def test_a_metric_of_other_direction_in_the_same_study(runs):
    """A sweep states the direction of the metric that it ranks by; other metrics are better when higher."""
    scores = {(n, scale, 0): float(n + k) for n in range(6) for k, scale in enumerate(SCALES)}
    write_study("both", scores, lower=True, also="mme/overall")
    assert [rows[0]["design"] for rows in ablate_json("ls", "both")["rankings"]] == ["lr0"] * 3
    assert [rows[0]["design"] for rows in ablate_json("ls", "both", "--metric", "mme/overall")["rankings"]] == [
        "lr5"
    ] * 3
    code, out, _ = ablate("consistency", "--study", "both", "--metric", "val/loss")
    assert (code, "val/loss (video, lower is better)" in out) == (0, True)
    assert "lower is better" not in ablate("consistency", "--study", "both", "--metric", "mme/overall")[1]
    assert "val/loss, lower is better" in ablate("ls", "both")[1]


def test_differences_of_losses_are_visible_in_a_ranking(runs):
    write_study("fine", {(n, "0.5B", 0): 2.301 + n / 1000 for n in range(5)}, lower=True)
    out = ablate("ls", "fine")[1]
    assert all(f"2.30{n}" in out for n in range(1, 6))
