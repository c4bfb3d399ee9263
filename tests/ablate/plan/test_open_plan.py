"""Plans with a trainer of the user's own: resources, GPU-hours stated and measured, limits, jobs, refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ablate.cli.main import main
from ablate.errors import InfeasibleError, SpecError
from ablate.plan import Plan, Pricing, make_plan, refuse_assumed, refuse_infeasible
from ablate.record import Result, Score, StudyFacts, facts, folder_of, remember
from ablate.run import job_of
from ablate.run.job import job_from
from ablate.run.planned import about, study_facts
from ablate.spec import load_spec

SPEC = """\
study: mine
resources: {gpus: 1, cpus: 8}
trainer:
  command: [torchrun, train.py, --config, "{config}", [--resume, "{resume}"], "{{x}}"]
  workdir: code
  code: [train.py]
  env: {WANDB_MODE: offline}
axes: {model.projector: [mlp, perceiver]}
scales: [{label: small, set: {model.name: a}}, {label: large, set: {model.name: b}, resources: {gpus: 8, nodes: 2}}]
seeds: [0, 1]
metric: {name: loss/overall, lower_is_better: true}
cost: {gpu_hours: {small: 3, large: 60}}
limits: {trial: 6h, silence: 20m, sweep: 36h, gpu_hours: 500, failures: 5}
retries: {oom: 0, killed: 1}
"""
PRICES = Pricing(gpu=None)


@pytest.fixture
def plan_of(tmp_path: Path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)\n")

    def plan(text: str = SPEC, pricing: Pricing | None = PRICES) -> Plan:
        (tmp_path / "mine.yaml").write_text(text)
        return make_plan(load_spec(tmp_path / "mine.yaml"), pricing)

    return plan


def finish(plan: Plan, label: str, seconds: float) -> None:
    """Record a finished trial as a sweep does."""
    trial = next(p.trial for p in plan.planned if p.trial.label == label)
    folder = folder_of(plan.paths, trial.key)
    folder.describe(about(plan, trial))
    folder.begin()
    scores = [Score(benchmark="loss", category="overall", modality="video", score=2.0)]
    times = {"seconds": seconds, "started_at": 0.0, "ended_at": seconds}
    folder.finish(Result(key=trial.key, attempt=0, scores=scores, environment={}, **times))


def test_resources_and_stated_hours_of_each_scale(plan_of):
    plan = plan_of()
    small, large = plan.planned[0], plan.planned[2]
    assert (small.cpus, small.gpus, small.nodes) == (8, 1, 1)
    assert (large.cpus, large.gpus, large.nodes) == (8, 8, 2)
    assert plan.totals() == {"samples": None, "gpu_hours": 4 * 3 + 4 * 60}
    assert plan.notes() == ["GPU-hours at small, large are those that the spec states under `cost`"]
    assert [p.trial.config.scale for p in plan.missing[:4]] == ["large"] * 4, "those that take longest run first"


def test_without_gpus_asked_for_a_trial_gets_one_cpu(plan_of):
    plan = plan_of(SPEC.replace("resources: {gpus: 1, cpus: 8}\n", ""))
    assert (plan.planned[0].cpus, plan.planned[0].gpus, plan.planned[0].nodes) == (1, 0, 1)
    free = plan_of(SPEC.replace("resources: {gpus: 1, cpus: 8}\n", "").replace("small: 3, ", ""))
    assert not any("small" in note for note in free.notes()), "trials without GPUs take no GPU-hours"


def test_hours_of_samples(plan_of):
    cost = "samples: 1800\ncost: {gpu_seconds_per_sample: {small: 2}}"
    plan = plan_of(SPEC.replace("cost: {gpu_hours: {small: 3, large: 60}}", cost))
    assert plan.planned[0].open_price.gpu_hours == 1.0
    assert plan.totals() == {"samples": 8 * 1800, "gpu_hours": 4.0}
    assert "not priced: large; state `cost: {gpu_hours: {large: ...}}`" in plan.notes()[1]


def test_finished_trials_replace_the_statement_at_their_scale(plan_of):
    plan = plan_of()
    finish(plan, "mlp@large/s0", 3600)
    finish(plan, "mlp@large/s1", 7200)
    plan = plan_of()
    assert plan.planned[2].open_price.to_json() == {"gpu_hours": 1.5 * 16, "measured_trials": 2}
    assert plan.planned[0].open_price.to_json() == {"gpu_hours": 3.0, "measured_trials": 0}
    assert plan.totals()["gpu_hours"] == 4 * 3 + 2 * 24
    assert "GPU-hours at large are the mean of 2 finished trials on the GPUs that the spec asks for" in plan.notes()
    other_samples = plan_of(SPEC + "samples: 7\n")
    assert other_samples.planned[2].open_price.measured_trials == 0, "trials of other lengths say nothing"
    other_code = plan_of(SPEC.replace("code: [train.py]", "version: 1"))
    assert (other_code.count("done"), other_code.planned[2].open_price.measured_trials) == (0, 2)


def test_a_finished_trial_is_done_until_the_code_changes(plan_of, tmp_path: Path):
    plan = plan_of()
    finish(plan, "mlp@small/s0", 10)
    assert plan_of().count("done") == 1
    assert plan_of(SPEC.replace("workdir: code", "workdir: ./code/../code")).count("done") == 1
    (tmp_path / "code" / "train.py").write_text("print(2)\n")
    assert plan_of().count("done") == 0


def test_the_direction_of_the_metric_is_stated_or_that_of_the_study(plan_of, tmp_path: Path):
    plan = plan_of()
    assert (plan.metric, plan.lower_is_better) == ("loss/overall", True)
    remember(
        plan.paths, StudyFacts().with_sweep(metric=plan.metric, lower_is_better=True, samples=None, spec="mine.yaml")
    )
    other = plan_of(SPEC.replace("lower_is_better: true", "lower_is_better: false"))
    assert not other.lower_is_better
    assert "earlier sweeps of the study ranked loss/overall with lower scores as better" in other.warnings[-1]
    assert facts(plan.paths).is_lower_better("loss/overall"), "a plan writes nothing"
    own = "study: mine\nbase: tiny\naxes: {sampling.frames: [4]}\nscales: [0.05M]\n"
    remember(plan.paths, StudyFacts())
    assert not plan_of(own).lower_is_better
    remember(plan.paths, StudyFacts(lower_is_better=True))
    assert plan_of(own).lower_is_better, "imported scores have stated it"
    assert not plan_of(own + "metric: {name: tinybench/overall, lower_is_better: false}\n").lower_is_better


def test_a_job_has_everything_that_an_agent_needs(plan_of, tmp_path: Path):
    plan = plan_of(SPEC + "data: {videos: code/train.py}\n")
    job = job_of(plan, plan.planned[2])
    assert (job.cpus, job.gpus, job.nodes, job.total_gpus) == (8, 8, 2, 16)
    assert (job.trial_limit_s, job.silence_limit_s) == (6 * 3600, 1200)
    program = job.program
    assert program.command == ("torchrun", "train.py", "--config", "{config}", ("--resume", "{resume}"), "{{x}}")
    assert (program.workdir, program.env) == (str(tmp_path / "code"), {"WANDB_MODE": "offline"})
    assert program.config == {
        "model": {"projector": "mlp", "name": "b"},
        "scale": "large",
        "seed": 0,
        "samples": None,
        "data": {"videos": str(tmp_path / "code" / "train.py")},
    }
    assert (program.metric, program.states_data, list(program.code)) == ("loss/overall", True, ["train.py"])
    assert job_from(json.loads(json.dumps(job, default=vars))) == job, "it travels as plain data"


def test_flags_of_a_design_with_data_axes_contain_them(plan_of):
    plan = plan_of(SPEC.replace("model.projector: [mlp", "data.fps: [1], model.projector: [mlp"))
    program = job_of(plan, plan.planned[0]).program
    assert program.config["data"] == {"fps": 1}
    assert not program.states_data, "the design's data are among its flags"


NODE = {"CPU": 64.0, "GPU": 8.0}


def test_a_trial_of_several_nodes_needs_so_many_that_hold_its_share(plan_of):
    plan = plan_of()
    refuse_infeasible(plan, [NODE, NODE])
    with pytest.raises(InfeasibleError, match=r"mlp@large/s0 asks for 2 nodes with 8 CPU, 8 GPU each, but 1 node\(s\)"):
        refuse_infeasible(plan, [NODE, {"CPU": 64.0, "GPU": 4.0}])
    with pytest.raises(InfeasibleError, match="asks for 2 nodes with 8 CPU, 8 GPU each, but no node"):
        refuse_infeasible(plan, [{"CPU": 64.0, "GPU": 4.0}])
    refuse_assumed(plan)


# --- the command ------------------------------------------------------------------------------------


def output_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    monkeypatch.setattr("sys.argv", ["ablate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    return capsys.readouterr()


def test_the_command_shows_hours_limits_and_retries(plan_of, tmp_path: Path, monkeypatch, capsys):
    plan_of()
    printed = output_of(monkeypatch, capsys, "plan", tmp_path / "mine.yaml", "--gpu", "h100-80gb")
    header, first, *_ = printed.out.splitlines()
    assert header.split() == ["trial", "key", "state", "nodes", "GPU", "GPU-h"]
    assert first.split()[0] == "mlp@small/s0"
    assert first.split()[-1] == "3"
    assert "each: 8 CPU" in printed.out
    assert "limits: trial 6h, silence 20m, sweep 36h, 500 GPU-hours, 5 failures in a row" in printed.out
    assert "retried: killed once, timeout once, node 10 times, preempted 100 times; never: usage, data" in printed.out
    assert printed.out.count("code, oom") == 1
    assert "missing: 252 GPU-hours" in printed.out
    assert "FLOPs" not in printed.out
    assert "note: GPU-hours at small, large are those that the spec states" in printed.err


def test_json_has_everything_that_the_table_has(plan_of, tmp_path: Path, monkeypatch, capsys):
    plan_of()
    printed = output_of(monkeypatch, capsys, "plan", tmp_path / "mine.yaml", "--gpu", "h100-80gb", "--json")
    answer = json.loads(printed.out)
    assert answer["limits"] == {"trial_s": 21600, "silence_s": 1200, "sweep_s": 129600, "gpu_hours": 500, "failures": 5}
    assert answer["retries"]["killed"] == 1
    assert [name for name, number in answer["retries"].items() if not number] == [
        "oom", "usage", "data", "diverged", "code",
    ]  # fmt: skip
    assert (answer["metric"], answer["lower_is_better"]) == ("loss/overall", True)
    large = next(trial for trial in answer["trials"] if trial["scale"] == "large")
    assert (large["cpus"], large["gpus"], large["nodes"]) == (8, 8, 2)
    assert large["price"] == {"gpu_hours": 60.0, "measured_trials": 0}
    assert "llm_lr" not in large


def test_limits_of_our_own_trainer_are_shown_too(monkeypatch, capsys):
    printed = output_of(monkeypatch, capsys, "plan", "sampling")
    assert "limits: silence 1h, 10 failures in a row" in printed.out
    assert "retried: oom once, killed twice, timeout once" in printed.out


def test_the_schema_of_the_files_of_a_trainer(monkeypatch, capsys):
    schema = json.loads(output_of(monkeypatch, capsys, "schema", "trainer").out)
    Draft202012Validator.check_schema(schema)
    assert {"progress.jsonl", "result.json", "failure.json"} == {entry["title"] for entry in schema["anyOf"]}
    assert json.loads(output_of(monkeypatch, capsys, "schema").out) == json.loads(
        output_of(monkeypatch, capsys, "schema", "spec").out
    )


OWN = "study: mine\nbase: tiny\naxes: {sampling: [{kind: uniform, frames: 4}]}\nscales: [0.05M]\n"


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [(SPEC, OWN, "are of a trainer of your own ("), (OWN, SPEC, "are of ablate's own trainer; choose another name")],
)
def test_a_study_has_one_kind_of_trainer(plan_of, first: str, second: str, says: str):
    plan = plan_of(first, None)
    remember(plan.paths, study_facts(plan))
    with pytest.raises(SpecError, match=f"mine.yaml:1: study: the trials of mine {re.escape(says)}"):
        plan_of(second, None)


def test_what_is_wrong_with_the_scales_is_reported_before_they_are_trained(plan_of):
    sized = SPEC.replace("small", "S-0.5B").replace("large", "7B")
    assert plan_of(sized).warnings == []
    assert plan_of(SPEC.replace("small", "0.5B")).warnings == [
        "scales large: `ablate promote`, `next` and `backtest` need labels that end in a size, as large-7B; a label "
        "that is changed later makes new trials"
    ]
    command = sized.replace("[torchrun, train.py", '[torchrun, "--nproc-per-node={gpus}", train.py')
    assert plan_of(command).warnings == []
    assert plan_of(command.replace("{gpus: 1, cpus: 8}", "{cpus: 8}")).warnings == [
        "trainer.command: {gpus} is 0 at S-0.5B, whose `resources` ask for no GPU; torchrun needs 1 process or more"
    ]
    one_scale = sized.replace(", {label: 7B, set: {model.name: b}, resources: {gpus: 8, nodes: 2}}", "")
    assert plan_of(one_scale.replace("S-0.5B", "S").replace(", 7B: 60", "")).warnings == []
