"""Priced plans: published counts, the real sampler's frames and tokens, refusals with needed and usable memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoTokenizer

from ablate.cli.views.plan import show_plan
from ablate.errors import InfeasibleError, SpecError, UsageError
from ablate.plan import Plan, Price, Pricing, gpu, make_plan, price, sizes_of
from ablate.plan.data_sizes import TINY
from ablate.plan.gpus import gpus
from ablate.plan.load import SEPARATORS_PER_CLIP
from ablate.run import job_of
from ablate.spec import expand, find_spec, load_spec
from models.architecture import build
from models.costs import Layout
from models.data import Prompter
from models.data.integration import splice
from models.data.letters import with_options
from models.design import AssumedData, Integration, ManifestData, TrialConfig
from models.presets import PRESETS
from models.tiny.world.scene import generator, make_scene
from models.video import Clip, num_clips
from models.weights import locate_tokenizer

H100 = Pricing(gpu=gpu("h100-80gb"))
APOLLO = PRESETS["apollo"].design

DENSE = {**APOLLO.resampler.model_dump(), "tokens_per_frame": 128}


def trial(scale: str = "3B", **changes: object) -> TrialConfig:
    design = APOLLO.model_validate(APOLLO.model_dump() | changes)
    return TrialConfig(design=design, scale=scale, seed=0, samples=750_000)


@pytest.mark.parametrize(
    ("scale", "llm", "connector"),
    [("Qwen2.5-1.5B", 1_543_714_304, 38.26), ("3B", 3_085_938_688, 63.60), ("7B", 7_615_616_512, 177.35)],
)
def test_parameters_are_the_published_ones(scale: str, llm: int, connector: float):
    params = price(trial(scale), "t", H100).params
    assert params["llm"] == llm
    assert round(params["connector"] / 1e6, 2) == connector
    assert params["vision"] == 986_975_872 + 397_745_440  # what the study runs of both towers


@pytest.mark.parametrize("separators", [False, True])
def test_parameters_of_the_connector_are_those_that_are_built(separators: bool):
    integration = Integration(separators=separators)
    design = PRESETS["tiny"].design.model_copy(update={"integration": integration})
    config = TrialConfig(design=design, scale="0.05M", seed=0, samples=64)
    built = sum(p.numel() for p in build(config)[0].parts()["connector"].parameters())
    assert price(config, "t", Pricing(gpu=None)).params["connector"] == built


def test_frames_and_tokens_are_the_samplers():
    cost = price(trial(), "t", H100)
    seconds = APOLLO.data.video_s
    clips = [num_clips(s, APOLLO.sampling, APOLLO.clip_frames) for s in seconds]
    assert cost.frames == 4 * sum(clips) / len(clips)
    assert cost.visual_tokens == 64 * sum(clips) / len(clips)
    stamped = price(trial(integration={"timestamps": True}), "t", H100)
    assert stamped.text_tokens == cost.text_tokens + 16 * sum(clips) / len(clips)


def test_rates_batch_and_warm_up_follow_from_the_scale():
    small, large = (price(trial(scale), "t", H100).stages[-1] for scale in ("1.5B", "7B"))
    assert (small.batch, small.steps, small.warmup_steps) == (256, 2344, 70)
    assert small.lr["llm"] == pytest.approx(3e-5 * 3_085_938_688 / 1_543_714_304)
    assert large.lr["llm"] == pytest.approx(3e-5 * 3_085_938_688 / 7_615_616_512)
    assert small.lr["connector"] == large.lr["connector"] == 1e-4


def test_gpu_hours_are_flops_over_speed():
    cost = price(trial(), "t", Pricing(gpu=gpu("h200-141gb")))
    assert (cost.on_gpu.gpus, cost.on_gpu.checkpointing) == (1, False)
    assert cost.on_gpu.hours == pytest.approx(cost.flops / (989e12 * 0.4) / 3600)
    tight = price(trial(), "t", H100)
    assert (tight.on_gpu.gpus, tight.on_gpu.checkpointing) == (1, True)
    again = sum(stage.flops_checkpointed for stage in tight.stages)
    assert tight.on_gpu.hours == pytest.approx(again / (989e12 * 0.4) / 3600)
    assert again > tight.flops
    assert price(trial("7B"), "t", H100).on_gpu.gpus == 2


def test_what_cannot_fit_is_refused_with_both_numbers_and_the_fix():
    with pytest.raises(InfeasibleError, match=r"needs 1?\d\d\.\d GiB on each of 1 x t4-16gb .* 14\.4 of 16 are usable"):
        price(trial("7B"), "t", Pricing(gpu=gpu("t4-16gb"), max_gpus=1))


@pytest.mark.parametrize(
    ("name", "most", "changes"),
    [
        ("a10-24gb", 1, {}),
        ("t4-16gb", 1, {}),
        (
            "t4-16gb",
            64,
            {
                "sampling": {"kind": "fps", "fps": 4},
                "resampler": {**APOLLO.resampler.model_dump(), "tokens_per_frame": 128},
            },
        ),
    ],
)
def test_what_a_refusal_advises_does_hold_the_trial(name: str, most: int, changes: dict[str, object]):
    config = trial("7B", **changes)
    with pytest.raises(InfeasibleError) as refused:
        price(config, "t", Pricing(gpu=gpu(name), max_gpus=most))
    message = str(refused.value)
    for count in re.findall(r"--max-gpus (\d+)", message):
        assert price(config, "t", Pricing(gpu=gpu(name), max_gpus=int(count))).on_gpu.gpus == int(count)
    large = re.search(r"(?:one|up to \d+) of ([^,]*?) \(--gpu\)", message)
    for other in large[1].split(" or ") if large else ():
        assert price(config, "t", Pricing(gpu=gpu(other), max_gpus=most)).on_gpu.gpu == other
    assert "--max-gpus" in message or large or "No GPU of `ablate plan --gpu` holds it" in message


def test_an_unknown_gpu_is_reported_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean h100-80gb"):
        gpu("H100")
    assert all(one.memory_gib > 0 and one.tflops > 0 and one.source for one in gpus().values())


def test_durations_of_the_embedded_study_are_those_of_its_scenes():
    drawn = [make_scene(generator(5, "train", i)).duration_s for i in range(1500)]
    assert sum(TINY.video_s) / len(TINY.video_s) == pytest.approx(sum(drawn) / len(drawn), rel=0.03)
    assert min(TINY.video_s) >= 2
    assert max(TINY.video_s) <= 16


def test_trials_of_the_embedded_study_ask_for_no_gpu_unless_one_is_named():
    spec = load_spec(find_spec("sampling"))
    plan = make_plan(spec, Pricing(gpu=None))
    assert plan.totals()["gpu_hours"] is None
    assert make_plan(spec, H100).totals()["gpu_hours"] > 0
    one = next(p for p in plan.planned if p.trial.label == "uniform8@0.05M/s0")
    assert (one.price.frames, one.price.visual_tokens) == (8, 16)


def test_published_scales_are_priced_on_a_gpu_without_asking():
    plan = make_plan(load_spec(find_spec("apollo/resamplers")), Pricing(gpu=None))
    assert {p.price.on_gpu.gpu for p in plan.planned} == {"h100-80gb"}
    barred = " ".join(plan.notes())
    assert "Qwen/Qwen2.5-3B-Instruct: qwen-research, not for commercial use" in barred
    assert "are assumed" in barred
    plan_json = plan.to_json()
    assert plan_json["trials"][0]["price"]["params"]["llm"] == 3_085_938_688
    json.dumps(plan_json, allow_nan=False)


def test_towers_are_reported_as_published_and_as_run():
    towers = {tower["id"]: tower for tower in price(trial(), "t", H100).to_json()["encoders"]}
    assert towers["google/siglip-so400m-patch14-384"]["params"] == 428_225_600
    assert towers["google/siglip-so400m-patch14-384"]["params_run"] == 397_745_440
    (video,) = (tower for name, tower in towers.items() if "InternVideo2" in name)
    assert video["params_run"] == 986_975_872


def test_what_is_fetched_counts_once():
    plan = make_plan(load_spec(find_spec("apollo/encoders")), Pricing(gpu=None))
    fetched = {name: gib for p in plan.planned for name, gib in p.price.weights_gib.items()}
    assert len(fetched) == 8  # the LLM and seven encoders, of nineteen trials
    assert plan.totals()["weights_gib"] == pytest.approx(sum(fetched.values()))
    assert make_plan(load_spec(find_spec("sampling")), Pricing(gpu=None)).totals()["weights_gib"] == 0


def test_sums_are_of_what_is_trained():
    plan = make_plan(load_spec(find_spec("apollo/resamplers")), Pricing(gpu=None))
    totals = plan.totals()
    assert totals["samples"] == sum(s.samples for p in plan.planned for s in p.price.stages)
    assert totals["visual_tokens"] > totals["frames"] > totals["samples"]
    plan_json = plan.to_json()
    assert (plan_json["utilisation"], plan_json["max_gpus"]) == (0.4, 64)
    assert plan_json["notes"] == plan.notes()
    assert any("not for commercial use" in note for note in plan_json["trials"][0]["price"]["notes"])


def test_trials_that_train_alike_are_reported():
    (note,) = (n for n in make_plan(load_spec(find_spec("apollo/sampling_uniform")), H100).notes() if "alone" in n)
    assert note.startswith("4 of the trials")


def test_text_around_clips_is_counted_with_the_studys_tokenizer():
    encode = Prompter(AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm"))).encode
    clip = Clip((0,), 1.0, 3.0)
    for switches, tokens in (
        ({"timestamps": True}, TINY.timestamp_tokens),
        ({"separators": True}, SEPARATORS_PER_CLIP),
    ):
        assert len(splice([clip], 2, Integration(**switches), encode)) == 2 + tokens


def test_a_custom_encoder_costs_what_its_weights_do():
    def priced(params: int) -> Price:
        mine = {"kind": "custom", "path": "a:B", "grid": [1, 16, 16], "width": 768, "params": params}
        return price(trial(encoders=[mine]), "t", H100)

    assert priced(300_000_000).flops > 1.2 * priced(0).flops
    assert any("two FLOPs a weight" in note for note in priced(1).notes)


def test_an_encoder_with_options_is_planned(tmp_path: Path):
    """As docs/encoders.md shows it: its options are a mapping, which Python cannot hash."""
    mine = "{kind: custom, path: 'a.b:C', options: {size: 224}, grid: [1, 16, 16], width: 768, params: 86000000}"
    (tmp_path / "s.yaml").write_text(f"study: s\nbase: apollo\nscales: [3B]\naxes: {{encoders: [[{mine}]]}}\n")
    plan = make_plan(load_spec(tmp_path / "s.yaml"), Pricing(gpu=None))
    assert plan.planned[0].price.params["vision"] == 86_000_000
    json.dumps(plan.to_json())


def test_every_spec_of_the_study_is_priced():
    for path in sorted(find_spec("apollo/encoders").parent.glob("*.yaml")):
        plan = make_plan(load_spec(path), Pricing(gpu=None))
        assert all(p.price.on_gpu.hours > 0 for p in plan.planned), path


ONE_ENCODER = (
    "study: s\nbase: apollo\nscales: [3B]\naxes:\n  encoders:\n"
    "    - {name: mine, value: [{kind: siglip, weights: WEIGHTS}]}\n"
)


def test_a_typo_in_an_encoders_name_is_reported_with_the_spec(tmp_path: Path):
    (tmp_path / "s.yaml").write_text(ONE_ENCODER.replace("WEIGHTS", "google/siglip-so400m-patch14-38"))
    for pricing in (Pricing(gpu=None), None):  # a plan, a sweep
        with pytest.raises(SpecError, match="did you mean 'google/siglip-so400m-patch14-384'"):
            make_plan(load_spec(tmp_path / "s.yaml"), pricing)


def test_an_encoder_without_a_card_runs_without_a_price(tmp_path: Path):
    (tmp_path / "s.yaml").write_text(ONE_ENCODER.replace("WEIGHTS", "somebody/siglip-of-theirs"))
    plan = make_plan(load_spec(tmp_path / "s.yaml"), Pricing(gpu=None))
    assert [p.price for p in plan.planned] == [None]
    assert any(note.startswith("not priced: unknown weights 'somebody/siglip-of-theirs'") for note in plan.notes())
    assert plan.to_json()["notes"]
    assert make_plan(load_spec(tmp_path / "s.yaml")).missing


@pytest.mark.parametrize("is_priced", [True, False])
def test_what_would_fail_in_a_trial_is_refused_before(tmp_path: Path, is_priced: bool):
    spec = "study: s\nbase: tiny\nscales: [0.05M]\naxes:\n  resampler:\n    - {kind: mlp_pool, tokens_per_frame: 17}\n"
    (tmp_path / "s.yaml").write_text(spec)
    with pytest.raises(SpecError, match="17 tokens per clip cannot be pooled from a grid of 1 x 4 x 4"):
        make_plan(load_spec(tmp_path / "s.yaml"), Pricing(gpu=None) if is_priced else None)


def test_a_mix_of_what_a_manifest_lacks_is_refused(tmp_path: Path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    talk = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    asked = {"id": "q", "question": "x", "options": ["a", "b"], "answer": 0, "category": "c"}
    (tmp_path / "train.json").write_text(json.dumps([{"video": "v.mp4", "duration": 5, "conversations": talk}]))
    (tmp_path / "test.json").write_text(json.dumps([{"video": "v.mp4", "questions": [asked]}]))
    (tmp_path / "s.yaml").write_text(
        "study: s\nbase: tiny\nscales: [0.05M]\naxes: {sampling: [{kind: fps, fps: 1}]}\n"
        f"set: {{data: {{kind: manifest, benchmark: b, scoring: text, folder: '{tmp_path}'}}}}\n"
    )
    with pytest.raises(SpecError, match=r"stage 'align' trains on image, but .*train.json has no such sample"):
        make_plan(load_spec(tmp_path / "s.yaml"))


def test_a_manifest_has_durations_or_its_videos_are_opened(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "i.png")
    (tmp_path / "v.mp4").write_bytes(b"no video")
    talk = [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 8}]
    records = [
        {"video": "v.mp4", "duration": 30, "conversations": talk},
        {"video": "v.mp4", "duration": 50.5, "conversations": talk + talk},
        {"image": ["i.png", "i.png", "i.png"], "conversations": talk},
    ]
    (tmp_path / "train.json").write_text(json.dumps(records))
    data = ManifestData(kind="manifest", benchmark="b", folder=str(tmp_path), digest="1")
    sizes = sizes_of(data)
    assert sizes.video_s == (30, 50.5)
    assert sizes.text_tokens["video"] == (40 / 4 + 8 / 4 + 1, 8 / 4 + 1)
    assert (sizes.turns["video"], sizes.images) == (1.5, 3)
    del records[0]["duration"]
    (tmp_path / "train.json").write_text(json.dumps(records))
    sizes = sizes_of(data.model_copy(update={"digest": "2"}))
    assert sizes.video_s == (50.5,)
    assert "durations are those of 1 of 2 videos; 1 video cannot be read: v.mp4 (" in sizes.note
    del records[1]["duration"]
    (tmp_path / "train.json").write_text(json.dumps(records))
    note = sizes_of(data.model_copy(update={"digest": "3"})).note
    assert "no video could be opened: 60 s each is assumed; 2 videos cannot be read: v.mp4 (" in note


@pytest.mark.parametrize("instruction", ["Answer with the letter.", ""])
def test_text_of_questions_is_counted_as_the_prompt_shows_it(tmp_path: Path, instruction: str):
    question = {"question": "what color is it", "options": ["red", "blue"], "answer": 1}
    (tmp_path / "train.json").write_text(json.dumps([{"questions": [question]}]))
    text = ManifestData(kind="manifest", benchmark="b", folder=str(tmp_path), scoring="text")
    assert sizes_of(text).text_tokens["text"] == (len("what color is it") / 4 + 2, 2)  # "blue" and the end of the turn
    letters = text.model_copy(update={"scoring": "letters", "instruction": instruction})
    shown = "".join(with_options(("what color is it",), ("red", "blue"), instruction))
    assert sizes_of(letters).text_tokens["text"] == (len(shown) / 4 + 1.25, 1.25)


def test_a_video_of_0_seconds_is_one_frame_and_not_of_unknown_length(tmp_path: Path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    talk = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    records = [{"video": "v.mp4", "duration": s, "conversations": talk} for s in (0, 4)]
    (tmp_path / "train.json").write_text(json.dumps(records))
    sizes = sizes_of(ManifestData(kind="manifest", benchmark="b", folder=str(tmp_path), digest="4"))
    assert sizes.video_s == (0, 4)
    assert "opened" not in sizes.note


def test_turns_that_max_questions_leaves_out_are_noted(tmp_path: Path):
    talk = [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 8}]
    records = [{"conversations": talk * 5}, {"conversations": talk}, {"conversations": talk * 9, "independent": True}]
    (tmp_path / "train.json").write_text(json.dumps(records))
    question = {"question": "x", "options": ["a", "b"], "answer": 0, "category": "c"}
    Image.new("RGB", (8, 8)).save(tmp_path / "i.png")
    (tmp_path / "test.json").write_text(json.dumps([{"image": "i.png", "questions": [question]}]))

    def plan(stage: str) -> Plan:
        (tmp_path / "s.yaml").write_text(
            "study: s\nbase: tiny\nscales: [0.05M]\naxes: {sampling: [{kind: fps, fps: 1}]}\nset:\n"
            f"  data: {{kind: manifest, benchmark: b, scoring: text, folder: '{tmp_path}'}}\n"
            f"  schedule: [{{name: all, share: 1, batch: 2, mix: {{text: 1}}, lr: {{llm: 1.0e-3}}{stage}}}]\n"
        )
        return make_plan(load_spec(tmp_path / "s.yaml"), Pricing(gpu=None))

    few, every = plan(", max_questions: 2"), plan("")
    sentence = "`max_questions: 2` of stage 'all' leaves out 3 of 6 turns of dialogues (50.0%)"
    assert [note for note in few.notes() if "turns of dialogues" in note] == [
        f"{tmp_path.name}: {sentence}: the first 2 of each are used"
    ]
    assert not [note for note in every.notes() if "turns of dialogues" in note]
    tokens = [one.planned[0].price.stages[0].text_tokens for one in (few, every)]
    assert tokens[1] == pytest.approx(tokens[0] * 5 / 2), "five turns a conversation on average"


def test_the_longest_video_is_never_left_out(tmp_path: Path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    talk = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    records = [{"video": "v.mp4", "duration": s, "conversations": talk} for s in [3600, *[10] * 126, 11]]
    (tmp_path / "train.json").write_text(json.dumps(records))
    seconds = sizes_of(ManifestData(kind="manifest", benchmark="b", folder=str(tmp_path), digest="3")).video_s
    assert max(seconds) == 3600
    assert len(seconds) == 64


def test_assumed_data_have_a_note():
    note = sizes_of(AssumedData(kind="assumed", benchmark="b", video_s=(5.0,))).note
    assert note is not None
    assert "assumed" in note


def test_a_whole_study_is_expanded_once_per_design_and_scale():
    trials = expand(load_spec(find_spec("apollo/scaling_consistency"))).trials
    assert len({t.config.scale for t in trials}) == 4
    assert len(trials) == 84


def test_the_plan_says_how_llms_lie_on_the_gpus_that_trials_ask_for(tmp_path, capsys):
    path = tmp_path / "sharded.yaml"
    path.write_text(
        "study: x\nbase: apollo\naxes: {resampler.tokens_per_frame: [8]}\n"
        "scales: [{label: 0.5B, resources: {gpus: 2}}, {label: 7B, resources: {gpus: 8, nodes: 2}}]\n"
    )
    plan = make_plan(load_spec(path))
    small, large = plan.planned
    assert (small.layout, large.layout.shard, large.layout.replicas) == (Layout(replicas=2), 8, 2)
    jobs = [job_of(plan, planned) for planned in plan.planned]
    assert [(job.shard, job.processes, job.nodes) for job in jobs] == [(1, 2, 1), (8, 8, 2)]
    assert plan.to_json()["trials"][1]["layout"] == {"shard": 8, "replicas": 2, "checkpointing": False}
    show_plan(plan, as_json=False)
    line = "layout: 0.5B: LLM replicated on 2 GPUs; 7B: LLM sharded over 8 GPUs, replicated 2 times"
    assert line in " ".join(capsys.readouterr().out.split())
