"""The final weights of a trial, written into the folder of its attempt with a card, before its result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.environment import describe
from ablate.record import AttemptFolder, Score, WeightsContent
from ablate.run.job import Job, Progress
from models.cards import encoder_card, llm_card
from models.design import CustomEncoder, ManifestData, TrialConfig
from models.ladder import scale_card_of

if TYPE_CHECKING:
    from models.architecture import VideoLMM

CARD, README = "card.json", "README.md"
CARD_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class PartCard:
    """What is known of a part that a model was made from."""

    part: str
    """`llm` or `encoder`."""
    name: str
    licence: str
    commercial: bool
    """Whether the licence allows commercial use; False where it is unknown."""


def keep_weights(
    model: VideoLMM, job: Job, attempt: AttemptFolder, scores: list[Score], names: list[WeightsContent]
) -> Iterator[Progress]:
    """Write the trained model and its card, if the job keeps weights; the log has their size.

    All ranks call this, since each holds a part of the weights; the first one writes.

    Args:
        model: the model after its last stage.
        job: the trial.
        attempt: its attempt; the model is in `attempt.weights`.
        scores: the scores of the trial.
        names: content of the hub ids and addresses among its parts.

    Raises:
        OSError: the disk is full, ...; nothing is left of the weights then.
    """
    from models.architecture import merged_state, save_learned
    from models.training import whole_tensors

    if job.keep != "weights":
        return
    yield Progress(phase="testing", detail="weights")
    state = whole_tensors(model)
    if state is None:
        return
    started_at, folder = time.monotonic(), attempt.weights
    shutil.rmtree(folder, ignore_errors=True)
    try:
        save_learned(model, folder, {one.weights: one.digest for one in names}, merged_state(model, state))
        card = model_card(TrialConfig.model_validate(job.config), job, scores)
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (folder / README).write_text(readme(card), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    attempt.log_line(f"kept {size / 1e6:,.1f} MB of weights in {time.monotonic() - started_at:.1f} s")


def model_card(config: TrialConfig, job: Job, scores: list[Score]) -> dict[str, Any]:
    """What a kept model is: config, data, scores, licences of its parts, versions."""
    data, environment = config.design.data, describe()
    stated = {"benchmark": data.benchmark}
    if isinstance(data, ManifestData):
        stated |= {"folder": data.folder, "digest": data.digest, "skipped": data.skipped}
    return {
        "card_version": CARD_VERSION,
        "study": Path(job.folder).parents[1].name,
        "trial": job.label,
        "key": job.key,
        "scale": config.scale,
        "seed": config.seed,
        "samples": config.samples,
        "data": stated,
        "parts": [vars(part) for part in part_cards(config)],
        "scores": [vars(score) for score in scores],
        "ablate": environment.get("ablate", "unknown"),
        "environment": environment,
        "config": job.config,
    }


def part_cards(config: TrialConfig) -> list[PartCard]:
    """The LLM and the encoders of a trial, with their licences as their cards have them."""
    llm = scale_card_of(config).llm
    cards = [PartCard(part="llm", name=llm, **_licence(lambda: llm_card(llm)))]
    for encoder in config.design.encoders:
        name = encoder.path if isinstance(encoder, CustomEncoder) else encoder.weights
        cards.append(PartCard(part="encoder", name=name, **_licence(lambda encoder=encoder: encoder_card(encoder))))
    return cards


def _licence(card_of: Any) -> dict[str, Any]:
    try:
        card = card_of()
    except (ValueError, FileNotFoundError):  # no card: a hub id of the user's choice
        return {"licence": "unknown", "commercial": False}
    return {"licence": card.licence, "commercial": card.commercial}


def readme(card: dict[str, Any]) -> str:
    """The card as text for people."""
    data = card["data"]
    lines = [
        f"# {card['trial']}",
        "",
        f"A video LMM of study `{card['study']}`, trained by ablate {card['ablate']}: trial `{card['key']}`, scale "
        f"{card['scale']}, seed {card['seed']}, {card['samples']:,} training samples.",
        f"Data: `{data['benchmark']}`" + (f", digest `{data['digest']}`" if "digest" in data else "") + ".",
        "`card.json` has the whole config and the versions of all packages.",
        "",
        "## Licences of its parts",
        "",
        *(
            f"- {one['part']} `{one['name']}`: {one['licence']}"
            + ("" if one["commercial"] or one["licence"] in ("unknown", "none") else ", not for commercial use")
            for one in card["parts"]
        ),
        "",
        "## Scores",
        "",
        "| benchmark | category | input | score |",
        "|---|---|---|---|",
        *(f"| {s['benchmark']} | {s['category']} | {s['modality']} | {s['score']:.2f} |" for s in card["scores"]),
        "",
        "## Use",
        "",
        f'- `ablate ask {card["study"]}/{card["key"]} VIDEO "a question"`',
        f"- `ablate evaluate {card['study']}/{card['key']} --data FOLDER`",
        f"- `ablate export {card['study']}/{card['key']} DIR`, then `VideoLMM.from_pretrained(DIR)`",
    ]
    return "\n".join(lines) + "\n"
