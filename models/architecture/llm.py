"""Loading the LLM: strictly, and refused where its files, or its model type, are not what a trial needs.

No code from a checkpoint is ever run: neither from a pickle nor from modelling files in the folder.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models.architecture.llm_source import LlmSource, empty_llm, whole_llm
from models.architecture.video_lmm import VideoLMM
from models.data import Branch, Row, collate
from models.weights import (
    CheckpointError,
    fetch_hint,
    first_line,
    locate,
    locate_tokenizer,
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
CHECK_SCALE = 1.5
"""Standard deviation of a layer's outputs in the random LLM of `refuse_unpackable_kind`: a wrong mask then shows."""
CHECK_VOCABULARY, CHECK_HIDDEN = 64, 64
"""Largest vocabulary and hidden width of MLPs in that LLM."""
_PACKABLE: set[str] = set()
"""Configs of small LLMs that were checked in this process."""


def load_llm(weights: str) -> PreTrainedModel:
    """A causal LM with its weights in fp32.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.

    Raises:
        CheckpointError: the files are missing, damaged, unsafe or do not fit; or it is no LLM that can be trained here.
        FileNotFoundError: no such shipped part.
    """
    return whole_llm(weights, _config(weights), torch.float32)


def load_empty_llm(weights: str) -> tuple[PreTrainedModel, LlmSource]:
    """A causal LM with fp32 parameters on the meta device, and where their values are, for `read_weights`.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.

    Raises:
        CheckpointError: as `load_llm`; pickles are judged when they are read.
        FileNotFoundError: no such shipped part.
    """
    return empty_llm(weights, _config(weights))


def _config(weights: str) -> Any:
    """The config of an LLM that can be trained here.

    Raises:
        CheckpointError: the file is missing or damaged, or the LLM is of another kind.
    """
    reason = why_not_here(weights)
    if reason is not None:
        raise CheckpointError(reason)
    with one_sentence_errors(weights, option="llm"):
        config = AutoConfig.from_pretrained(locate(weights), revision=revision_of(weights), trust_remote_code=False)
        _refuse_model_type(weights, config)
    return config


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
        raise _unfit(weights, model.llm.config, first_line(error)) from None
    difference = (packed - torch.stack(alone).float().log_softmax(-1)).abs().max().item()
    if not difference <= TOLERANCE + TOLERANCE_PER_EPSILON * torch.finfo(model.llm.dtype).eps:
        raise _unfit(weights, model.llm.config, f"log-probabilities differ by {difference:.2g} nats")


def refuse_unpackable_kind(weights: str, config: PretrainedConfig) -> None:
    """`refuse_unpackable` for all LLMs of a config: a small random one is checked, once in a process.

    It has one layer of each type (two at least), narrow MLPs, and weights so large that a wrong mask changes
    log-probabilities by nats. Other sizes, scales and switches are those of the config. No random number of the
    caller's is drawn.

    Raises:
        CheckpointError: see `refuse_unpackable`.
    """
    small = _small_config(config)
    key = small.to_json_string(use_diff=False)
    if key in _PACKABLE:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            llm = AutoModelForCausalLM.from_config(small, dtype=torch.float32, attn_implementation="sdpa").eval()
        except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise _unfit(weights, config, first_line(error)) from None
        deviation = CHECK_SCALE * llm.get_input_embeddings().embedding_dim ** -0.5
        for parameter in llm.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=deviation)
    refuse_unpackable(weights, VideoLMM(nn.Identity(), nn.Identity(), llm))  # type: ignore[arg-type]
    _PACKABLE.add(key)


def _small_config(config: PretrainedConfig) -> Any:
    """A config with one layer of each type, two at least, a small vocabulary and narrow MLPs."""
    small: Any = copy.deepcopy(config)
    layer_types = list(getattr(config, "layer_types", None) or ())
    chosen = sorted({0, 1, *(layer_types.index(one) for one in {*layer_types})})
    small.num_hidden_layers = min(len(chosen), small.num_hidden_layers)
    if layer_types:
        small.layer_types = [layer_types[index] for index in chosen[: small.num_hidden_layers]]
    small.vocab_size = min(small.vocab_size, CHECK_VOCABULARY)
    if (getattr(small, "pad_token_id", None) or 0) >= small.vocab_size:
        small.pad_token_id = 0
    for name in ("intermediate_size", "n_inner"):
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, min(getattr(small, name), CHECK_HIDDEN))
    return small


def _unfit(weights: str, config: PretrainedConfig, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{weights} is of model type {config.model_type!r}, which does not answer packed questions as it answers "
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
