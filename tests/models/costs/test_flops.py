"""Costs by formula: parameters to the unit, FLOPs as torch counts them, memory that behaves."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from models.architecture import VideoLMM, add_adapters, build_resampler
from models.cards import LLMS, LlmCard, encoder_card
from models.cards.published import ENCODERS
from models.costs import ON_CPU, Learning, Load, Model, TrainingStep, on_gpus, training_flops, training_memory
from models.costs.flops import encoder_forward, resampler_params
from models.data import VIDEO_TOKEN, Branch, Row, collate
from models.design import AdamW, ConvPool, LearningRates, Lora, MlpPool, Muon, Perceiver, Resampler, Siglip, VideoMae
from models.encoders import CombinedEncoder, EncoderInput, Visual, build_encoder
from models.training import freeze, make_optimizers
from tests.models.encoders.clips import visual_of

RESAMPLERS: list[Resampler] = [
    Perceiver(kind="perceiver", tokens_per_frame=2, depth=2, heads=4, head_dim=8, kv_heads=2),
    MlpPool(kind="mlp_pool", tokens_per_frame=2),
    ConvPool(kind="conv_pool", tokens_per_frame=2),
]
IMAGE = Siglip(kind="siglip", weights="tiny/image-encoder@2")
VIDEO = VideoMae(kind="videomae", weights="tiny/video-encoder@2", frames=4)
LLM = LlmCard(
    id="random",
    hidden=64,
    layers=3,
    heads=4,
    kv_heads=2,
    mlp=96,
    vocab=500,
    tied=True,
    licence="none",
    commercial=True,
    source="here",
)


def planned(resampler: Resampler, encoders: tuple[Siglip | VideoMae, ...], lora: Lora | None = None) -> Model:
    cards = tuple(encoder_card(encoder) for encoder in encoders)
    grid = max(card.grid for card in cards)
    return Model(
        encoders=cards,
        takes=tuple(grid[0] if card.frames == 1 else card.frames for card in cards),
        resampler=resampler,
        grid=grid,
        tokens_per_clip=2 * max(card.frames for card in cards),
        llm=LLM,
        lora=lora,
    )


def real(model: Model, encoders: tuple[Siglip | VideoMae, ...]) -> VideoLMM:
    torch.manual_seed(0)
    encoder = CombinedEncoder([build_encoder(one) for one in encoders])
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=LLM.vocab,
            hidden_size=LLM.hidden,
            intermediate_size=LLM.mlp,
            num_hidden_layers=LLM.layers,
            num_attention_heads=LLM.heads,
            num_key_value_heads=LLM.kv_heads,
            tie_word_embeddings=True,
        )
    )
    resampler = build_resampler(model.resampler, encoder.width, LLM.hidden, encoder.grid, model.tokens_per_clip)
    if model.lora:
        add_adapters(llm, model.lora)
    return VideoLMM(encoder, resampler, llm)


@pytest.mark.parametrize("resampler", RESAMPLERS, ids=lambda config: config.kind)
def test_resamplers_are_counted_to_the_parameter(resampler: Resampler):
    built = build_resampler(resampler, features=20, width=32, grid=(2, 4, 4), tokens=4)
    assert resampler_params(resampler, 20, 32, 4) == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize(("width", "tokens", "millions"), [(1536, 32, 38.21), (2048, 64, 63.60), (3584, 64, 177.35)])
def test_the_studys_connectors_have_the_published_sizes(width: int, tokens: int, millions: float):
    """InternVideo2 + SigLIP, 2560 channels (Apollo, Table 7)."""
    params = resampler_params(Perceiver(kind="perceiver", tokens_per_frame=16), 2560, width, tokens)
    assert round(params / 1e6, 2) == millions


CASES = [
    (RESAMPLERS[0], (IMAGE,), "vcl"),
    (RESAMPLERS[0], (IMAGE,), "cl"),
    (RESAMPLERS[0], (IMAGE,), "c"),
    (RESAMPLERS[0], (IMAGE,), "l"),
    (RESAMPLERS[0], (VIDEO, IMAGE), "vc"),
    (RESAMPLERS[1], (VIDEO,), "cl"),
    (RESAMPLERS[2], (IMAGE,), "vcl"),
]
LORA = Lora(rank=8)


@pytest.mark.parametrize(
    ("resampler", "encoders", "learns", "lora"),
    [*((*case, None) for case in CASES), (RESAMPLERS[0], (IMAGE,), "cl", LORA), (RESAMPLERS[1], (VIDEO,), "c", LORA)],
)
def test_flops_are_those_that_torch_counts(resampler: Resampler, encoders, learns: str, lora: Lora | None):
    """On the plain attention kernel: torch's counter does not know the CPU's fused one. Within 3%."""
    model = planned(resampler, encoders, lora)
    rates = LearningRates(**{n: 1e-3 for n in ("vision", "connector", "llm") if n[0] in learns})
    lmm = real(model, encoders)
    freeze(lmm, rates)
    clips, text, targets = 5, 40, 6
    load = Load(clips=clips, visual=clips * model.tokens_per_clip, text=text, targets=targets)
    frames = tuple(torch.zeros(clips, takes, 32, 32, 3, dtype=torch.uint8) for takes in model.takes)
    branch = Branch(tuple(range(text)), tuple((position, position) for position in range(targets)))
    visual = visual_of(lmm.encoder, frames)
    batch = collate([Row([VIDEO_TOKEN] * int(load.visual), [branch])], clips=visual)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        lmm.loss(batch).backward()
    assert training_flops(model, load, Learning.of(rates)) == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert model.params["connector"] == sum(p.numel() for p in lmm.resampler.parameters())


def test_an_image_is_encoded_once_by_image_encoders():
    """Three images, as clips of four frames, by an image and a video encoder: as torch counts, and as frames count."""
    encoders = (VIDEO, IMAGE)
    model = planned(RESAMPLERS[0], encoders)
    lmm = real(model, encoders)
    lmm.encoder.requires_grad_(False)
    load = Load(clips=3, stills=3, visual=0, text=0, targets=0)
    repeated = Visual(
        (torch.zeros(3, 32, 32, 3, dtype=torch.uint8),),
        (
            EncoderInput.of((torch.arange(3)[:, None].expand(3, 4),), None, torch.arange(3)[:, None]),
            EncoderInput.of((torch.arange(3)[:, None],), None, torch.arange(3)[:, None].expand(3, model.takes[1])),
        ),
    )
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        lmm.encoder(repeated)
    assert model.forward(load)["vision"].total == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert model.frames(load) == 3
    video = dataclasses.replace(load, stills=0)
    assert model.frames(video) == 12
    assert model.forward(video)["vision"].total > 1.2 * model.forward(load)["vision"].total


def apollo(frames: int = 4) -> Model:
    cards = (ENCODERS["OpenGVLab/InternVideo2-Stage2_1B-224p-f4"], ENCODERS["google/siglip-so400m-patch14-384"])
    return Model(
        encoders=cards,
        takes=(4, 4),
        resampler=Perceiver(kind="perceiver", tokens_per_frame=16),
        grid=(4, 27, 27),
        tokens_per_clip=64,
        llm=LLMS["Qwen/Qwen2.5-3B-Instruct"],
    )


def load_of(clips: float) -> Load:
    return Load(clips=clips, visual=64 * clips, text=200, targets=100)


ALL = Learning(vision=True, connector=True, llm=True)
TUNE = Learning(vision=False, connector=True, llm=True)
ADAMW_STEP = TrainingStep(optimizer="adamw")


@given(st.integers(1, 200))
def test_more_clips_cost_more_and_learning_parts_too(clips: int):
    here = training_flops(apollo(), load_of(clips), TUNE)
    assert here < training_flops(apollo(), load_of(clips + 1), TUNE)
    assert here < training_flops(apollo(), load_of(clips), ALL)
    assert here < training_flops(apollo(), load_of(clips), TUNE, checkpointing=True)


@given(st.integers(8, 60), st.sampled_from([1, 2, 4, 8]))
def test_memory_falls_with_gpus_and_checkpointing(clips: int, gpus: int):
    def peak(learning: Learning, gpus: int, *, checkpointing: bool = False) -> float:
        memory = training_memory(
            apollo(),
            load_of(clips),
            learning,
            on_gpus(gpus),
            TrainingStep(optimizer="adamw", checkpointing=checkpointing),
        )
        return memory.peak

    assert peak(TUNE, 2 * gpus) < peak(TUNE, gpus)
    assert peak(ALL, gpus, checkpointing=True) < peak(ALL, gpus)
    assert peak(TUNE, gpus) < peak(ALL, gpus)


def test_memory_follows_from_bytes_per_parameter():
    memory = training_memory(apollo(), load_of(1), TUNE, ON_CPU, ADAMW_STEP)
    params = apollo().params
    learned = params["connector"] + params["llm"]
    assert memory.weights == 4 * sum(params.values())
    assert memory.gradients == 4 * learned
    assert memory.optimizer == 8 * learned


@pytest.mark.parametrize("optimizer", [AdamW(kind="adamw"), Muon(kind="muon")], ids=lambda config: config.kind)
@pytest.mark.parametrize("lora", [None, LORA], ids=["own weights", "adapters"])
def test_optimiser_states_are_those_of_the_real_optimiser(optimizer: AdamW | Muon, lora: Lora | None):
    """After a real step of the LLM: norms and biases, which the formula leaves out, are under 2% of it."""
    model = planned(RESAMPLERS[0], (IMAGE,), lora)
    lmm, rates = real(model, (IMAGE,)), LearningRates(llm=1e-3)
    freeze(lmm, rates)
    for weight in lmm.trainable():
        weight.grad = torch.ones_like(weight)
    num_values = 0
    for one in make_optimizers(lmm, optimizer, rates):
        one.step()
        num_values += sum(t.numel() for state in one.state.values() for t in state.values() if t.ndim)
    memory = training_memory(model, load_of(1), Learning.of(rates), ON_CPU, TrainingStep(optimizer=optimizer.kind))
    assert memory.optimizer / 4 == pytest.approx(num_values, rel=0.02)


def test_attention_masks_grow_with_the_square_of_the_length():
    """The boolean mask and its additive form: all other activations grow with the length."""

    def activations(text: int) -> float:
        load = Load(clips=0, visual=0, text=text, targets=1)
        return training_memory(apollo(), load, TUNE, ON_CPU, ADAMW_STEP).activations

    assert activations(3000) - 2 * activations(2000) + activations(1000) == pytest.approx(2 * 1000**2 * (1 + 4))


def test_a_tower_of_images_costs_by_the_frame():
    """SigLIP-SO400M: 26 blocks of 729 patches: FLOPs of its weights are 2 x parameters x patches, plus attention."""
    card = ENCODERS["google/siglip-so400m-patch14-384"]
    forward = encoder_forward(card)
    matrices = card.blocks_run * (4 * 1152**2 + 2 * 1152 * 4304)
    assert forward.linear == 2 * 729 * matrices
    assert forward.attention == card.blocks_run * 4 * 729**2 * 1152
    assert dataclasses.replace(card).sequences == 1
