"""Loading the LLM: strictly, and refused where its files, or its model type, are not what a trial needs.

No code from a checkpoint is ever run: neither from a pickle nor from modelling files in the folder.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models.architecture.video_lmm import VideoLMM
from models.data import Branch, Row, collate
from models.weights import (
    CheckpointError,
    fetch_hint,
    first_line,
    locate,
    locate_tokenizer,
    misfit_of,
    one_sentence_errors,
    revision_of,
    why_not_here,
)

LAYER_TYPES = {"full_attention", "sliding_attention"}
"""Layer types for which `VideoLMM` can build an attention mask."""
SUPPORTED_LLMS_HINT = "take an LLM such as Qwen2, Qwen3, Llama, Mistral, Gemma 3 (text) or GPT-2"
TOKENIZER_FILES = "tokenizer.json and tokenizer_config.json"
TOLERANCE = 0.01
"""Largest difference in nats between log-probabilities of packed questions and of each alone, in exact arithmetic:
1e-3 was measured in fp32."""
TOLERANCE_PER_EPSILON = 32.0
"""What rounding adds to it, in units of the dtype's epsilon: a quarter of a nat in bf16, nothing in fp32. Logits of
some tens are rounded to 0.1 in bf16; a wrong mask changes a model with such logits by nats."""


def load_llm(weights: str) -> PreTrainedModel:
    """A causal LM with its weights in fp32.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.

    Raises:
        CheckpointError: the files are missing, damaged, unsafe or do not fit; or it is no LLM that can be trained here.
        FileNotFoundError: no such shipped part.
    """
    reason = why_not_here(weights)
    if reason is not None:
        raise CheckpointError(reason)
    revision = revision_of(weights)
    with one_sentence_errors(weights, option="llm"):
        config = AutoConfig.from_pretrained(locate(weights), revision=revision, trust_remote_code=False)
        _refuse_model_type(weights, config)
        llm, info = AutoModelForCausalLM.from_pretrained(
            locate(weights),
            revision=revision,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
            trust_remote_code=False,
        )
    problem = misfit_of(info, list(info["unexpected_keys"]))
    if problem:
        hint = fetch_hint(weights, "both", option="llm")
        raise CheckpointError(f"{weights}: the weights do not fit config.json: the file {problem}; {hint}")
    return llm


def load_tokenizer(weights: str, llm: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer of an LLM.

    Raises:
        CheckpointError: there is none, or it is another model's.
    """
    with one_sentence_errors(weights, option="llm", files=TOKENIZER_FILES):
        path, revision = locate_tokenizer(weights), revision_of(weights)
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    rows = llm.get_input_embeddings().num_embeddings
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        reason = "the folder has no tokenizer"  # transformers makes up an empty one of that model type
    elif tokenizer.vocab_size > rows:
        reason = f"the tokenizer has {tokenizer.vocab_size} tokens where the LLM has {rows}, so it is another model's"
    else:
        return tokenizer
    raise CheckpointError(f"{weights}: {reason}; {fetch_hint(weights, TOKENIZER_FILES, option='llm')}")


def refuse_unpackable(weights: str, model: VideoLMM) -> None:
    """Refuse an LLM that does not answer packed questions as it answers each of them alone.

    Such an LLM takes no attention mask (Mamba, BLOOM), or has more than the output layer between hidden states and
    logits (Cohere, Granite).

    Raises:
        CheckpointError: the answers differ, or the LLM cannot be run on a pack.
    """
    prefix, question, option, other = (5, 6, 7, 8), (9, 10, 11), (12, 9), (12, 13)
    rows = model.llm.get_input_embeddings().num_embeddings
    if rows <= max(other):
        return
    branches = [Branch(ids, ((len(ids) - 1, 0),), parent) for ids, parent in ((question, 0), (option, 1), (other, 0))]
    texts = ((*prefix, *question), (*prefix, *question, *option), (*prefix, *other))
    try:
        with torch.inference_mode():
            packed = model(collate([Row(list(prefix), branches)]))
            alone = [model.llm(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in texts]
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise _unfit(weights, model.llm, first_line(error)) from None
    difference = (packed - torch.stack(alone).float().log_softmax(-1)).abs().max().item()
    if not difference <= TOLERANCE + TOLERANCE_PER_EPSILON * torch.finfo(model.llm.dtype).eps:
        raise _unfit(weights, model.llm, f"log-probabilities differ by {difference:.2g} nats")


def _unfit(weights: str, llm: PreTrainedModel, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{weights} is of model type {llm.config.model_type!r}, which does not answer packed questions as it answers "
        f"them alone ({reason}); {SUPPORTED_LLMS_HINT}"
    )


def _refuse_model_type(weights: str, config: Any) -> None:
    model = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    other_types = sorted(set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES)
    if model is None:
        reason = "which is no causal LM"
    elif config.get_text_config() is not config:
        reason = "which contains more than an LLM for text"
    elif not model._supports_sdpa:
        reason = "which transformers cannot run with torch's attention (sdpa), which takes the mask of packs"
    elif other_types:
        supported = " and ".join(sorted(LAYER_TYPES))
        reason = f"with layers of type {' and '.join(other_types)}, where {supported} are supported"
    else:
        return
    raise CheckpointError(f"{weights} is of model type {config.model_type!r}, {reason}; {SUPPORTED_LLMS_HINT}")
