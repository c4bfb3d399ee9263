"""Scale label -> its LLM, learning-rate factor, and the cores and GPUs of a trial. No torch here.

The embedded ladder is the 1:10,000 image of the paper's 0.5B / 1.5B / 4B / 7B (docs/tiny-study.md). The other labels
are published LLMs (models/cards, SCALES). A spec may define labels of its own, each with an LLM whose sizes may be
unknown until it is downloaded.

Recipe at every published size (Apollo, Table 7: the same at 1.5B, 3B and 7B): batch 256 and a warm-up of 3% of a
stage's steps, as in the schedules and optimisers of designs; only the learning rate of the LLM differs, by
`published_factor`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from pydantic import Field

from models.cards import LLMS, SCALES, LlmCard, llm_card, misspelt
from models.design import Part, TrialConfig
from models.weights import UncountedError, local_config, split_revision, stored_params, why_not_here

REFERENCE = "Qwen/Qwen2.5-3B-Instruct"
"""LLM at which schedules for published LLMs give the learning rate: the one of Apollo's ablations."""
SMALLEST_SCALED = 250_000_000
"""Number of parameters below which learning rates are not scaled: half of the smallest published LLM, 0.5B, rounded."""


class ScaleCard(Part):
    """One scale. `cpus` and `gpus` concern only execution and are not part of a trial's key."""

    label: str
    llm: str
    """Weights of the LLM: a folder in transformers' format, a hub id, or `tiny/NAME@VERSION`."""
    llm_lr_factor: float = Field(default=1.0, gt=0)
    """Factor of a schedule's learning rates of the LLM: good rates fall with its width, as 1/width (muP, Yang et al.,
    arXiv 2203.03466). Here 64/width for LLMs wider than the 0.15M one, at which the rates were measured; for published
    LLMs see `published_factor`."""
    cpus: float = Field(default=1, ge=0)
    """CPU cores of one trial."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of one trial."""


def published_factor(card: LlmCard) -> float:
    """Factor of a schedule's learning rate of the LLM: parameters of the 3B LLM / parameters of this one.

    Apollo's Table 7 trains with 5e-5, 2e-5 and 1e-5 at 1.5B, 3B and 7B: a power law fitted to it has the exponent -1.01
    (tests/models/test_ladder.py), so 1/parameters. At 0.5B it is extrapolated (6.2 times the rate at 3B); an LLM below
    `SMALLEST_SCALED` keeps the schedule's own rate.
    """
    return LLMS[REFERENCE].params / card.params if card.params >= SMALLEST_SCALED else 1.0


LADDER: dict[str, ScaleCard] = {
    label: ScaleCard(label=label, llm=f"tiny/llm-{label}@2", llm_lr_factor=factor)
    for label, factor in (("0.05M", 1.0), ("0.15M", 1.0), ("0.4M", 64 / 96), ("0.7M", 64 / 112))
} | {
    label: ScaleCard(label=label, llm=name, llm_lr_factor=published_factor(LLMS[name]), gpus=1)
    for label, name in SCALES.items()
}


def scale_card(label: str, own: Iterable[str] = ()) -> ScaleCard:
    """The scale with this label.

    Args:
        label: label of the ladder.
        own: labels that a spec defines itself, for the message.

    Raises:
        ValueError: there is no such scale; the message lists all scales.
    """
    if label in LADDER:
        return LADDER[label]
    labels = [*own, *LADDER]
    near = get_close_matches(label, labels, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown scale {label!r}{hint} Known scales: {', '.join(labels)}")


def own_scale_card(label: str, llm: str) -> ScaleCard:
    """The scale of a label that a spec defines itself.

    An LLM without a card keeps the schedule's learning rates, and needs a GPU unless its files are small. So does a hub
    id that is not in the table even if this machine has a copy of it: the rates enter a trial's key, which must be the
    same on every machine.

    Args:
        label: label of the spec.
        llm: weights of the LLM, see `ScaleCard.llm`.

    Raises:
        ValueError: the ladder has this label, or the LLM cannot exist.
        FileNotFoundError: there is no such shipped part.
    """
    if label in LADDER:
        raise ValueError(f"{label!r} is one of the ladder's scales ({LADDER[label].llm}); choose another label")
    shipped = next((scale for scale in LADDER.values() if scale.llm == llm and not scale.gpus), None)
    if shipped is not None:
        return shipped.model_copy(update={"label": label})
    is_published = split_revision(llm)[0] in LLMS
    if not is_published:
        _refuse_impossible(llm)
    card = _card(llm)
    params = card.params if card else stored_params(llm)
    is_same_everywhere = is_published or Path(llm).exists()
    return ScaleCard(
        label=label,
        llm=llm,
        llm_lr_factor=published_factor(card) if card and is_same_everywhere else 1.0,
        gpus=0 if params is not None and params < SMALLEST_SCALED else 1,
    )


def _card(llm: str) -> LlmCard | None:
    try:
        return llm_card(llm)
    except UncountedError:
        return None


def _refuse_impossible(llm: str) -> None:
    reason, suggestion = why_not_here(llm), misspelt(llm)
    if reason is not None:
        raise ValueError(reason)
    if suggestion is not None and local_config(llm) is None:
        raise ValueError(f"unknown LLM {llm!r}; did you mean {suggestion!r}?")


def scale_card_of(config: TrialConfig) -> ScaleCard:
    """The scale of a trial.

    Raises:
        ValueError: there is no such scale, or its LLM cannot exist.
        FileNotFoundError: there is no such shipped part.
    """
    return scale_card(config.scale) if config.llm is None else own_scale_card(config.scale, config.llm)
