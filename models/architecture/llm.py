"""Loading the LLM: strict, and refused where its files, or its kind of model, are not what a trial needs.

No code from a checkpoint is ever run: neither from a pickle nor from the modelling files that some folders bring.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from models.architecture.video_lmm import VideoLMM
from models.data import Branch, Row, collate
from models.weights import CheckpointError, abbreviated, locate, locate_tokenizer, why_not_here

LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers that `VideoLMM` can tell who sees whom."""
GOOD = "take an LLM such as Qwen2, Qwen3, Llama, Mistral, Gemma 3 (text) or GPT-2"
TOKENIZER = "tokenizer.json and tokenizer_config.json"
TOLERANCE = 0.01
"""Nats by which log-probabilities of packed questions may differ from those of each alone; fp32 differs by 1e-3."""


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
    with _refusals(weights):
        config = AutoConfig.from_pretrained(locate(weights), trust_remote_code=False)
        _refuse_kind(weights, config)
        llm, info = AutoModelForCausalLM.from_pretrained(
            locate(weights),
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with both shapes
            trust_remote_code=False,
        )
    _refuse_misfits(weights, info)
    return llm


def load_tokenizer(weights: str, llm: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer of an LLM.

    Raises:
        CheckpointError: there is none, or it is another model's.
    """
    with _refusals(weights, TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(locate_tokenizer(weights), trust_remote_code=False)
    rows = llm.get_input_embeddings().num_embeddings
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        reason = "no tokenizer lies with the LLM"  # transformers makes up an empty one of that kind of model
    elif tokenizer.vocab_size > rows:
        reason = f"the tokenizer has {tokenizer.vocab_size} tokens where the LLM has {rows}, so it is another model's"
    else:
        return tokenizer
    raise CheckpointError(f"{weights}: {reason}; {_mend(weights, TOKENIZER)}")


def refuse_unpackable(weights: str, model: VideoLMM) -> None:
    """Refuse an LLM that answers packed questions otherwise than each of them alone, or otherwise than itself.

    That is so where it takes no mask of who sees whom (Mamba, BLOOM), and where more than the output layer lies between
    hidden states and logits (Cohere, Granite).

    Raises:
        CheckpointError: it does.
    """
    prefix, questions = (5, 6, 7, 8), ((9, 10, 11), (12, 13))
    rows = model.llm.get_input_embeddings().num_embeddings
    if rows <= max(questions[0]):
        return
    branches = [Branch(ids, ((len(ids) - 1, 0),)) for ids in questions]
    try:
        with torch.inference_mode():
            packed = model(collate([Row(list(prefix), branches, None)]))
            alone = [model.llm(torch.tensor([prefix + ids]), use_cache=False).logits[0, -1] for ids in questions]
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise _unfit(weights, model.llm, _first_line(error)) from None
    apart = (packed - torch.stack(alone).float().log_softmax(-1)).abs().max().item()
    if not apart <= TOLERANCE:
        raise _unfit(weights, model.llm, f"log-probabilities differ by {apart:.2g} nats")


def _unfit(weights: str, llm: PreTrainedModel, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{weights} is of model type {llm.config.model_type!r}, which does not answer packed questions as it answers "
        f"them alone ({reason}); {GOOD}"
    )


def _refuse_kind(weights: str, config: Any) -> None:
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    others = sorted(set(getattr(config, "layer_types", None) or ()) - LAYERS)
    if kind is None:
        reason = "which is no causal LM"
    elif config.get_text_config() is not config:
        reason = "which holds more than an LLM of text"
    elif not kind._supports_sdpa:
        reason = "which transformers cannot run with torch's attention (sdpa), which takes the mask of packs"
    elif others:
        reason = f"with layers of kind {' and '.join(others)}, where {' and '.join(sorted(LAYERS))} are known"
    else:
        return
    raise CheckpointError(f"{weights} is of model type {config.model_type!r}, {reason}; {GOOD}")


def _refuse_misfits(weights: str, info: dict[str, Any]) -> None:
    shapes = sorted(
        f"{name} ({tuple(found)} instead of {tuple(wanted)})" for name, found, wanted in info["mismatched_keys"]
    )
    for what, names in (
        ("miss", sorted(info["missing_keys"])),
        ("have in another shape", shapes),
        ("hold besides", sorted(info["unexpected_keys"])),
    ):
        if names:
            raise CheckpointError(
                f"{weights}: the weights do not fit config.json, they {what} {abbreviated(names)}; {_mend(weights, 'both')}"
            )


@contextmanager
def _refusals(weights: str, files: str = "config.json and model.safetensors") -> Iterator[None]:
    """What transformers raises about files, in a sentence with the mend."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            logging.set_verbosity_error()  # what does not fit is told by `_refuse_misfits`
            yield
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{weights}: its pickle holds more than tensors and was not read, as it could run code; "
            f"{_mend(weights, 'model.safetensors')}"
        ) from None
    except (SafetensorError, EOFError) as error:
        raise CheckpointError(
            f"{weights}: the weights are damaged or truncated ({_first_line(error)}); "
            f"{_mend(weights, 'model.safetensors')}"
        ) from None
    except (OSError, ValueError, RuntimeError, ImportError, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            raise CheckpointError(f"{weights} brings code of its own, which is never run; {GOOD}") from None
        raise CheckpointError(f"{weights} cannot be loaded ({_first_line(error)}); {_mend(weights, files)}") from None


def _mend(weights: str, files: str) -> str:
    place = locate(weights)
    if Path(place).exists():
        return f"fetch {files} again from where the model is published, into {place}"
    return (
        f"fetch {files} from https://huggingface.co/{weights} and name their folder as `llm`, or put it below "
        "$ABLATE_WEIGHTS"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__
