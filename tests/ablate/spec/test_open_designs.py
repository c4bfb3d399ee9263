"""Specs with a trainer of the user's own: what they expand to, what identifies a trial, what is refused where."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ablate.errors import SpecError, UsageError
from ablate.spec import SweepSpec, expand, json_schema, load_spec
from ablate.spec.grid import Expansion
from ablate.spec.shipped import shipped_sweeps

MINE = """\
study: mine
resources: {gpus: 1, cpus: 8}
trainer:
  command: [torchrun, --nproc-per-node, "{gpus}", train.py, --config, "{config}", --out, "{out}"]
  workdir: code
  code: [train.py, llava/]
  env: {WANDB_MODE: offline}
axes:
  data.fps: [1, 2, 4]
  model.projector: [mlp2x_gelu, perceiver]
scales: [{label: 0.5B, set: {model.name: Qwen/Qwen2.5-0.5B}},
         {label: 7B, set: {model.name: Qwen/Qwen2.5-7B}, resources: {gpus: 8}}]
seeds: [0, 1]
metric: {name: videomme/overall, lower_is_better: false}
cost: {gpu_hours: {0.5B: 3, 7B: 60}}
"""
"""The spec of docs/trainers.md."""
SCALES = MINE[MINE.index("scales:") : MINE.index("seeds:")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the code that the spec names."""
    (tmp_path / "code" / "llava").mkdir(parents=True)
    (tmp_path / "code" / "train.py").write_text("print('train')\n")
    (tmp_path / "code" / "llava" / "model.py").write_text("WIDTH = 64\n")
    return tmp_path


def loaded(folder: Path, text: str = MINE, **options: Any) -> SweepSpec:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_spec(path, **options)


def expanded(folder: Path, text: str = MINE) -> Expansion:
    return expand(loaded(folder, text))


def keys(expansion: Expansion) -> list[str]:
    return [trial.key for trial in expansion.trials]


def small(folder: Path, **fields: Any) -> Expansion:
    """Trials of a spec with few fields, some of them replaced."""
    spec = {
        "study": "s",
        "trainer": {"command": ["python", "train.py"], "version": 1},
        "axes": {"lr": [1, 2]},
        "scales": ["small"],
        "metric": "m/overall",
    } | fields
    path = folder / "small.yaml"
    with path.open("w") as file:
        YAML().dump({name: value for name, value in spec.items() if value is not ...}, file)
    return expand(load_spec(path))


# --- expansion --------------------------------------------------------------------------------------


def test_the_spec_of_the_docs_makes_its_trials(folder: Path):
    expansion = expanded(folder)
    assert (expansion.declared, len(expansion.trials), expansion.warnings) == (24, 24, [])
    assert len({trial.design_key for trial in expansion.trials}) == 6
    last = expansion.trials[-1]
    assert last.label == "fps4-perceiver@7B/s1"
    assert last.axes == {"data.fps": 4, "model.projector": "perceiver"}
    assert last.config.program_config() == {
        "data": {"fps": 4},
        "model": {"projector": "perceiver", "name": "Qwen/Qwen2.5-7B"},
        "scale": "7B",
        "seed": 1,
        "samples": None,
    }
    assert last.config.design == {"data": {"fps": 4}, "model": {"projector": "perceiver"}}


def test_the_design_is_the_same_at_all_scales_and_every_other_change_makes_other_trials(folder: Path):
    before = expanded(folder)
    changes = {
        "the scale sets something else": ("Qwen/Qwen2.5-7B}", "Qwen/Qwen3-8B}"),
        "other samples": ("seeds:", "samples: 100\nseeds:"),
        "another command": ("--config", "--cfg"),
    }
    for reason, change in changes.items():
        after = expanded(folder, MINE.replace(*change))
        assert [t.design_key for t in after.trials] == [t.design_key for t in before.trials], reason
        assert keys(after) != keys(before), reason
    large = [t.key for t in expanded(folder, MINE.replace("Qwen/Qwen2.5-7B}", "x}")).trials if t.config.scale == "0.5B"]
    assert large == [t.key for t in before.trials if t.config.scale == "0.5B"], "the other scale is unchanged"


def test_what_does_not_decide_the_result_is_in_no_key(folder: Path):
    before = keys(expanded(folder))
    (folder / "code").rename(folder / "moved")
    text = MINE.replace("workdir: code", "workdir: moved").replace("WANDB_MODE: offline", "OTHER: '1'")
    text = text.replace("gpus: 1, cpus: 8", "gpus: 2, cpus: 1, nodes: 2").replace("0.5B: 3,", "0.5B: 4,")
    text = text.replace("  workdir", "  processes: gpu\n  workdir") + "limits: {trial: 6h}\nretries: {oom: 3}\n"
    assert keys(expanded(folder, text)) == before


def test_grid_zip_exclude_and_one_at_a_time_work_as_for_our_own_designs(tmp_path: Path):
    tied = small(tmp_path, axes={"a": [1, 2]}, zip=[{"b": [1, 2], "c.d": ["x", "y"]}], exclude=[{"a": 2, "c.d": "y"}])
    assert (tied.declared, tied.excluded, len(tied.trials)) == (4, 1, 3)
    alone = small(tmp_path, set={"a": 1, "b": {"c": 2}}, axes={"a": [5], "b.c": [6, 2]}, vary="one_at_a_time")
    assert [t.design_label for t in alone.trials] == ["base", "a5", "c6"]
    assert alone.duplicate == 1
    assert [t.config.design for t in alone.trials][1:] == [{"a": 5, "b": {"c": 2}}, {"a": 1, "b": {"c": 6}}]


def test_a_new_axis_extends_a_study_beside_designs_that_lack_it(tmp_path: Path):
    before = small(tmp_path)
    grids = [{"axes": {"lr": [1, 2]}}, {"axes": {"lr": [1, 2], "warmup": [0.1]}}]
    after = small(tmp_path, axes=..., grids=grids)
    assert keys(after)[:2] == keys(before)
    assert [t.axes["warmup"] for t in after.trials] == ["absent", "absent", 0.1, 0.1]


def test_null_list_mapping_and_named_values(tmp_path: Path):
    values = [None, [1, 2], {"kind": "adamw", "lr": 1}, {"name": "mild", "value": {"name": "sgd"}}, "absent"]
    expansion = small(tmp_path, axes={"opt": values})
    assert [t.config.design["opt"] for t in expansion.trials] == [*values[:3], {"name": "sgd"}, "absent"]
    assert expansion.trials[2].design_label == "adamw1"
    assert expansion.trials[3].axes == {"opt": "mild"}
    assert len({t.design_key for t in expansion.trials}) == 5
    absent = small(tmp_path, axes={"other": [1]}).trials[0].design_key
    null = small(tmp_path, axes={"other": [1]}, set={"opt": None}).trials[0].design_key
    assert absent != null, "a program may treat a missing value in another way than null"


def test_a_name_that_the_program_does_not_get_is_reported(tmp_path: Path):
    expansion = small(tmp_path, axes={"opt": [{"name": "adamw", "lr": 1}]})
    assert expansion.trials[0].config.design == {"opt": {"lr": 1}}
    assert "opt: the name 'adamw' is a label, which the program does not get" in expansion.warnings[0]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcXYZ/_ .-", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def spelled_otherwise(value: Any, rng: random.Random) -> Any:
    """The same value with other spellings of numbers and another order of keys."""
    if isinstance(value, dict):
        entries = list(value.items())
        rng.shuffle(entries)
        return {key: spelled_otherwise(item, rng) for key, item in entries}
    if isinstance(value, list):
        return [spelled_otherwise(item, rng) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(["a", "b", "c.d", "e.f.g"]), PLAIN, min_size=1), st.randoms())
def test_order_and_spelling_change_no_key_and_no_config(tmp_path_factory, changes: dict[str, Any], rng: random.Random):
    folder = tmp_path_factory.mktemp("keys")
    once = small(folder, set=changes).trials
    again = small(folder, set=spelled_otherwise(changes, rng), axes={"lr": [1.0, 2.0]}).trials
    assert [t.key for t in once] == [t.key for t in again]
    texts = [json.dumps(t.config.program_config(), sort_keys=True) for t in (*once, *again)]
    assert texts[:2] == texts[2:], "trials of one key get one config"


@settings(max_examples=25)
@given(st.lists(PLAIN, min_size=2, max_size=4, unique_by=lambda v: json.dumps(v, sort_keys=True).replace(".0", "")))
def test_different_values_are_different_designs(tmp_path_factory, values: list[Any]):
    folder = tmp_path_factory.mktemp("designs")
    expansion = small(folder, axes={"x": [{"name": f"v{n}", "value": value} for n, value in enumerate(values)]})
    different = {json.dumps(trial.config.design, sort_keys=True) for trial in expansion.trials}
    assert len({trial.design_key for trial in expansion.trials}) == len(different)


# --- what identifies the program --------------------------------------------------------------------


def test_a_change_of_the_code_makes_new_trials_and_compiled_files_do_not(folder: Path):
    before = keys(expanded(folder))
    for name in ("__pycache__/model.cpython-311.pyc", ".git/HEAD", "model.pyc"):
        path = folder / "code" / "llava" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (folder / "code" / "notes.txt").write_text("not listed under `code`")
    assert keys(expanded(folder)) == before
    model = folder / "code" / "llava" / "model.py"
    model.write_text("WIDTH = 128\n")
    after = expanded(folder)
    assert not set(keys(after)) & set(before)
    model.rename(model.with_name("renamed.py"))
    assert not set(keys(expanded(folder))) & {*before, *keys(after)}, "names of files count, too"


def test_a_version_vouches_for_the_program_whatever_its_code_and_command(folder: Path):
    text = MINE.replace("code: [train.py, llava/]", "version: 3")
    before = keys(expanded(folder, text))
    (folder / "code" / "train.py").write_text("other")
    assert keys(expanded(folder, text.replace("--config", "--cfg"))) == before
    assert not set(keys(expanded(folder, text.replace("version: 3", "version: 4")))) & set(before)


def test_trials_keep_their_keys_while_the_code_is_edited_during_a_sweep(folder: Path):
    spec = loaded(folder)
    before = keys(expand(spec))
    (folder / "code" / "train.py").write_text("edited meanwhile")
    assert keys(expand(spec)) == before


def test_links_in_the_code_are_followed_once_and_files_are_named_below_workdir(folder: Path):
    code = folder / "code"
    (folder / "shared").mkdir()
    (folder / "shared" / "lib.py").write_text("1")
    (code / "llava" / "shared").symlink_to(folder / "shared")
    (code / "llava" / "circle").symlink_to(code / "llava")
    (code / "llava" / "nowhere").symlink_to(folder / "missing")
    trainer = loaded(folder).user_trainer
    assert trainer is not None
    assert sorted(trainer.code) == ["llava/model.py", "llava/shared/lib.py", "train.py"]
    assert all(len(digest) == 64 for digest in trainer.code.values())
    whole = loaded(folder, MINE.replace("code: [train.py, llava/]", "code: [.]")).user_trainer
    assert whole is not None
    assert sorted(whole.code) == sorted(trainer.code)
    assert "trainer.code: `.` stands for 3 files, and for any that the program writes into" in whole.notes[0]


# --- data -------------------------------------------------------------------------------------------

DATA = (
    MINE.replace("data.fps", "fps") + "data: {train: sets/train.json, images: sets, hub: lmms-lab/VideoMME, fps: 2.0}\n"
)


def test_data_enter_by_content_and_are_passed_on_with_absolute_paths(folder: Path):
    sets = folder / "sets"
    sets.mkdir()
    (sets / "train.json").write_text("[1]")
    before = expanded(folder, DATA)
    config = before.trials[0].config
    assert config.program_config()["data"] == {
        "train": str(sets / "train.json"),
        "images": str(sets),
        "hub": "lmms-lab/VideoMME",
        "fps": 2,
    }
    sets.rename(folder / "elsewhere")
    moved = expanded(folder, DATA.replace("sets", "elsewhere"))
    assert keys(moved) == keys(before), "where data lie is not what they are"
    assert keys(expanded(folder, DATA.replace("sets", "elsewhere").replace("fps: 2.0", "fps: 3"))) != keys(before)
    (folder / "elsewhere" / "train.json").write_text("[2]")
    assert not set(keys(expanded(folder, DATA.replace("sets", "elsewhere")))) & set(keys(before))


def test_a_path_that_does_not_exist_is_passed_on_with_a_note(folder: Path):
    expansion = expanded(folder, DATA)
    assert expansion.trials[0].config.data["train"] == "sets/train.json"
    assert expansion.warnings == ["data: there is no file or folder sets/train.json; the text is passed on unchanged"]


def test_data_of_the_spec_and_of_the_design_exclude_each_other(folder: Path):
    with pytest.raises(SpecError, match=r"mine.yaml:9: axes.data.fps: the program finds the spec's `data` under this"):
        expanded(folder, MINE + "data: x\n")


# --- scales and bases -------------------------------------------------------------------------------


def test_scales_are_any_labels_with_resources_of_their_own(folder: Path):
    spec = loaded(folder)
    assert spec.labels == ["0.5B", "7B"]
    large = spec.resources_at("7B")
    assert (large.gpus, large.cpus, large.nodes) == (8, 8, None)
    assert loaded(folder, scales=["7B"]).labels == ["7B"]
    with pytest.raises(UsageError, match=r"--scales: this spec has no scale '7b'; its scales: 0.5B, 7B"):
        loaded(folder, scales=["7b"])


def test_a_spec_may_start_from_another_with_a_trainer(folder: Path):
    (folder / "other").mkdir()
    parent = MINE.replace("axes:", "set: {model.width: 8}\naxes:")
    (folder / "parent.yaml").write_text(parent)
    child = "study: mine\nbase: ../parent.yaml\naxes: {data.fps: [1, 2, 4], model.projector: [mlp2x_gelu, perceiver]}\n"
    (folder / "other" / "child.yaml").write_text(child + SCALES + "seeds: [0, 1]\n")
    assert keys(expand(load_spec(folder / "other" / "child.yaml"))) == keys(expanded(folder, parent))
    (folder / "other" / "child.yaml").write_text(child + SCALES + "set: {model.width: 9}\n")
    assert expand(load_spec(folder / "other" / "child.yaml")).trials[0].config.design["model"]["width"] == 9


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "line", "says"),
    [
        (("command: [torchrun,", "command: [torchrun, '{cfg}',"), 4, "trainer.command: '{cfg}': there is no placehol"),
        (("command: [torchrun,", "command: [torchrun, '{',"), 4, "trainer.command: '{': a single brace; write {{ "),
        (("command: [torchrun,", "command: [[torchrun],"), 4, "trainer.command: the first entry is the program's name"),
        (("command: [torchrun,", "command: [torchrun, true,"), 4, "an argument is a text or a number, not True"),
        (("command: [torchrun,", "command: [torchrun, [],"), 4, "trainer.command: an empty list among the arguments"),
        (("workdir: code", "workdir: cod"), 5, "trainer.workdir: there is no folder"),
        (("code: [train.py, llava/]", "code: [train.py, lava/]"), 6, "trainer.code.1: there is no file or folder"),
        (("code: [train.py, llava/]", "version: 1.10"), 6, "trainer.version: a version is a whole number or a text"),
        (("code: [train.py, llava/]", f"code: [{'x' * 5000}]"), 6, "trainer.code.0: there is no file or folder"),
        (("workdir: code", f"workdir: {'x' * 5000}"), 5, "File name too long"),
        (("study: mine", f"study: mine\nbase: {'x' * 5000}"), 2, "is neither a preset (tiny, apollo) nor a file"),
        (("code: [train.py, llava/]", "code: [../mine.yaml]"), 6, "trainer.code.0: '../mine.yaml' is not a path b"),
        (("code: [train.py, llava/]", "code: [train.py]\n  version: 1"), 3, "trainer: give `code` (files whose cont"),
        (("  code: [train.py, llava/]\n", ""), 3, "trainer: give `code` (files whose content is in the key) or `ver"),
        (
            ("WANDB_MODE: offline", "WANDB_MODE: 1"),
            7,
            "trainer.env.WANDB_MODE: Input should be a valid string; write it in",
        ),
        (("command: [torchrun,", "command: [] #"), 4, "trainer.command: must be a list of the program and its argum"),
        (("{gpus: 1, cpus: 8}", "{gpus: true}"), 2, "resources.gpus: Input should be a valid number, not True"),
        (("{gpus: 1, cpus: 8}", "{cpus: '8'}"), 2, "resources.cpus: Input should be a valid number, not '8'"),
        (("study: mine", "study: mine\nlimits: {failures: true}"), 2, "limits.failures: Input should be a valid integ"),
        (("study: mine", "study: mine\nlimits: {gpu_hours: '5'}"), 2, "limits.gpu_hours: Input should be a valid numb"),
        (("study: mine", "study: mine\nretries: {oom: false}"), 2, "retries.oom: Input should be a valid integer, not"),
        (("7B: 60", "7B: true"), 15, "cost.gpu_hours.7B: Input should be a valid number, not True"),
        (("lower_is_better: false", "lower_is_better: 'no'"), 14, "metric.lower_is_better: Input should be a valid bo"),
        (("[mlp2x_gelu,", "[{name: ' ', value: 1},"), 10, "`name` must be a non-empty string"),
        (("  env:", "  evn:"), 7, "trainer.evn: unknown key 'evn'; did you mean 'env'?"),
        (("  data.fps:", "  data..fps:"), 9, "axes.data..fps: a dotted path is names with single dots between them"),
        (("  data.fps:", "  seed:"), 9, "axes.seed: the program finds the trial's `seed` under this name in its c"),
        (("  data.fps: [1,", "  data.fps: [.nan,"), 9, "axes.data.fps.0: nan is not a finite number"),
        (("  data.fps: [1,", "  data.fps: [2024-01-01,"), 9, "2024-01-01 is neither a number nor a text; write it in"),
        (("axes:", "set: {model: 3}\naxes:"), 11, "axes.model.projector.0: 'model' is 3, which has no 'projecto"),
        (("axes:", "set: {scale.x: 3}\naxes:"), 8, "set.scale.x: the program finds the trial's `scale` under this"),
        (
            ("seeds:", "exclude: [{data.fpss: 1}]\nseeds:"),
            13,
            "no design of this sweep sets it; did you mean 'data.fps'",
        ),
        (
            ("set: {model.name: Qwen/Qwen2.5-0.5B}", "set: {model: x}"),
            11,
            "scales.0.set.model: 'model.projector' is an",
        ),
        (
            ("set: {model.name: Qwen/Qwen2.5-0.5B}", "set: {data.fps.x: 1}"),
            11,
            "scales.0.set: 'data.fps' is 1, which h",
        ),
        (("set: {model.name: Qwen/Qwen2.5-0.5B}", "llm: Qwen/Qwen2.5-0.5B"), 11, "scales.0.llm: only for ablate's own"),
        (("resources: {gpus: 8}", "resources: {gpus: 1.5}"), 12, "scales.1.resources.gpus: 1.5 is not possible"),
        (("label: 7B", "label: 0.5B"), 11, "scales: 0.5B is given twice"),
        (("metric: {name: videomme/overall,", "metric: {name: videomme,"), 14, "metric: 'videomme' is not `benchmark"),
        (("metric: {name: videomme/overall, lower_is_better: false}\n", ""), 1, "metric: missing; with a trainer of"),
        (("7B: 60", "7b: 60"), 15, "cost.gpu_hours.7b: there is no scale '7b', and 7B has no cost; scales: 0.5B"),
        (("gpu_hours:", "gpu_seconds_per_sample:"), 15, "cost.gpu_seconds_per_sample: needs the number of `samples`"),
        (("study: mine", "study: mine\nbase: tiny"), 2, "base: 'tiny' is a design of ablate's own trainer; with a `tr"),
    ],
)
def test_a_mistake_is_reported_with_line_and_fix(folder: Path, wrong: tuple[str, str], line: int, says: str):
    assert wrong[0] in MINE
    with pytest.raises(SpecError) as error:
        expanded(folder, MINE.replace(*wrong))
    assert f"mine.yaml:{line}: " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("env", ["[KEY=secret]", "secret", "{KEY: [secret]}", "{KEY: {secret: 1}}"])
def test_no_mistake_in_the_environment_shows_its_values(folder: Path, env: str):
    trainer = MINE[MINE.index("trainer:") : MINE.index("axes:")]
    for wrong in (trainer.replace("{WANDB_MODE: offline}", env), f"trainer: [{{env: {env}}}]\n"):
        with pytest.raises(SpecError, match=r"mine.yaml:\d+: trainer") as error:
            loaded(folder, MINE.replace(trainer, wrong))
        assert "secret" not in str(error.value)


def test_labels_are_on_one_line_and_never_blank(folder: Path):
    values = r'["x\ny", "", " ", "\u202eabc", {name: "a\tb", value: 1}]'
    labels = {t.design_label for t in expanded(folder, MINE.replace("[mlp2x_gelu, perceiver]", values)).trials}
    assert all(label.isprintable() for label in labels)
    assert {label.partition("-")[2].partition("~")[0] for label in labels} == {"x y", "projector-blank", "abc", "a b"}


def test_a_base_of_our_own_trainer_is_refused_by_its_file(folder: Path):
    (folder / "own.yaml").write_text("study: s\nbase: tiny\naxes: {sampling.frames: [4]}\nscales: [0.15M]\n")
    with pytest.raises(SpecError, match=r"mine.yaml:1: base: 'own.yaml' is a design of ablate's own trainer"):
        expanded(folder, "base: own.yaml\n" + MINE)


# --- schema -----------------------------------------------------------------------------------------


def mistakes(text: str) -> int:
    """Number of errors that an editor shows."""
    plain = json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))
    return len(list(jsonschema.Draft202012Validator(json_schema()).iter_errors(plain)))


OURS = "study: s\nbase: tiny\naxes: {sampling.frames: [4]}\nscales: [0.15M]\n"


def test_editors_accept_both_kinds_and_show_mistakes_in_each():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    accepted = [
        MINE,
        MINE.replace("axes:", "set: {a.b: 1}\naxes:").replace("seeds:", "samples: 10\nseeds:"),
        MINE.replace("{name: videomme/overall, lower_is_better: false}", "videomme/overall"),
        "study: mine\nbase: mine.yaml\naxes: {any.path: [1]}\nscales: [small, large]\n",
        OURS,
        OURS + "metric: {name: tiny/overall, lower_is_better: true}\n",
        *(path.read_text() for path in shipped_sweeps().rglob("*.yaml")),
    ]
    assert [mistakes(text) for text in accepted] == [0] * len(accepted)
    refused = [
        MINE.replace("command", "cmd"),
        MINE.replace("label: 7B", "labl: 7B"),
        MINE.replace("metric:", "metrik:"),
        OURS.replace("sampling.frames", "any.path"),
        OURS.replace("0.15M", "small"),
        OURS.replace("base: tiny\n", ""),
        OURS + "cost: {gpu_hours: {0.15M: 1}}\n",
    ]
    assert all(mistakes(text) for text in refused)
