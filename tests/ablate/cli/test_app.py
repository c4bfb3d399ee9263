"""Commands as a user types them: exit codes, one-line errors, JSON on stdout, quick starts."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from ablate.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass
class Done:
    stdout: str
    stderr: str


def ablate(*arguments: object, code: int = 0) -> Done:
    """Run the entry point in this process: importing everything again for each of these would take a minute."""
    out, err, exit_code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ablate", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            exit_code = int(stop.code or 0)
    assert exit_code == code, out.getvalue() + err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def refused(*arguments: object, code: int = 2) -> str:
    """The one line on stderr; nothing on stdout."""
    done = ablate(*arguments, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("ablate: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def best_of(times: int, *arguments: str) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ablate.cli", *arguments], capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@pytest.mark.slow  # timed, so not beside other tests
def test_consistency_on_the_published_tables_is_quick_and_right():
    assert best_of(2, "consistency", "--small", "1.5B", "--large", "7B") < 3
    answer = json.loads(ablate("consistency", "--small", "1.5B", "--large", "7B", "--json").stdout)
    assert answer["study"] == "apollo"
    assert answer["n"] == 21
    rounded = {k: round(answer[k], 3) for k in ("r2", "spearman", "kendall", "decision_accuracy")}
    assert rounded == {"r2": 0.831, "spearman": 0.868, "kendall": 0.676, "decision_accuracy": 0.838}
    assert answer["regret"] == {"1": 0.22, "3": 0.22, "5": 0.0}
    assert {"small", "large", "slope", "intercept"} <= set(answer)


def test_looking_loads_neither_torch_nor_ray_nor_mlflow():
    code = (
        "import sys; from ablate.cli.app import app; from typer.testing import CliRunner; run = CliRunner().invoke\n"
        "for a in (['plan', 'sampling', '--json'], ['sweep', 'sampling', '--dry-run'], ['schema'], ['ls'],\n"
        "          ['consistency', '--small', '1.5B', '--large', '7B']): assert run(app, a).exit_code == 0, a\n"
        "print([m for m in ('torch', 'transformers', 'ray', 'mlflow', 'decord', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_shows_the_shipped_sweep_and_writes_nothing(tmp_path):
    plan = json.loads(ablate("plan", "sampling.yaml", "--json").stdout)
    assert {k: plan[k] for k in ("declared", "excluded", "duplicate", "done", "missing", "failed")} == {
        "declared": 12,
        "excluded": 0,
        "duplicate": 0,
        "done": 0,
        "missing": 12,
        "failed": 0,
    }
    assert {t["label"] for t in plan["trials"]} >= {"uniform4@0.05M/s0", "fps4@0.4M/s0"}
    more = json.loads(ablate("plan", "sampling", "--seeds", "0,1,2", "--scales", "0.05M", "--json").stdout)
    assert more["declared"] == 18
    assert {t["key"] for t in plan["trials"] if t["scale"] == "0.05M"} < {t["key"] for t in more["trials"]}
    shown = ablate("plan", "sampling").stdout
    assert "fps2@0.05M/s0" in shown
    assert "12 declared, 0 excluded, 0 duplicate, 0 done, 12 missing" in shown
    assert not (tmp_path / "runs").exists()


def test_an_error_is_one_line_with_the_fix(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("study: s\nbase: tiny\nscales: [0.15M]\naxes: {samplng: [1]}\n")
    assert "wrong.yaml:4: axes.samplng" in refused("plan", wrong)
    assert "did you mean 'sampling'?" in refused("sweep", wrong)
    assert "no sweep spec nothing.yaml" in refused("sweep", "nothing.yaml")
    assert "whole numbers" in refused("plan", "sampling", "--seeds", "a")
    assert "unknown scale '4M', did you mean '0.4M'?" in refused("plan", "sampling", "--scales", "4M")
    assert "no study 'x'" in refused("consistency", "--study", "x")
    assert "no trials at 3B in study apollo; there are: 0.5B, 1.5B, 4B, 7B" in refused("consistency", "--small", "3B")
    assert "no study 'x'" in refused("ls", "x")
    assert "no study 'x'" in refused("sync", "x")
    assert "no MLflow store" in refused("ui", "x", "--no-browser")
    assert "use .png" in refused("consistency", "--plot", tmp_path / "x.gif")
    assert "no file" in refused("import", tmp_path / "none.csv", "--study", "s")


def test_missing_videos_and_manifests_are_reported_before_anything_runs(tmp_path):
    spec, mine = tmp_path / "mine.yaml", tmp_path / "mine"
    spec.write_text(
        "study: s\nbase: tiny\nscales: [0.15M]\naxes: {sampling.frames: [4]}\n"
        "set:\n  data: {kind: manifest, benchmark: b, folder: mine}\n"
    )
    assert "has no train.json" in refused("plan", spec)
    mine.mkdir()
    talk = [{"from": "human", "value": "<video>\nwhat"}, {"from": "gpt", "value": "that"}]
    (mine / "train.json").write_text(json.dumps([{"video": "a.mp4", "conversations": talk}]))
    (mine / "test.json").write_text("[]")
    message = refused("sweep", spec)
    assert "1 of 1 media files are missing" in message
    assert "first a.mp4" in message
    assert not (tmp_path / "runs").exists()


def test_wrong_options_are_usage_errors():
    for arguments in (["consistency", "--nope"], ["sweep"], ["nonsense"], ["ui", "--port", "0"]):
        ablate(*arguments, code=2)


def test_what_no_node_can_run_is_refused_at_once_with_both_numbers(tmp_path):
    spec = tmp_path / "big.yaml"
    spec.write_text((REPOSITORY / "sweeps" / "sampling.yaml").read_text() + "resources: {cpus: 1000, gpus: 8}\n")
    began = time.perf_counter()
    message = refused("sweep", spec, code=3)
    assert time.perf_counter() - began < 5
    assert "asks for 1000 CPU, 8 GPU" in message
    assert "Lower `resources`" in message
    assert "asks for 1000 CPU" in ablate("plan", spec, code=3).stderr
    assert "asks for" not in ablate("plan", spec, "--gpu", "h100-80gb").stderr  # a plan for other machines


@pytest.mark.slow
def test_a_table_of_the_study_is_priced_in_two_seconds():
    assert best_of(2, "plan", "apollo/scaling_consistency") < 2


def test_what_all_trials_share_is_shown_once():
    head, *rows = ablate("plan", "apollo/resamplers").stdout.splitlines()
    assert head.split() == ["trial", "key", "state", "connector", "PFLOPs", "GiB/GPU", "GPUs", "GPU-h"]
    (shared,) = (row for row in rows if row.startswith("each: "))
    assert "750,000 training samples" in shared
    assert "3.09B LLM parameters" in shared


def test_a_trial_that_no_gpu_holds_is_refused_with_code_3():
    message = refused("plan", "apollo/resamplers", "--gpu", "t4-16gb", "--max-gpus", "1", code=3)
    assert "on each of 1 x t4-16gb" in message
    assert "did you mean h100-80gb?" in refused("plan", "apollo/resamplers", "--gpu", "h100")
    assert "--noise inf: give a number" in refused("plan", "apollo/resamplers", "--noise", "inf")


def test_import_then_consistency(tmp_path):
    file = tmp_path / "s.csv"
    rows = [f"d{i},{s},{i * i if s == '1B' else 50 - i}" for i in range(6) for s in ("1B", "3B")]
    file.write_text("\n".join(["design,scale,score", *rows]))
    assert json.loads(ablate("import", file, "--study", "mine", "--lower-is-better", "--json").stdout)["trials"] == 12
    answer = json.loads(ablate("consistency", "--json").stdout)
    assert answer["study"] == "mine"  # one's own before the built-in one
    answer = json.loads(ablate("consistency", "--small", "1B", "--large", "3B", "--json").stdout)
    assert (answer["study"], answer["lower_is_better"], answer["spearman"]) == ("mine", True, -1)
    assert answer["decision_accuracy"] == 0
    assert answer["regret"]["1"] == 5
    listed = json.loads(ablate("ls", "mine", "--json").stdout)
    assert listed["rankings"][0][0]["design"] == "d0"


def test_scales_left_out_are_those_that_have_the_metric(tmp_path):
    """Scores of another benchmark at another scale lie beside; they must not be what is compared."""
    for benchmark, scales in (("ours", ("1B", "3B")), ("theirs", ("7B",))):
        file = tmp_path / f"{benchmark}.csv"
        rows = [f"d{i},{scale},{i},{benchmark}" for i in range(4) for scale in scales]
        file.write_text("\n".join(["design,scale,score,benchmark", *rows]))
        ablate("import", file, "--study", "mixed")
    answer = json.loads(ablate("consistency", "--study", "mixed", "--metric", "ours/overall", "--json").stdout)
    assert (answer["small"], answer["large"]) == ("1B", "3B")


def test_a_typo_in_a_studys_name_is_reported_with_the_nearest_one(tmp_path):
    (tmp_path / "s.csv").write_text("design,scale,score\na,1B,1\nb,1B,2\n")
    ablate("import", tmp_path / "s.csv", "--study", "theirs")
    assert "did you mean 'theirs'? there are: theirs, apollo (built in)" in refused("ls", "thiers")


@pytest.mark.slow
def test_plots_are_drawn(tmp_path):
    for name in ("x.png", "x.svg", "x.pdf"):
        ablate("consistency", "--small", "1.5B", "--large", "7B", "--plot", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_the_schema_is_json_for_editors(tmp_path):
    ablate("schema", "--output", tmp_path / "s.json")
    definitions = json.loads((tmp_path / "s.json").read_text())["$defs"]
    assert all(definitions[kind]["properties"]["scales"] for kind in ("Sweep", "OpenSweep"))


@pytest.mark.parametrize("kind", ["module", "package"])
def test_another_models_package_is_refused_by_name(tmp_path, kind):
    if kind == "module":
        (tmp_path / "models.py").write_text("")
    else:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "__init__.py").write_text("")
    done = subprocess.run([sys.executable, "-m", "ablate.cli", "ls"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "'import models' finds" in done.stderr


@pytest.mark.parametrize("columns", [80, 120, 1000])
def test_a_plan_shows_the_llms_rate_and_fits_the_terminal(columns: int, monkeypatch, tmp_path: Path):
    from rich.console import Console

    from ablate.cli.views import plan

    file = io.StringIO()
    monkeypatch.setattr(plan, "OUT", Console(highlight=False, markup=False, soft_wrap=True, width=columns, file=file))
    noted = ablate("plan", "apollo/scaling_consistency").stderr
    head, *rows = file.getvalue().splitlines()
    table, (rates,) = rows[:84], [row for row in rows if row.startswith("peak learning rate")]
    assert max(len(row.rstrip()) for row in (head, *table)) <= columns
    assert not any("\u2026" in row for row in (head, *table)), "nothing is cut"
    assert {"PFLOPs", "GiB/GPU", "GPU-h"} <= set(head.split())
    assert rates == "peak learning rate of the LLM: 6e-05 at 0.5B and 1.5B, 2.3e-05 at 4B, 1.2e-05 at 7B"
    assert any("left out of the table" in row for row in rows) == (columns < 1000)
    assert "note: 0.5B: the factor 2 of the LLM's learning rates is capped" in noted


def test_a_plan_shows_the_llms_rate_of_each_trial_where_designs_differ(tmp_path: Path):
    spec = tmp_path / "rates.yaml"
    spec.write_text(
        "study: s\nbase: tiny\naxes: {schedule.1.lr.llm: [0.005, 0.001]}\nscales: [{label: 0.4M, llm_lr_factor: 0.5}]\n"
    )
    head, *rows = ablate("plan", spec).stdout.splitlines()
    at = head.index("LLM lr")
    assert [row[at : at + 6].strip() for row in rows[:2]] == ["0.0025", "0.0005"]
    priced = json.loads(ablate("plan", spec, "--json").stdout)["trials"]
    assert [trial["llm_lr"] for trial in priced] == [0.0025, 0.0005]


def test_assumed_data_are_for_plans_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert json.loads(ablate("plan", "apollo/resamplers", "--json").stdout)["missing"] == 3
    assert json.loads(ablate("sweep", "apollo/resamplers", "--dry-run", "--json").stdout)["missing"] == 3
    assert "the data of this spec are only assumed" in refused("sweep", "apollo/resamplers")
    assert not list(tmp_path.iterdir())


def test_nodes_may_come_to_a_cluster_and_not_to_this_machine(monkeypatch):
    clusters = []
    monkeypatch.setattr(
        "ablate.cli.views.sweep.run_and_show", lambda _plan, _run, cluster, **_: clusters.append(cluster)
    )
    ablate("sweep", "sampling", "--address", "auto", "--nodes-may-come")
    assert [(cluster.address, cluster.nodes_may_come) for cluster in clusters] == [("auto", True)]
    assert "--address" in refused("sweep", "sampling", "--nodes-may-come")
