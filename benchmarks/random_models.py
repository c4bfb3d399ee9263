"""Models with random weights, and rows of given lengths, on which training is measured.

`throughput`, `peak_share` and `gpu_check` train them by `models.training`, as a trial does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.cards import LlmCard, llm_card
from models.design import AdamW, LearningRates, Mix, Stage, TrialConfig
from models.presets import PRESETS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from models.architecture import VideoLMM
    from models.data import Corpus, Row

QWENS = {size: f"Qwen/Qwen2.5-{size}-Instruct" for size in ("0.5B", "1.5B", "3B", "7B")}
SIZES = {
    "0.4M": (96, 4, 4, 4, 256, 512),
    "tiny": (64, 2, 4, 2, 128, 640),
    "100M": (768, 12, 12, 4, 2048, 32000),
}
"""Label -> hidden width, layers, heads, key heads, MLP and vocabulary of models that nobody published."""


def sizes_of(label: str) -> LlmCard:
    """The sizes of an LLM: of Qwen2.5 (`0.5B` to `7B`), or of `SIZES`."""
    if label in QWENS:
        return llm_card(QWENS[label])
    hidden, layers, heads, kv_heads, mlp, vocab = SIZES[label]
    return LlmCard(
        id=f"random/{label}",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        mlp=mlp,
        vocab=vocab,
        tied=True,
        licence="none",
        commercial=True,
        source="random weights",
    )


def random_llm(card: LlmCard, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A Qwen2 decoder in fp32 with these sizes, initialised on the device from torch's global generator."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=card.vocab,
        hidden_size=card.hidden,
        intermediate_size=card.mlp,
        num_hidden_layers=card.layers,
        num_attention_heads=card.heads,
        num_key_value_heads=card.kv_heads,
        tie_word_embeddings=card.tied,
        attn_implementation="sdpa",
    )
    with torch.device(device):
        return Qwen2ForCausalLM(config)


def text_model(llm: PreTrainedModel) -> VideoLMM:
    """A VideoLMM whose encoder and resampler are as small as can be: for rows without visual tokens."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from models.architecture import VideoLMM, build_resampler
    from models.design import Perceiver, Siglip
    from models.encoders import CombinedEncoder, build_encoder

    vision = SiglipVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32, patch_size=16
    )
    with tempfile.TemporaryDirectory() as folder:
        SiglipVisionModel(vision).save_pretrained(folder)
        encoder = CombinedEncoder([build_encoder(Siglip(kind="siglip", weights=folder, layer=-1))])
    config = Perceiver(kind="perceiver", tokens_per_frame=1, heads=1, head_dim=8, kv_heads=1)
    width = llm.get_input_embeddings().embedding_dim
    return VideoLMM(encoder, build_resampler(config, encoder.width, width, encoder.grid, 1), llm).eval()


def text_trial(samples: int, steps: int = 1, lr: float = 1e-4) -> TrialConfig:
    """A trial of `steps` optimiser steps of so many samples of text, which trains the LLM with AdamW."""
    stage = Stage(name="all", share=1.0, batch=samples, mix=Mix(text=1.0), lr=LearningRates(llm=lr))
    design = PRESETS["tiny"].design.model_copy(update={"schedule": (stage,), "optimizer": AdamW(kind="adamw")})
    return TrialConfig(design=design, scale="0.15M", seed=0, samples=samples * steps)


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sample."""

    prefix: int
    """Tokens before the first question, in the place of the video's."""
    questions: tuple[tuple[int, int], ...]
    """Tokens of each question with its answer, and of the answer alone, which are the targets."""

    @property
    def tokens(self) -> int:
        """Tokens of the sample, the prefix once."""
        return self.prefix + sum(length for length, _ in self.questions)


def row_of(lengths: Lengths, vocab: int, rng: np.random.Generator) -> Row:
    """A row of random ids with these lengths, one branch a question; an answer's first token has a predictor in it."""
    from models.data import Branch, Row

    def ids(count: int) -> list[int]:
        return rng.integers(3, vocab, count).tolist()

    branches = []
    for length, answer in lengths.questions:
        text = ids(length)
        targets = tuple((at - 1, text[at]) for at in range(length - answer, length))
        branches.append(Branch(tuple(text), targets))
    return Row(ids(lengths.prefix), branches)


def alone(row: Row) -> list[tuple[list[int], list[int]]]:
    """Each question of a row with the whole prefix, as ids and labels (-100 where nothing is predicted)."""
    pairs = []
    for branch in row.branches:
        labels = [-100] * (len(row.prefix) + len(branch.ids))
        for at, token in branch.targets:
            labels[len(row.prefix) + at + 1] = token
        pairs.append(([*row.prefix, *branch.ids], labels))
    return pairs


def corpus_of(rows: Sequence[Row], config: TrialConfig) -> Corpus:
    """A corpus whose samples of text are these rows, in an order that the trial's seed draws."""
    from models.data import Corpus, TrainingSample, Turn, VisualReader
    from models.video import Stored

    class RowCorpus(Corpus):
        """Rows that are ready."""

        def training_row(self, training_sample: TrainingSample, *_: Any, **__: Any) -> Row:
            return rows[int(training_sample.id)]

    turns = (Turn(("question",), "answer"),)
    samples = [TrainingSample(str(number), "text", (), turns, True) for number in range(len(rows))]
    no_media = VisualReader(config.design, None, Stored({}, np.empty(0), np.empty(0)))  # type: ignore[arg-type]
    return RowCorpus(None, samples, [], no_media)  # type: ignore[arg-type]


def attended_pairs(row: Row) -> int:
    """Pairs of a position and one that it attends to, itself included: causal, within a branch's path."""
    prefix = len(row.prefix)
    pairs = prefix * (prefix + 1) // 2
    for number, branch in enumerate(row.branches):
        before = prefix + (len(row.branches[number - branch.parent].ids) if branch.parent else 0)
        pairs += len(branch.ids) * before + len(branch.ids) * (len(branch.ids) + 1) // 2
    return pairs


def llm_step_flops(card: LlmCard, positions: int, pairs: int, targets: int) -> float:
    """FLOPs of a training step of an LLM whose weights all learn, forward and backward; padding counts nothing.

    6 N for each position, N being the weights of the layers' matrices; 6 h V for each target, since the output layer
    runs at these alone; 12 w for each layer and pair of positions that attend to each other, w being the width of all
    heads. This is the count of Kaplan et al. (arXiv 2001.08361, section 2.1) and PaLM (arXiv 2204.02311, appendix B),
    with the positions that the mask allows and not the square. Optimiser, norms and softmax are not counted, nor is
    what checkpointing computes again.

    Args:
        card: sizes of the LLM.
        positions: sequence positions without padding.
        pairs: see `attended_pairs`.
        targets: target tokens.
    """
    inner, kv_inner = card.heads * card.head_dim, card.kv_heads * card.head_dim
    matrices = card.layers * (2 * card.hidden * (inner + kv_inner) + 3 * card.hidden * card.mlp)
    return 6 * matrices * positions + 6 * card.hidden * card.vocab * targets + 12 * card.layers * inner * pairs


def flops_of(card: LlmCard, rows: Sequence[Row]) -> float:
    """`llm_step_flops` of a step of these rows."""
    return llm_step_flops(
        card,
        sum(row.length for row in rows),
        sum(attended_pairs(row) for row in rows),
        sum(row.num_targets for row in rows),
    )


def shortened(lengths: Lengths, questions: int) -> Lengths:
    """The sample with its first questions."""
    return replace(lengths, questions=lengths.questions[:questions])


def write_json(path: Path, content: object) -> None:
    """Write a result."""
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
