"""A wrong spec names the file, the line, the key and the fix; a valid one expands to its trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import SpecError, UsageError
from ablate.spec import Trial, expand, find_spec, json_schema, load_spec
from ablate.spec.shipped import shipped_sweeps
from models.ladder import rates_of, scale_card, scale_card_of

VALID = """\
study: s
base: tiny
axes:
  sampling:
    - {kind: uniform, frames: 8}
    - {kind: fps, fps: 2}
scales: [0.15M]
"""
SAMPLING = "  sampling:\n    - {kind: uniform, frames: 8}\n    - {kind: fps, fps: 2}"


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return expand(load_spec(path))

    return load


@pytest.mark.parametrize(
    ("wrong", "line", "says"),
    [
        (("frames: 8", "frame: 8"), 5, "axes.sampling.0.frame: unknown key 'frame'; did you mean 'frames'?"),
        (("kind: uniform", "kind: unifrm"), 5, "unknown kind 'unifrm'; did you mean 'uniform'?"),
        (("kind: uniform, ", ""), 5, "missing its `kind`"),
        (
            (
                SAMPLING,
                "  resampler.kind: [mlp_pool]",
            ),
            4,
            "to change the kind, give `resampler` whole values: {kind: ..., ...}",
        ),
        (
            (
                SAMPLING,
                "  encoders: [{kind: siglip}]",
            ),
            4,
            "axes.encoders.0: must be a list: [{kind: siglip}]",
        ),
        (
            (
                SAMPLING,
                "  encoders: [[{kind: custom, path: a.b.C, grid: [1, 2, 2], width: 4}]]",
            ),
            4,
            "'a.b.C' does not name a class; write package.module:Class",
        ),
        (("fps: 2", "fps: two"), 6, "fps must be a number, not 'two'"),
        (("fps: 2", "fps: -1"), 6, "greater than 0"),
        (("  sampling:", "  samplng:"), 4, "did you mean 'sampling'?"),
        (("  sampling:", "  tokens_per_frame:"), 4, "did you mean 'resampler.tokens_per_frame'?"),
        (("scales:", "scale:"), 7, "did you mean 'scales'?"),
        (("0.15M", "0.15m"), 7, "unknown scale '0.15m', did you mean '0.15M'? Known scales: 0.05M"),
        (("[0.15M]", "[0.15M, 0.15M]"), 7, "given twice"),
        (("scales: [0.15M]\n", ""), 1, "scales: missing"),
        (("base: tiny", "base: tyni"), 2, "neither a preset (tiny, apollo) nor a file"),
        (("base: tiny", "base: tiny\nbase: tiny"), 3, "duplicate key"),
        (("base: tiny", "base: [tiny"), 3, "not valid YAML"),
        (("study: s", "study: a/b"), 1, "use letters, digits"),
        (("study: s", "study: apollo"), 1, "built-in study"),
        (("base: tiny", "base: tiny\nseeds: [0, 0]"), 3, "more replicates are more seeds"),
        (("base: tiny", "base: tiny\nset: {schedule.2.batch: 4}"), 3, "has 2 entries, numbered from 0"),
        (("base: tiny", "base: tiny\nset: {schedule.0.share: 0.5}"), 3, "must sum to 1"),
        (("base: tiny", "base: tiny\nexclude: [{sampling.kid: fps}]"), 3, "no such axis"),
        (("base: tiny", "base: tiny\ngrids: [{axes: {sampling: []}}]"), 3, "at least 1 item"),
        (
            ("base: tiny", "base: tiny\nzip: [{integration.timestamps: [true], data.world_seed: [1, 2]}]"),
            3,
            "equally many",
        ),
    ],
)
def test_a_mistake_is_reported_with_line_and_fix(load, wrong, line, says):
    assert wrong[0] in VALID
    with pytest.raises(SpecError) as error:
        load(VALID.replace(*wrong))
    assert f"s.yaml:{line}: " in str(error.value)
    assert says in str(error.value)


def test_all_cells_excluded_is_an_empty_grid(load):
    with pytest.raises(UsageError, match="empty grid: all 2 cells are excluded"):
        load(VALID + "exclude: [{scale: 0.15M}]\n")


def test_no_axis_is_an_empty_grid(load):
    with pytest.raises(SpecError, match="empty grid: give at least one axis"):
        load("study: s\nbase: tiny\nscales: [0.15M]\n")


def test_an_exclusion_that_matches_nothing_is_reported(load):
    assert "matches no cell" in load(VALID + "exclude: [{sampling.kind: uniform, seed: 7}]\n").warnings[0]


def test_a_spec_can_start_from_another(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(VALID + "set: {resampler.tokens_per_frame: 4}\nsamples: 320\n")
    (tmp_path / "b.yaml").write_text(VALID.replace("base: tiny", "base: a.yaml"))
    for trial in expand(load_spec(tmp_path / "b.yaml")).trials:
        assert trial.config.design.resampler.tokens_per_frame == 4
        assert trial.config.samples == 320


def test_specs_in_a_circle_are_refused(tmp_path: Path):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(VALID.replace("base: tiny", f"base: {base}.yaml"))
    with pytest.raises(SpecError, match="circle"):
        load_spec(tmp_path / "a.yaml")


def test_a_shipped_spec_is_found_by_bare_name():
    assert find_spec("sampling.yaml") == find_spec("sampling") == shipped_sweeps() / "sampling.yaml"
    with pytest.raises(UsageError, match=r"no sweep spec nowhere.yaml.*sampling\.yaml"):
        find_spec("nowhere.yaml")


@pytest.mark.parametrize("path", sorted(shipped_sweeps().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_spec_expands(path: Path):
    assert expand(load_spec(path)).trials


def test_the_schema_completes_axes_and_refuses_unknown_ones():
    axes = json_schema()["$defs"]["Sweep"]["properties"]["axes"]
    assert {"sampling", "resampler.tokens_per_frame", "integration.timestamps"} <= set(axes["properties"])
    assert axes["additionalProperties"] is False
    assert "unknown" not in axes["properties"]


# --- own scales ---------------------------------------------------------------------------------

OWN_SCALE = VALID.replace("[0.15M]", "[0.7M, {label: mine, llm: tiny/llm-0.4M@2}, 3B]")


def test_own_labels_have_their_llms_in_the_order_of_the_file(load):
    trials = load(OWN_SCALE).trials
    scales = [(t.config.scale, t.config.llm) for t in trials if t.design_label == "uniform8"]
    assert scales == [("0.7M", None), ("mine", "tiny/llm-0.4M@2"), ("3B", None)]
    ladder = load(VALID.replace("0.15M", "0.4M")).trials
    assert not {t.key for t in trials} & {t.key for t in ladder}


def test_scales_on_the_command_line_choose_labels_of_the_file_too(tmp_path: Path):
    path = tmp_path / "s.yaml"
    path.write_text(OWN_SCALE)
    spec = load_spec(path, scales=["7B", "3B", "mine"])
    assert (spec.labels, spec.llms) == (["mine", "3B", "7B"], {"mine": "tiny/llm-0.4M@2"})
    with pytest.raises(UsageError, match=r"--scales: unknown scale 'mime', did you mean 'mine'\? Known scales: mine"):
        load_spec(path, scales=["mime"])
    with pytest.raises(UsageError, match="--scales: mine is given twice"):
        load_spec(path, scales=["mine", "mine"])


def test_an_own_llm_may_be_any_hub_id_or_folder(load, tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    for llm in ("Qwen/Qwen3-1.7B", "google/gemma-3-1b-it", str(tmp_path)):
        assert load(VALID.replace("0.15M", f"{{label: 1.7B, llm: {llm}}}")).trials[0].label == "uniform8@1.7B/s0"


def test_a_scale_may_state_the_factor_of_the_llms_learning_rates(load, tmp_path: Path):
    def only(entry: str) -> Trial:
        return load(VALID.replace("0.15M", entry)).trials[0]

    default, stated = only("0.5B"), only("{label: 0.5B, llm_lr_factor: 3}")
    assert (stated.config.scale, stated.config.llm, stated.config.llm_lr_factor) == ("0.5B", None, 3.0)
    assert stated.label == default.label
    assert stated.key != default.key
    assert rates_of(stated.config, stated.config.design.schedule[1]).llm == pytest.approx(3 * 5e-3)
    same = only(f"{{label: 0.5B, llm_lr_factor: {scale_card('0.5B').llm_lr_factor!r}}}")
    assert same.key == default.key, "stating the factor that is used anyway makes no other trial"
    own = only("{label: mine, llm: Qwen/Qwen3-1.7B, llm_lr_factor: 1.5}")
    assert scale_card_of(own.config).llm_lr_factor == 1.5
    path = tmp_path / "factor.yaml"
    path.write_text(VALID.replace("0.15M", "0.15M, {label: 0.5B, llm_lr_factor: 3}"))
    assert load_spec(path, scales=["0.5B"]).llm_lr_factors == {"0.5B": 3.0}, "--scales keeps what the file states"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{label: 3B, llm: Qwen/Qwen2.5-7B-Instruct}", "scales.0: '3B' is one of the ladder's scales"),
        ("{label: 1.7B, lm: x}", "scales.0.lm: unknown key 'lm'; did you mean 'llm'?"),
        ("{label: 1.7B}", "scales.0: a label of your own needs its `llm`"),
        ("{label: 1.5, llm_lr_factor: 2}", "scales.0.label: Input should be a valid string"),
        (
            "{label: 1.6B, llm_lr_factor: 2}",
            "needs its `llm`: a hub id or a folder (unknown scale '1.6B', did you mean",
        ),
        ("{label: 0.5B, llm_lr_factor: 0}", "scales.0.llm_lr_factor: Input should be greater than 0, not 0"),
        ("{label: 0.5B, llm_lr_factor: '2'}", "scales.0.llm_lr_factor: Input should be a valid number, not '2'"),
        ("{label: 0.5B, llm_lr_factor: true}", "scales.0.llm_lr_factor: Input should be a valid number, not True"),
        ("{label: 0.5B, llm_lr_factor: .inf}", "scales.0.llm_lr_factor: Input should be a finite number, not inf"),
        ("{label: 0.5B, lr_factor: 2}", "scales.0.lr_factor: unknown key 'lr_factor'; did you mean 'llm_lr_factor'?"),
        ("{llm: Qwen/Qwen2.5-7B-Instruct}", "scales.0.label: missing"),
        ("{label: a/b, llm: Qwen/Qwen2.5-7B-Instruct}", "scales.0.label: "),
        ("{label: mine, llm: Qwen/Qwen2.5-7B-Instrct}", "did you mean 'Qwen/Qwen2.5-7B-Instruct'?"),
        ("{label: mine, llm: /nowhere/llm}", "there is no folder /nowhere/llm"),
        ("{label: mine, llm: tiny/llm-0.4M@1}", "the shipped parts are version 2"),
        ("7", "scales.0: a scale is a label or {label: ..., llm: ...}, not 7"),
        ("Qwen2.5-3", "scales.0: unknown scale 'Qwen2.5-3', did you mean 'Qwen2.5-3B'?"),
        (
            "{label: m, llm: Qwen/Qwen2-7B-Instruct}, {label: m, llm: Qwen/Qwen2-0.5B-Instruct}",
            "scales: m is given twice",
        ),
        ("3B, Qwen2.5-3B", "3B and Qwen2.5-3B are the same LLM, Qwen/Qwen2.5-3B-Instruct; give one of them"),
    ],
)
def test_a_wrong_scale_is_reported_with_line_and_fix(load, entry: str, says: str):
    with pytest.raises(SpecError) as error:
        load(VALID.replace("0.15M", entry))
    assert "s.yaml:7: " in str(error.value)
    assert says in str(error.value)


def test_the_schema_has_labels_and_own_scales():
    schema = json_schema()
    label, own = schema["$defs"]["Sweep"]["properties"]["scales"]["items"]["anyOf"]
    assert {"0.15M", "3B", "Qwen2.5-7B"} <= set(label["enum"])
    assert own == {"$ref": "#/$defs/Scale"}
    scale = schema["$defs"]["Scale"]
    assert scale["required"] == ["label"]
    of_llm, of_ladder = scale["anyOf"]
    assert of_llm["required"] == ["llm"]
    assert of_ladder["properties"]["label"]["enum"] == label["enum"]


# --- what a sweep of ablate's own trainer has no use for, and resources -----------------------------


@pytest.mark.parametrize(
    ("added", "line", "says"),
    [
        ("data: {fps: 2}", 8, "data: only with a `trainer` of your own; for ablate's own, set the design's: `set: {da"),
        ("cost: {gpu_hours: {0.15M: 1}}", 8, "cost: only with a `trainer` of your own"),
        (
            "resources: {gpus: 1.5}",
            8,
            "resources.gpus: 1.5 is not possible: a part of one GPU is below 1, and above it ",
        ),
        ("resources: {gpus: 0.5, nodes: 2}", 8, "resources: 2 nodes with 0.5 GPUs each: several nodes need whole GPUs"),
        ("resources: {nodes: 1.5}", 8, "resources.nodes: Input should be a valid integer"),
        ("resources: {cpus: .inf}", 8, "resources.cpus: Input should be a finite number"),
        (
            "limits: {trial: 6}",
            8,
            "limits.trial: 6 is no duration; write a number and s, m, h or d, as in 90s, 20m, 6h",
        ),
        ("limits: {silense: 6h}", 8, "limits.silense: unknown key 'silense'; did you mean 'silence'?"),
        ("retries: {code: 1}", 8, "retries.code: unknown key 'code'; did you mean"),
    ],
)
def test_a_wrong_field_beside_the_design_is_reported_with_line_and_fix(load, added: str, line: int, says: str):
    with pytest.raises(SpecError) as error:
        load(f"{VALID}{added}\n")
    assert f"s.yaml:{line}: {says}" in str(error.value)


def test_a_scale_of_ablates_trainer_may_have_resources_and_sets_nothing(load, tmp_path: Path):
    with pytest.raises(SpecError, match=r"s.yaml:7: scales.0.set: only with a `trainer` of your own"):
        load(VALID.replace("0.15M", "{label: 0.15M, set: {sampling.frames: 4}}"))
    load(VALID.replace("0.15M", "{label: 0.15M, resources: {cpus: 2}}") + "resources: {cpus: 1, gpus: 1}\n")
    resources = load_spec(tmp_path / "s.yaml").resources_at("0.15M")
    assert (resources.cpus, resources.gpus, resources.nodes) == (2, 1, None)
    with pytest.raises(SpecError, match=r"s.yaml:7: scales.0.resources: 2 nodes with 0.5 GPUs each"):
        load(VALID.replace("0.15M", "{label: 0.15M, resources: {nodes: 2}}") + "resources: {gpus: 0.5}\n")


def test_the_metric_may_have_a_direction(load, tmp_path: Path):
    load(VALID + "metric: {name: tiny/overall, lower_is_better: true}\n")
    metric = load_spec(tmp_path / "s.yaml").metric
    assert metric is not None
    assert (metric.name, metric.lower_is_better) == ("tiny/overall", True)


def test_an_axis_inside_of_a_part_that_is_null_is_refused_by_its_name(load):
    with pytest.raises(
        SpecError, match=r"'test_sampling' is null, which has no 'frames'; set 'test_sampling' as a whol"
    ):
        load(VALID.replace(SAMPLING, "  test_sampling.frames: [4]"))
