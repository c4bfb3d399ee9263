"""Pre-training of the small language models on transcripts.

Legend as in models/tiny/pretraining/transcripts.py, and `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from models.tiny.pretraining.learning import Learner
from models.tiny.pretraining.transcripts import IDS, Form, TextBatch, collate_samples, draw_form, draw_samples
from models.tiny.sizes import LlmSize
from models.tiny.world import words

SCENES = 16
"""Number of scenes of a step."""
EVALUATION_FORMS = {
    "fps 2": Form(fps=2, separators=True),
    "fps 4": Form(fps=4),
    "uniform 8": Form(frames=8),
    "uniform 16": Form(frames=16, separators=True),
    "uniform 8 timestamps": Form(frames=8, separators=True, timestamps=True),
    "plain uniform 8": Form(frames=8, tokens=len(words.SLOTS)),
}
"""Forms of the evaluation by name."""


def new_llm(size: LlmSize) -> Qwen2ForCausalLM:
    """A Qwen2 decoder with tied embeddings and the study's vocabulary."""
    config = Qwen2Config(
        vocab_size=len(IDS),
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=0.08,
        bos_token_id=None,
        eos_token_id=IDS[words.EOS],
        pad_token_id=IDS[words.PAD],
        use_cache=False,
    )
    return Qwen2ForCausalLM(config)


def hidden_states(llm: Qwen2ForCausalLM, batch: TextBatch) -> torch.Tensor:
    """The LLM's last hidden states: (B * L, D)."""
    text, table = batch.text, llm.get_input_embeddings()
    embeddings = table(text.ids_BL).flatten(0, 1)
    tokens_BTRD = torch.einsum("btsd,rs->btrd", table(batch.bags_BTS), batch.carries_RS)
    if len(batch.carries_RS) < len(words.SLOTS):  # normalised like a resampler's output, unlike words
        tokens_BTRD = functional.layer_norm(tokens_BTRD, tokens_BTRD.shape[-1:])
    embeddings = embeddings.index_put((batch.frame_at_N,), tokens_BTRD[batch.real_BT].flatten(0, 1))
    states = llm.model(
        inputs_embeds=embeddings.view(*text.ids_BL.shape, -1),
        attention_mask=text.attends()[:, None],
        position_ids=text.positions_BL,
        use_cache=False,
    ).last_hidden_state
    return states.flatten(0, 1)


def pretrain_llm(size: LlmSize, steps: int | None = None) -> Qwen2ForCausalLM:
    """Train a new decoder; each scene is used once.

    Args:
        size: sizes of the decoder.
        steps: number of steps, if not `size.steps`.
    """
    torch.manual_seed(0)
    steps = size.steps if steps is None else steps
    llm = new_llm(size)
    # Learning rates fall with width, as in muP: at 0.02 the 0.7M LLM reached 64%, the 0.15M one 81%.
    factor = min(1.0, 64 / size.hidden)
    learner = Learner([llm], steps=steps, muon_lr=0.02 * factor, adamw_lr=5e-3 * factor)
    rng = np.random.default_rng(0)
    smoothed_loss = 0.0
    for step in range(steps):
        form = draw_form(rng, step / steps)
        batch = collate_samples(form, draw_samples(form, "pretrain", step * SCENES, SCENES))
        logits_KV = llm.lm_head(hidden_states(llm, batch)[batch.text.target_at_K])
        loss = functional.cross_entropy(logits_KV, batch.text.targets_K)
        learner.step(loss)
        smoothed_loss = loss.item() if step == 0 else 0.97 * smoothed_loss + 0.03 * loss.item()
        if step % 200 == 0:
            scores = evaluate(llm, EVALUATION_FORMS["uniform 8"], num_scenes=80)
            print({task: round(score) for task, score in scores.items()}, flush=True)
        if step % 100 == 0 or step == steps - 1:
            print(f"llm-{size.label} step {step}: {smoothed_loss:.3f} nat per token", flush=True)
    return llm.eval()


@torch.no_grad()
def evaluate(llm: Qwen2ForCausalLM, form: Form, num_scenes: int = 200) -> dict[str, float]:
    """Accuracy in percent of each task on held-out scenes, with four options per question."""
    right: dict[str, list[bool]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for first in range(0, num_scenes, 40):
        samples = draw_samples(form, "heldout", first, 40)
        batch = collate_samples(form, samples)
        logits_QV = llm.lm_head(hidden_states(llm, batch)[batch.answer_at_Q])
        questions = [row for s in samples for row in zip(s.turns, s.tasks, s.pools, strict=True)]
        for logits, ((_, answer), task, pool) in zip(logits_QV, questions, strict=True):
            wrong = rng.permutation([word for word in pool if word != answer])[:3]
            best = max(float(logits[IDS[word]]) for word in wrong)
            right[task].append(float(logits[IDS[answer]]) > best)
    return {task: 100 * float(np.mean(hits)) for task, hits in right.items()}
