"""Keys: the hash of a resolved config's canonical JSON. Trials with equal keys are the same trial.

A key depends neither on key order nor on number spelling (3e6 = 3000000), nor on fields left at their
default (so a new field with a default keeps old keys), nor on where and how a trial runs. Data and folders of weights
enter by the digest of their content (ablate/spec/content.py). Where code changes what a config means, the part's
`VERSION` is raised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from ablate.spec.open_config import OpenConfig
from models.design import Design, ManifestData, Part, Stage, TrialConfig
from models.ladder import ScaleCard, scale_card_of

KEY_LENGTH = 16  # hex digits: a collision among a million trials has a probability of 3e-8

EXECUTION_ONLY: dict[tuple[type[Part], str], str] = {
    (ManifestData, "folder"): "where the data are; `digest` identifies their content",
    (ManifestData, "max_bad"): "a limit; `skipped` identifies the records that are skipped",
    (Stage, "name"): "a label, which changes no result",
    (TrialConfig, "llm_lr_factor"): "the scale's card has the factor, stated or not",
    (ScaleCard, "cpus"): "how a trial runs",
    (ScaleCard, "gpus"): "how a trial runs",
}
"""Fields that are not hashed, each with the reason."""

CONTENT = {"weights": "digest", "llm": "llm_digest", "data": "data_digest"}
"""Field that names files -> field with the digest of their content, which is hashed instead where there is one."""


def canonical(value: Any) -> Any:
    """Plain, normalised data: equal for all spellings of the same config."""
    if isinstance(value, Part):
        kind = type(value)
        config = {
            name: canonical(getattr(value, name))
            for name, field in kind.model_fields.items()
            if (kind, name) not in EXECUTION_ONLY
            and not _has_digest(value, name)
            and not (_is_default(field, getattr(value, name)) and _is_first_version(getattr(value, name)))
        }
        return {**config, "version": kind.VERSION}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _has_digest(part: Part, name: str) -> bool:
    """Whether a field's content is hashed in its place: moving a folder of weights changes no key."""
    return name in CONTENT and getattr(part, CONTENT[name], None) is not None


def _is_default(field: FieldInfo, value: Any) -> bool:
    return not field.is_required() and bool(field.get_default(call_default_factory=True) == value)


def _is_first_version(value: Any) -> bool:
    """Whether no part inside has changed its meaning since it was introduced."""
    if isinstance(value, Part):
        return value.VERSION == 1 and all(_is_first_version(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, list | tuple):
        return all(_is_first_version(item) for item in value)
    return True


def digest(value: Any) -> str:
    """Key of any config part or plain data."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def trial_key(config: TrialConfig | OpenConfig) -> str:
    """Key of a trial: design, scale with its card, seed and number of training samples.

    With the user's own trainer also what identifies it, what the scale sets, and the data.
    """
    if isinstance(config, OpenConfig):
        return digest({"open_trial": config})
    card = scale_card_of(config)
    if config.llm_digest is not None:
        card = card.model_copy(update={"llm": config.llm_digest})
    # "rung" is the old name of a scale's card; the word is hashed, so it stays.
    return digest({"trial": config, "rung": card})


def design_key(design: Design | Mapping[str, Any]) -> str:
    """Key of a design, the same at every scale, seed and number of training samples.

    Args:
        design: a design of ablate's own trainer, or the nested values of one of the user's own trainer.
    """
    return digest(design)
