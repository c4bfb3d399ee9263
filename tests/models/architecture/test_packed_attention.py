"""Packed questions are answered, and learned, as if each were alone; the two forms of the mask are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from models.architecture import VideoLMM
from models.architecture.flex import block_masks, mask_function, uses_flex
from models.data import Batch, Branch, Row, collate
from models.data.packing import Layout
from models.encoders import CombinedEncoder
from tests.models.encoders.test_combine import Marker

VOCABULARY = 50
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
WINDOWED = {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1}
LLMS = {
    "GQA": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "Llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "window in some layers": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **WINDOWED, head_dim=8)),
    "window in all layers": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5, head_dim=8)),
}


def lmm(name: str) -> VideoLMM:
    torch.manual_seed(0)
    llm: PreTrainedModel = LLMS[name]()
    for weight in llm.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)  # sharp attention: a wrong mask changes logits by much
    return VideoLMM(CombinedEncoder([Marker(1, (1, 2, 2), 3)]), torch.nn.Identity(), llm).eval()


token_ids = st.integers(0, VOCABULARY - 1)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A prefix and branches, some of which continue an earlier one that continues the prefix."""
    prefix = draw(st.lists(token_ids, min_size=1, max_size=6))
    branches: list[Branch] = []
    for number in range(draw(st.integers(0, 6))):
        first_level = [number - i for i, one in enumerate(branches) if one.parent == 0]
        parent = draw(st.sampled_from([0, *first_level]))
        ids = tuple(draw(st.lists(token_ids, min_size=1, max_size=5)))
        targets = tuple((i, draw(token_ids)) for i in range(len(ids)))
        branches.append(Branch(ids, targets, parent))
    return Row(prefix, branches)


def texts(row: Row) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Each branch of a row with all that stands before it, as a text of its own, and its targets."""
    result = []
    for number, branch in enumerate(row.branches):
        before = row.branches[number - branch.parent].ids if branch.parent else ()
        start = [*row.prefix, *before]
        result.append(([*start, *branch.ids], [(len(start) + i, token) for i, token in branch.targets]))
    return result


def mask_by_definition(lines: list[list[Row]], length: int, window: int | None) -> Tensor:
    """Walks back from each token through what it continues: (line, length, length)."""
    mask = torch.zeros(len(lines), length, length, dtype=torch.bool)
    for b, line in enumerate(lines):
        at = 0
        for row in line:
            prefix = list(range(at, at + len(row.prefix)))
            at += len(prefix)
            places: list[list[int]] = []
            paths = [prefix]
            for number, branch in enumerate(row.branches):
                places.append(list(range(at, at + len(branch.ids))))
                at += len(branch.ids)
                paths.append([*prefix, *(places[number - branch.parent] if branch.parent else []), *places[-1]])
            for path in paths:
                for i, query in enumerate(path):
                    mask[b, query, path[max(0, i + 1 - window) if window else 0 : i + 1]] = True
        for padding in range(at, length):
            mask[b, padding, padding] = True
    return mask


def in_layout(some: list[Row], layout: Layout) -> tuple[Batch, list[list[Row]]]:
    return collate(some, layout=layout), [some] if layout == "flat" else [[row] for row in some]


@settings(deadline=None)
@given(st.lists(rows(), min_size=1, max_size=4), st.sampled_from(["rows", "flat"]), st.none() | st.integers(1, 8))
def test_both_masks_are_the_definition(some: list[Row], layout: Layout, window: int | None):
    batch, lines = in_layout(some, layout)
    count, length = batch.ids_BL.shape
    expected = mask_by_definition(lines, length, window)
    assert torch.equal(create_mask(mask_function(batch, window), count, 1, length, length, "cpu")[:, 0], expected)
    if window is None:
        assert torch.equal(batch.attends(), expected)


TREES = [
    Row(
        [3, 4, 5, 6, 7, 8, 9],
        [
            Branch((10, 11, 12), ((1, 5), (2, 6))),
            Branch((13, 14), ((0, 3), (1, 7)), parent=1),
            Branch((15,), ((0, 8),), parent=2),
            Branch((16, 17, 18, 19), ((3, 9),)),
            Branch((20, 21), ((1, 30),), parent=1),
        ],
    ),
    Row([1, 2], [Branch((22, 23, 24, 25, 26, 27), ((0, 2), (5, 3)))]),
    Row([30, 31, 32], [Branch((33,), ((0, 12),)), Branch((34, 35), ((0, 13), (1, 14)))]),
]


@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize("name", LLMS)
def test_packed_questions_equal_each_question_alone(name: str, layout: Layout):
    """Log-probabilities of all targets, and the gradient of every weight."""
    packed, alone = lmm(name), lmm(name)
    log_probabilities = packed(collate(TREES, layout=layout))
    expected = []
    for ids, targets in (text for row in TREES for text in texts(row)):
        logits = alone.llm(torch.tensor([ids]), use_cache=False).logits[0]
        expected += [logits[at].log_softmax(-1) for at, _ in targets]
    torch.testing.assert_close(log_probabilities, torch.stack(expected), atol=1e-5, rtol=1e-5)
    tokens = torch.tensor([token for row in TREES for _, targets in texts(row) for _, token in targets])
    for values in (log_probabilities, torch.stack(expected)):
        torch.nn.functional.nll_loss(values, tokens).backward()
    for (label, one), other in zip(packed.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(
            one.grad, other.grad, atol=1e-5, rtol=1e-5, msg=lambda text, at=label: f"{at}: {text}"
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, when its compiler is imported
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")  # on purpose
@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize("name", LLMS)
def test_flex_attention_with_block_masks_equals_dense_attention(name: str, layout: Layout):
    """The forward pass of FlexAttention, not compiled: on a CPU it has no backward pass."""
    model, batch = lmm(name), collate(TREES, layout=layout)
    inputs = {"input_ids": batch.ids_BL, "position_ids": batch.positions_BL, "use_cache": False}
    with torch.inference_mode():
        dense = model(batch)
        model.llm.set_attn_implementation("flex_attention")
        with torch.compiler.set_stance("force_eager"):
            hidden = model.llm.base_model(attention_mask=block_masks(model.llm, batch), **inputs).last_hidden_state
        flex = model.llm.get_output_embeddings()(hidden.flatten(0, 1)[batch.target_at_K]).log_softmax(-1)
    torch.testing.assert_close(flex, dense, atol=1e-5, rtol=1e-5)


def test_flex_attention_is_used_on_gpus_only():
    llm = lmm("GQA").llm
    assert uses_flex(llm, torch.device("cuda"))
    assert llm.config._attn_implementation == "flex_attention"
    assert not uses_flex(llm, torch.device("cpu"))
    assert llm.config._attn_implementation == "sdpa"
    drops = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, attn_pdrop=0.1))
    assert not uses_flex(drops, torch.device("cuda"))


def test_a_flat_batch_is_one_row_of_a_padded_length():
    batch = collate(TREES, layout="flat")
    used = sum(row.length for row in TREES)
    assert batch.ids_BL.shape == (1, 128)
    assert batch.padding == pytest.approx(1 - used / 128)
    assert batch.document_BL[0, : used + 1].unique().tolist() == [-1, 0, 1, 2]
    moved = replace(batch).to(torch.device("meta"))
    assert moved.branch_BL.device.type == "meta"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when its compiler is imported
def test_block_masks_are_compiled_anew_for_no_length_but_the_first_two():
    counter = CompileCounter()
    compiled = torch.compile(create_block_mask, backend=counter)
    for count in (1, 9, 4, 20, 2, 30):
        batch = collate(TREES * count, layout="flat")
        length = batch.ids_BL.shape[1]
        mask = compiled(mask_function(batch), 1, None, length, length, "cpu")
        assert mask.shape == (1, 1, length, length)
    assert counter.frame_count == 2
