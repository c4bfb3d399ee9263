"""Training with adapters: which weights change, with which optimizer, and under FSDP2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from models.architecture import adapters, add_adapters
from models.design import AdamW, Design, LearningRates, Lora, Mix, Muon, Stage
from models.training import freeze, make_optimizers, train
from tests.models.training.small import DESIGN, ENGINE, config, with_design

STAGES = (
    Stage(name="align", share=0.5, batch=4, mix=Mix(image=1.0), lr=LearningRates(connector=1e-3)),
    Stage(name="tune", share=0.5, batch=4, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3, llm=2e-3)),
)


def trained(model, corpus, optimizer: AdamW | Muon, **lora: object) -> list[float]:
    changes = {"schedule": STAGES, "optimizer": optimizer, "lora": {"rank": 4, **lora}}
    design = Design.model_validate(DESIGN.model_dump() | changes)
    add_adapters(model.llm, Lora(rank=4, **lora))
    trial = config(design=design, samples=32)
    return [step.loss for step in train(model, trial, with_design(corpus, design), ENGINE)]


@pytest.mark.parametrize("optimizer", [AdamW(kind="adamw"), Muon(kind="muon")], ids=lambda config: config.kind)
def test_adapters_and_connector_learn_and_the_llm_stays(model, corpus, optimizer):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = trained(model, corpus, optimizer)
    assert losses[-1] < losses[0]
    for name, value in model.state_dict().items():
        if ".adapter." in name:
            assert value.abs().max() > 0
        else:
            assert torch.equal(value, before[name]) == (not name.startswith("resampler")), name


def test_adapters_are_frozen_in_a_stage_that_freezes_the_llm(model):
    add_adapters(model.llm, Lora(rank=4))
    freeze(model, LearningRates(connector=1e-3))
    assert not any(p.requires_grad for p in model.llm.parameters())
    freeze(model, LearningRates(llm=1e-3))
    learn = {id(p) for p in model.trainable()}
    assert learn == {id(p) for adapter in adapters(model.llm) for p in adapter.parameters()}


def test_muon_leaves_the_factors_to_adamw_at_the_llms_rate(model):
    add_adapters(model.llm, Lora(rank=4))
    rates = LearningRates(connector=1e-3, llm=2e-3)
    freeze(model, rates)
    _, adamw = make_optimizers(model, Muon(kind="muon"), rates)
    factors = {id(p) for adapter in adapters(model.llm) for p in adapter.parameters()}
    (group,) = [g for g in adamw.param_groups if {id(p) for p in g["params"]} == factors]
    assert (group["lr"], group["weight_decay"]) == (2e-3, 0.05)


@pytest.fixture
def one_rank(tmp_path) -> Iterator[object]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_fsdp2_shards_a_bf16_llm_with_fp32_adapters(model, one_rank):
    """Per layer, with fp32 masters and reductions: the gradients of the factors are those of the plain model."""
    model.llm.to(torch.bfloat16)
    torch.manual_seed(0)
    add_adapters(model.llm, Lora(rank=4))
    for adapter in adapters(model.llm):
        torch.nn.init.normal_(adapter.up, std=0.1)
    freeze(model, LearningRates(llm=1e-3))
    ids = torch.arange(8).view(1, -1)
    model.llm(ids).logits.float().square().mean().backward()
    plain = {name: p.grad.clone() for name, p in model.llm.named_parameters() if p.grad is not None}
    model.llm.zero_grad()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for layer in model.llm.model.layers:
        fully_shard(layer, mesh=one_rank, mp_policy=policy)
    fully_shard(model.llm, mesh=one_rank, mp_policy=policy)
    model.llm(ids).logits.float().square().mean().backward()
    sharded = {name: p.grad for name, p in model.llm.named_parameters() if p.grad is not None}
    assert sharded.keys() == plain.keys()
    for name, gradient in sharded.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient.full_tensor(), plain[name], atol=1e-4, rtol=2e-2)
