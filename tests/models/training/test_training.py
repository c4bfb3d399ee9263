"""Packing, mixing and freezing, on a small random model."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    GPT2Config,
    LlamaConfig,
    Qwen3Config,
)

from models.architecture import VideoLMM
from models.architecture.resamplers import ConvPoolResampler, PerceiverResampler
from models.architecture.video_lmm import ImagePath
from models.data import (
    VIDEO_TOKEN,
    Corpus,
    ManifestError,
    Prompter,
    Row,
    TrainingSample,
    Turn,
)
from models.data.integration import IMAGE_TOKEN
from models.data.mixing import Draws, dialogue_lengths, left_out
from models.data.packing import micro_batches
from models.design import AdamW, Design, Integration, LearningRates, Mix, Muon, Stage, Uniform
from models.presets import PRESETS
from models.training import DivergedError, freeze, make_optimizers, train, train_mode
from models.training.loop import StageRun, accumulate
from models.training.optimizers import warmup_cosine
from models.training.shared_starts import StartCache
from models.training.step import Step
from tests.models.training.small import (
    CLIP,
    CPU,
    DESIGN,
    ENGINE,
    FIRST,
    IMAGE,
    ITEM,
    LAST,
    PAIR,
    RESAMPLER,
    TEXT,
    VIDEO,
    config,
    with_design,
)


def test_a_question_is_answered_in_a_pack_as_if_asked_alone(model, prompter, corpus):
    whole = corpus.training_row(VIDEO, 9, np.random.default_rng(0))
    text = corpus.training_row(TEXT, 9, np.random.default_rng(0))
    with torch.inference_mode():
        packed = model(corpus.collate([whole, text]))  # with a shorter row beside it, so padding is tested too
        alone = [model(corpus.collate([replace(whole, branches=[branch])])) for branch in whole.branches]
        alone.append(model(corpus.collate([text])))
    alone = torch.cat(alone)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2),
        GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2),
        Qwen3Config(
            vocab_size=400,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_any_causal_lm_can_be_the_llm(model, prompter, corpus, config):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    model = VideoLMM(model.encoder, PerceiverResampler(RESAMPLER, 16, 32, 2), llm)
    whole = corpus.training_row(VIDEO, 9, np.random.default_rng(0))
    with torch.inference_mode():
        packed = model(corpus.collate([whole]))
        alone = torch.cat([model(corpus.collate([replace(whole, branches=[b])])) for b in whole.branches])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)


def test_only_answers_are_learned(prompter, corpus):
    one_turn = replace(VIDEO, turns=VIDEO.turns[:1])
    batch = corpus.collate([corpus.training_row(one_turn, 9, np.random.default_rng(0))])
    assert batch.targets_K.tolist() == prompter.answer_ids("two")
    assert batch.is_video_BL.sum() == 3 * 2
    assert batch.clips is not None
    assert [frames.shape for frames in batch.clips.frames] == [(3, 32, 32, 3)]
    assert [one.units_CM.tolist() for one in batch.clips.inputs] == [[[0], [1], [2]]]


def test_several_images_are_clips_in_their_order(model, prompter, corpus):
    row = corpus.training_row(PAIR, 9, np.random.default_rng(0))
    assert row.prefix.count(VIDEO_TOKEN) == 2 * 2
    clips = corpus.collate([row]).clips
    assert clips is not None
    assert np.array_equal(clips.frames[0].numpy(), corpus.visual.frames.rows[8:10])


def test_split_images_take_a_path_of_their_own(model, prompter, corpus):
    split = DESIGN.model_validate(DESIGN.model_dump() | {"image_path": {"kind": "split", "tokens_per_image": 3}})
    own = with_design(corpus, split)
    torch.manual_seed(1)
    model = VideoLMM(
        model.encoder, model.resampler, model.llm, ImagePath((0,), PerceiverResampler(RESAMPLER, 16, 32, 3))
    )
    rows = [own.training_row(record, 9, np.random.default_rng(0)) for record in (VIDEO, PAIR, IMAGE)]
    assert [row.prefix.count(IMAGE_TOKEN) for row in rows] == [0, 6, 3]
    with torch.inference_mode():
        together = model(own.collate(rows))
        alone = torch.cat([model(own.collate([row])) for row in rows])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
        model.image_path.resampler.resampler.latents.normal_()  # images see it, the video does not
        changed = model(own.collate(rows))
    of_video = len(own.collate(rows[:1]).targets_K)
    torch.testing.assert_close(changed[:of_video], together[:of_video])
    assert (changed[of_video:] - together[of_video:]).abs().max() > 1e-4
    names = {id(p) for p in model.parts()["connector"].parameters()}
    assert {id(p) for p in model.image_path.parameters()} <= names


def answers(prompter: Prompter, row: Row) -> list[str]:
    words = [prompter._tokenizer.decode([token]) for branch in row.branches for _, token in branch.targets]
    return [word for word in words if not word.startswith("<")]


def test_max_questions_draws_independent_questions_again_and_takes_the_first_of_a_dialogue(corpus, prompter):
    numbers = ("one", "two", "three", "four")
    turns = tuple(Turn((FIRST,), number) for number in numbers)
    dialogue, questions = (replace(TEXT, turns=turns, independent=independent) for independent in (False, True))
    rng = np.random.default_rng(0)
    assert answers(prompter, corpus.training_row(dialogue, None, rng)) == list(numbers)
    assert sorted(answers(prompter, corpus.training_row(questions, None, rng))) == sorted(numbers)
    assert [answers(prompter, corpus.training_row(dialogue, 2, rng)) for _ in range(3)] == [["one", "two"]] * 3
    drawn = [tuple(answers(prompter, corpus.training_row(questions, 2, rng))) for _ in range(50)]
    assert {len(set(pair)) for pair in drawn} == {2}
    assert {number for pair in drawn for number in pair} == set(numbers)
    assert len(set(drawn)) == 12, "every pair in every order"


def test_a_video_in_a_turn_that_max_questions_leaves_out_is_in_no_row(model, corpus):
    late = TrainingSample("l", "video", (CLIP,), (Turn((FIRST,), "two"), Turn((0, LAST), "four")), False)
    stage = Stage(name="a", share=1.0, batch=2, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3), max_questions=1)
    trial = config(design=DESIGN.model_copy(update={"schedule": (stage,)}), samples=2)
    (step,) = train(model, trial, with_design(replace(corpus, train=[late]), trial.design), ENGINE)
    assert np.isfinite(step.loss)


def test_several_videos_of_a_sample_are_trained_on(model, corpus):
    pair = TrainingSample("p", "video", (CLIP, CLIP), (Turn((0, FIRST, 1, LAST), "two"),), False)
    stage = Stage(name="a", share=1.0, batch=2, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3))
    trial = config(design=DESIGN.model_copy(update={"schedule": (stage,)}), samples=2)
    (step,) = train(model, trial, with_design(replace(corpus, train=[pair]), trial.design), ENGINE)
    assert np.isfinite(step.loss)


def test_what_max_questions_leaves_out_of_dialogues_is_counted():
    lengths = dialogue_lengths([TEXT, TEXT, replace(TEXT, turns=TEXT.turns * 3), VIDEO, PAIR])

    def sentence(most: int | None, **mix: float) -> str | None:
        rates = LearningRates(connector=1e-3, llm=1e-3)
        stage = Stage(name="a", share=1.0, batch=2, mix=Mix(**mix), lr=rates, max_questions=most)
        return left_out(lengths, stage, Mix(**mix))

    assert sentence(1, text=0.5, video=0.5) == (
        "`max_questions: 1` of stage 'a' leaves out 7 of 10 turns of dialogues (70.0%): the first 1 of each are used"
    )
    assert "leaves out 4 of 10 turns" in str(sentence(2, text=1.0))
    assert sentence(6, text=1.0) is None
    assert sentence(None, text=1.0) is None
    assert sentence(1, video=1.0) is None, (
        "independent questions are drawn again, and kinds without a share do not count"
    )


def test_training_and_test_may_sample_differently(corpus):
    other = with_design(corpus, DESIGN.model_copy(update={"test_sampling": Uniform(kind="uniform", frames=5)}))
    for modality, frames in (("video", 5), ("frame", 1), ("text", 0)):
        (scored,) = other.scored_rows(ITEM, modality, 10**6)
        assert scored.row.prefix.count(VIDEO_TOKEN) == scored.row.count(VIDEO_TOKEN) == frames * 2
    trained = other.training_row(VIDEO, 1, np.random.default_rng(0))
    assert trained.prefix.count(VIDEO_TOKEN) == 3 * 2


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_parts_keep_every_bit_and_others_learn(model, corpus, optimizer):
    kind = {"adamw": {"kind": "adamw"}, "muon": {"kind": "muon"}}[optimizer]
    stages = (
        Stage(name="a", share=0.5, batch=4, mix=Mix(image=1.0), lr=LearningRates(connector=1e-2)),
        Stage(name="b", share=0.5, batch=4, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3, llm=1e-3)),
    )
    design = DESIGN.model_validate(
        DESIGN.model_dump() | {"schedule": [s.model_dump() for s in stages], "optimizer": kind}
    )
    trial = config(design=design, samples=16)
    before = {name: [p.clone() for p in part.parameters()] for name, part in model.parts().items()}

    def changed() -> dict[str, bool]:
        return {
            name: any(not torch.equal(p, q) for p, q in zip(part.parameters(), before[name], strict=True))
            for name, part in model.parts().items()
        }

    stages_of_steps = []
    for step in train(model, trial, with_design(corpus, design), ENGINE):
        stages_of_steps.append(step.stage)
        if step.stage == "a":
            assert changed() == {"vision": False, "connector": True, "llm": False}
    assert stages_of_steps == ["a", "a", "b", "b"]
    assert changed() == {"vision": False, "connector": True, "llm": True}


def test_the_encoder_learns_when_its_rate_says_so(model, corpus):
    stage = Stage(name="a", share=1.0, batch=2, mix=Mix(video=1.0), lr=LearningRates(vision=1e-2))
    design = DESIGN.model_copy(update={"schedule": (stage,)})
    before = model.encoder.encoders[0].tower.embeddings.patch_embedding.weight.clone()
    list(train(model, config(design=design, samples=2), with_design(corpus, design), ENGINE))
    assert not torch.equal(before, model.encoder.encoders[0].tower.embeddings.patch_embedding.weight)


def test_every_learning_parameter_is_in_one_group(model):
    rates = LearningRates(vision=1e-3, connector=1e-3, llm=1e-3)
    freeze(model, rates)
    for optimizer in (PRESETS["tiny"].design.optimizer, DESIGN.optimizer.model_validate({"kind": "muon"})):
        groups = [g for o in make_optimizers(model, optimizer, rates) for g in o.param_groups]
        grouped = [id(p) for g in groups for p in g["params"]]
        assert sorted(grouped) == sorted(id(p) for p in model.trainable())


def test_muon_trains_a_connector_of_convolutions(model, corpus):
    model.resampler = ConvPoolResampler(16, 32, (1, 1, 2))
    stage = Stage(name="a", share=1.0, batch=2, mix=Mix(video=1.0), lr=LearningRates(connector=1e-2))
    design = DESIGN.model_copy(update={"schedule": (stage,), "optimizer": Muon(kind="muon", weight_decay=0.0)})
    before = model.resampler.rise.weight.clone()
    list(train(model, config(design=design, samples=2), with_design(corpus, design), ENGINE))
    update = (model.resampler.rise.weight - before).square().mean().sqrt() / 1e-2
    assert 0.1 < update < 0.25, "AdamW's first update would have a root mean square of 1"


def test_what_muon_refuses_in_a_later_stage_is_refused_before_the_first_step(model, corpus):
    falcon = FalconConfig(vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    model.llm = AutoModelForCausalLM.from_config(falcon)
    first = Stage(name="a", share=0.5, batch=2, mix=Mix(image=1.0), lr=LearningRates(connector=1e-3))
    second = first.model_copy(update={"name": "b", "lr": LearningRates(llm=1e-3)})
    design = DESIGN.model_copy(update={"schedule": (first, second), "optimizer": Muon(kind="muon")})
    with pytest.raises(ValueError, match="query_key_value.*take `optimizer: {kind: adamw}`"):
        next(train(model, config(design=design, samples=4), with_design(corpus, design), ENGINE))


def test_a_frozen_part_computes_as_in_evaluation(model):
    train_mode(model, LearningRates(connector=1e-3))
    assert {name: part.training for name, part in model.parts().items()} == {
        "vision": False,
        "connector": True,
        "llm": False,
    }


def test_micro_batches_add_up_to_the_whole_batch(model, corpus, prompter):
    """With any maximum: every row once, no micro-batch too large, and the gradient of all rows together."""
    rng = np.random.default_rng(0)
    rows = [corpus.training_row(record, 1, rng) for record in (VIDEO, IMAGE, PAIR, TEXT, VIDEO, IMAGE)]
    freeze(model, LearningRates(connector=1e-3, llm=1e-3))

    def gradients(max_positions: int) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        portions = micro_batches(rows, max_positions)
        assert sum(len(portion) for portion in portions) == len(rows)
        assert all(len(p) * max(row.length for row in p) <= max_positions or len(p) == 1 for p in portions)
        loss, *_ = accumulate(model, portions, corpus, ENGINE)
        return loss, [p.grad.clone() for p in model.trainable() if p.grad is not None]

    whole, expected = gradients(10**6)
    for max_positions in (1, 40, 60):
        loss, actual = gradients(max_positions)
        assert loss == pytest.approx(whole, rel=1e-5)
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)
    assert len(micro_batches(rows, 1)) == len(rows)
    assert len(micro_batches(rows, 10**6)) == 1
    most = max(row.num_frames for row in rows)
    bounded = micro_batches(rows, 10**6, most)
    assert all(sum(row.num_frames for row in group) <= most for group in bounded)
    assert sorted(row.length for group in bounded for row in group) == sorted(row.length for row in rows)


def started(model: VideoLMM, corpus: Corpus, design: Design, seed: int = 0) -> tuple[list[Step], VideoLMM]:
    """A copy of the model, trained."""
    trained = deepcopy(model)
    run = replace(corpus, visual=replace(corpus.visual, design=design, encoder=trained.encoder))
    return list(train(trained, config(design=design, samples=16, seed=seed), run, ENGINE)), trained


def test_trials_that_start_identically_share_their_start_to_the_bit(model, corpus, monkeypatch):
    """Alignment on images does not depend on the sampling of videos; the second trial reuses it and ends the same."""
    stages = (
        Stage(name="a", share=0.5, batch=4, mix=Mix(image=1.0), lr=LearningRates(connector=1e-2)),
        Stage(name="b", share=0.5, batch=4, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3, llm=1e-3)),
    )
    few = DESIGN.model_copy(update={"schedule": stages})
    many = few.model_copy(update={"sampling": Uniform(kind="uniform", frames=5)})
    monkeypatch.setattr("models.training.loop.START_CACHE", StartCache())
    alone, expected = started(model, corpus, many)
    monkeypatch.setattr("models.training.loop.START_CACHE", StartCache())
    first, _ = started(model, corpus, few)
    steps, actual = started(model, corpus, many)
    assert [step.is_shared for step in first] == [False] * 4
    assert [step.is_shared for step in steps] == [True, True, False, False]
    assert [(s.step, s.samples, s.loss) for s in steps] == [(s.step, s.samples, s.loss) for s in alone]
    for mine, theirs in zip(actual.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("change", "seed"),
    [
        ({}, 1),
        ({"integration": Integration(separators=True)}, 0),
        ({"resampler": RESAMPLER.model_copy(update={"depth": 2})}, 0),
        ({"optimizer": AdamW(kind="adamw", weight_decay=0.1)}, 0),
        ({"rate": 2e-2}, 0),
        ({"mix": Mix(image=0.5, video=0.5), "sampling": Uniform(kind="uniform", frames=5)}, 0),
        ({"llm": 1e-3}, 0),
    ],
)
def test_trials_that_start_differently_share_nothing(change, seed):
    def key(change: dict[str, Any], seed: int) -> str | None:
        options = dict(change)
        rates = LearningRates(connector=options.pop("rate", 1e-2), llm=options.pop("llm", 0.0))
        first = Stage(name="a", share=0.5, batch=4, mix=options.pop("mix", Mix(image=1.0)), lr=rates)
        second = Stage(name="b", share=0.5, batch=4, mix=Mix(video=1.0), lr=LearningRates(llm=1e-3))
        design = DESIGN.model_copy(update={"schedule": (first, second), **options})
        return StartCache().key(config(design=design, seed=seed), 0, CPU)

    assert key({}, 0) is not None
    assert key(change, seed) != key({}, 0)


def test_a_loss_of_nan_stops_the_trial(model, corpus):
    with torch.no_grad():
        model.llm.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="loss is nan at step 1"):
        list(train(model, config(), corpus, ENGINE))


def test_steps_follow_shares_and_batches():
    assert [stage.steps(22_750) for stage in DESIGN.schedule] == [305, 203]
    assert DESIGN.schedule[0].model_copy(update={"share": 0}).steps(22_750) == 0


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_a_mix_is_exact_and_every_sample_is_drawn_before_one_repeats(count: int, seed: int):
    records = [replace(r, id=f"{r.id}{i}") for r in (VIDEO, IMAGE, TEXT, PAIR) for i in range(5)]
    mix = Mix(text=0.1, image=0.2, multi_image=0.1, video=0.6)
    drawn = list(Draws(records, mix, count, np.random.default_rng(seed)))
    assert len(drawn) == count
    for kind, share in (("text", 0.1), ("image", 0.2), ("multi_image", 0.1), ("video", 0.6)):
        ids = [r.id for r in drawn if r.kind == kind]
        assert abs(len(ids) - share * count) < 4
        assert len(set(ids[:5])) == len(ids[:5])
    assert drawn == list(Draws(records, mix, count, np.random.default_rng(seed)))


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_handful_of_samples_is_of_kinds_that_have_a_share(count: int, seed: int):
    mix = Mix(image=0.4, video=0.6)
    drawn = list(Draws([VIDEO, IMAGE, TEXT, PAIR], mix, count, np.random.default_rng(seed)))
    assert len(drawn) == count
    assert {record.kind for record in drawn} <= {"image", "video"}
    assert drawn[0].kind == "video" or count > 1


def test_a_mix_with_a_kind_that_the_data_do_not_contain_is_refused():
    with pytest.raises(ManifestError, match="asks for 20% image, but train.json has no image record"):
        Draws([VIDEO, TEXT], Mix(text=0.1, image=0.2, video=0.7), 10, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"), [(4, 0.5, [0.5, 1.0, 1.0, 0.5]), (5, 0.0, [1, 1, 0.854, 0.5, 0.146])]
)
def test_the_learning_rate_rises_and_falls_as_a_cosine(steps: int, warmup: float, rates: list[float]):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_cosine(optimizer, steps, warmup)
    observed = []
    for _ in range(steps):
        observed.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert observed == pytest.approx(rates, abs=1e-3)


def test_the_gradient_of_all_parameters_together_is_clipped(model, corpus, monkeypatch):
    norms: list[float] = []

    def observed(stage: StageRun) -> None:
        groups = [group for optimizer in stage.optimizers for group in optimizer.param_groups]
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        stage.done += 1

    monkeypatch.setattr(StageRun, "update", observed)
    design = DESIGN.model_copy(update={"optimizer": AdamW(kind="adamw", grad_clip=1e-3)})
    list(train(model, config(design=design, samples=32), with_design(corpus, design), ENGINE))
    assert norms
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-3)
