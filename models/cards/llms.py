"""Cards of LLMs: the sizes that a plan needs, without the weights. No torch here.

Parameters are counted by closed formula and equal those of the published files exactly (tests/models/cards). For a
local folder in transformers' format the sizes are read from its `config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from models.weights import UncountedError, local_config, split_revision

SOURCE = "config.json of the model's page; the facts and how each was checked are in docs/encoders.md"


@dataclass(frozen=True, kw_only=True)
class LlmCard:
    """A decoder of Qwen2's architecture or a near relative."""

    id: str
    """Hub id, folder, or `tiny/NAME@VERSION`."""
    hidden: int
    """Width of the hidden states."""
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    """Hidden width of the gated MLP (three matrices)."""
    vocab: int
    """Rows of the embedding."""
    tied: bool
    """Whether the output layer is the embedding."""
    qkv_bias: bool = True
    out_bias: bool = False
    """Whether attention's output projection has a bias (Llama and Qwen3 with `attention_bias`)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised for each head (Qwen3)."""
    head_width: int | None = None
    """Width of one head where it is not hidden / heads."""
    max_positions: int | None = None
    """Longest sequence in tokens (`max_position_embeddings`); None where the config does not give it."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    source: str

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.head_width or self.hidden // self.heads

    @property
    def params_without_embeddings(self) -> int:
        """Parameters without the embedding and the output layer."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.hidden * (queries + keys)
        biases = self.qkv_bias * (queries + 2 * keys) + self.out_bias * self.hidden
        norms = 2 * self.hidden + self.qk_norm * 2 * self.head_dim
        return self.layers * (attention + biases + 3 * self.hidden * self.mlp + norms) + self.hidden

    @property
    def params(self) -> int:
        """All parameters; a tied output layer counts once."""
        return self.params_without_embeddings + self.vocab * self.hidden * (1 if self.tied else 2)


def _qwen(name: str, hidden: int, layers: int, heads: tuple[int, int], mlp: int) -> LlmCard:
    """The card of a Qwen2, Qwen2.5 or Qwen1.5; `heads` are those of queries and of keys.

    The output layer is untied in the largest two sizes (7B, and 4B of Qwen1.5); 7B has the padded vocabulary.
    """
    licence = {"Qwen1.5-4B-Chat": "tongyi-qianwen-research", "Qwen2.5-3B-Instruct": "qwen-research"}.get(
        name, "apache-2.0"
    )
    return LlmCard(
        id=f"Qwen/{name}",
        hidden=hidden,
        layers=layers,
        heads=heads[0],
        kv_heads=heads[1],
        mlp=mlp,
        vocab=152_064 if hidden == 3584 else 151_936,
        tied=hidden not in (2560, 3584),
        max_positions=32_768,
        licence=licence,
        commercial=licence == "apache-2.0",
        source=SOURCE,
    )


def _qwen3(name: str, hidden: int, layers: int, heads: int, mlp: int) -> LlmCard:
    """The card of a Qwen3: 8 heads of keys, heads of width 128; the output layer is untied in 8B alone."""
    return LlmCard(
        id=f"Qwen/{name}",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=8,
        mlp=mlp,
        vocab=151_936,
        tied=hidden != 4096,
        qkv_bias=False,
        qk_norm=True,
        head_width=128,
        max_positions=40_960,
        licence="apache-2.0",
        commercial=True,
        source=SOURCE,
    )


LLMS: dict[str, LlmCard] = {
    card.id: card
    for card in (
        _qwen("Qwen2-0.5B-Instruct", 896, 24, (14, 2), 4864),
        _qwen("Qwen2-1.5B-Instruct", 1536, 28, (12, 2), 8960),
        _qwen("Qwen2-7B-Instruct", 3584, 28, (28, 4), 18944),
        _qwen("Qwen1.5-4B-Chat", 2560, 40, (20, 20), 6912),
        _qwen("Qwen2.5-0.5B-Instruct", 896, 24, (14, 2), 4864),
        _qwen("Qwen2.5-1.5B-Instruct", 1536, 28, (12, 2), 8960),
        _qwen("Qwen2.5-3B-Instruct", 2048, 36, (16, 2), 11008),
        _qwen("Qwen2.5-7B-Instruct", 3584, 28, (28, 4), 18944),
        _qwen3("Qwen3-0.6B", 1024, 28, 16, 3072),
        _qwen3("Qwen3-1.7B", 2048, 28, 16, 6144),
        _qwen3("Qwen3-4B", 2560, 36, 32, 9728),
        _qwen3("Qwen3-8B", 4096, 36, 32, 12288),
    )
}

SCALES: dict[str, str] = {
    # The study's ladder: its ablations at 3B, its consistency at the four others (Apollo, section 3).
    "0.5B": "Qwen/Qwen2-0.5B-Instruct",
    "1.5B": "Qwen/Qwen2-1.5B-Instruct",
    "3B": "Qwen/Qwen2.5-3B-Instruct",
    "4B": "Qwen/Qwen1.5-4B-Chat",
    "7B": "Qwen/Qwen2-7B-Instruct",
    "Qwen2-0.5B": "Qwen/Qwen2-0.5B-Instruct",
    "Qwen2-1.5B": "Qwen/Qwen2-1.5B-Instruct",
    "Qwen2-7B": "Qwen/Qwen2-7B-Instruct",
    "Qwen1.5-4B": "Qwen/Qwen1.5-4B-Chat",
    "Qwen2.5-0.5B": "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen2.5-1.5B": "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen2.5-3B": "Qwen/Qwen2.5-3B-Instruct",
    "Qwen2.5-7B": "Qwen/Qwen2.5-7B-Instruct",
    "Qwen3-0.6B": "Qwen/Qwen3-0.6B",
    "Qwen3-1.7B": "Qwen/Qwen3-1.7B",
    "Qwen3-4B": "Qwen/Qwen3-4B",
    "Qwen3-8B": "Qwen/Qwen3-8B",
}
"""Label of a scale -> its LLM."""


def misspelt(weights: str) -> str | None:
    """The published id of which a hub id is a likely misspelling; None where it may well be another model."""
    name, _ = split_revision(weights)
    near = get_close_matches(name, LLMS, n=1, cutoff=0.95)
    return near[0] if near and name != near[0] and _digits(name) == _digits(near[0]) else None


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def llm_card(weights: str) -> LlmCard:
    """The card of an LLM: a published one, otherwise from the `config.json` of a folder or a shipped part.

    Raises:
        UncountedError: there is no card and no `config.json`, or the formula does not cover the architecture.
        ValueError: its `config.json` is not a JSON object.
        FileNotFoundError: no such shipped part.
    """
    name, _ = split_revision(weights)
    if name in LLMS:
        return LLMS[name]
    config = local_config(weights)
    if config is None:
        near = get_close_matches(name, LLMS, n=1, cutoff=0.8)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UncountedError(
            f"unknown LLM {weights!r}; {hint}A plan needs a local config.json (a folder, or a copy below "
            f"$ABLATE_WEIGHTS) or a published id: {', '.join(LLMS)}"
        )
    model_type = str(config.get("model_type"))
    if model_type not in ("qwen2", "qwen3", "llama", "mistral") or config.get("mlp_bias"):
        raise UncountedError(
            f"{weights}: LLMs of type {model_type!r} have no parameter formula; qwen2, qwen3, llama and mistral have "
            "one (without mlp_bias)"
        )
    try:
        return _card_of_config(weights, model_type, config)
    except KeyError as error:
        raise UncountedError(f"{weights}: its config.json lacks {error.args[0]!r}") from None


def _card_of_config(weights: str, model_type: str, config: dict[str, Any]) -> LlmCard:
    """The card of a local folder from the content of its `config.json`."""
    heads = int(config["num_attention_heads"])
    has_bias = bool(config.get("attention_bias", False))
    return LlmCard(
        id=weights,
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        mlp=config["intermediate_size"],
        vocab=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=model_type == "qwen2" or has_bias,
        out_bias=model_type != "qwen2" and has_bias,
        qk_norm=model_type == "qwen3",
        head_width=config.get("head_dim") or (128 if model_type == "qwen3" else None),
        max_positions=config.get("max_position_embeddings"),
        licence="unknown",
        commercial=False,
        source=f"computed from {weights}/config.json",
    )
