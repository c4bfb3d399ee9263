"""Adapters as a choice of the design: from YAML to trials, their keys and their prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import SpecError
from ablate.plan import Pricing, gpu, price
from ablate.spec import expand, load_spec
from models.presets import PRESETS

SPEC = """study: adapters
question: How wide?
base: apollo
axes:
  lora.rank: [8, 64]
scales: [7B]
"""
PLAIN = SPEC.replace("lora.rank: [8, 64]", "resampler.tokens_per_frame: [16]")
"""The base as it is, in which that is the number of tokens."""


def trials(folder: Path, text: str):
    (folder / "s.yaml").write_text(text, encoding="utf-8")
    return expand(load_spec(folder / "s.yaml")).trials


def test_the_rank_is_an_axis_of_a_base_without_adapters(tmp_path: Path):
    narrow, wide = trials(tmp_path, SPEC)
    assert [one.own_config.design.lora.rank for one in (narrow, wide)] == [8, 64]
    assert [one.label for one in (narrow, wide)] == ["rank8@7B/s0", "rank64@7B/s0"]
    assert narrow.axes == {"lora.rank": 8}
    assert narrow.key != wide.key


def test_training_all_weights_is_a_value_beside_adapters(tmp_path: Path):
    whole, adapted = trials(tmp_path, SPEC.replace("lora.rank: [8, 64]", "lora: [null, {name: r8, rank: 8}]"))
    assert (whole.own_config.design, adapted.own_config.design.lora.rank) == (PRESETS["apollo"].design, 8)
    assert whole.key == trials(tmp_path, PLAIN)[0].key


def test_the_order_of_targets_is_no_other_design(tmp_path: Path):
    text = SPEC + "set: {lora.targets: [v_proj, q_proj]}\n"
    keys = [one.key for one in trials(tmp_path, text)]
    assert keys == [one.key for one in trials(tmp_path, text.replace("[v_proj, q_proj]", "[q_proj, v_proj]"))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[8, 64]", "[0]"), "rank"),
        (("rank: [8, 64]", "rnk: [8]"), "did you mean 'lora.rank'"),
        (("scales", "set: {lora.targets: [q_proj, q_proj]}\nscales"), "names a layer twice"),
        (("scales", "set: {lora.targets: [query]}\nscales"), "q_proj"),
        (("scales", "set: {schedule.1.lr.llm: 0, mix: {video: 1.0}}\nscales"), "no stage trains it"),
    ],
)
def test_what_cannot_be_adapted_is_refused(tmp_path: Path, change: tuple[str, str], message: str):
    with pytest.raises(SpecError, match=message):
        trials(tmp_path, SPEC.replace(*change))


def test_adapters_save_gpus_and_flops(tmp_path: Path):
    """7B: adapters need no gradients and states of the LLM, and no gradient of a weight of it is computed."""
    adapted = price(trials(tmp_path, SPEC)[0].own_config, "t", Pricing(gpu=gpu("h100-80gb")))
    whole = price(trials(tmp_path, PLAIN)[0].own_config, "t", Pricing(gpu=gpu("h100-80gb")))
    assert adapted.on_gpu is not None
    assert whole.on_gpu is not None
    assert adapted.on_gpu.gpus < whole.on_gpu.gpus
    assert adapted.flops < whole.flops
    assert adapted.params["adapters"] == 28 * 8 * (3 * 18944 + 3 * 3584 + 4 * 3584 + 2 * (3584 + 512))
    assert {name: n for name, n in adapted.params.items() if name != "adapters"} == whole.params
