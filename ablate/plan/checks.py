"""Checks of the parts of trials of ablate's own trainer before they run: weights, how parts fit, data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import cache_root
from ablate.plan.data_sizes import KINDS
from ablate.plan.load import model_of
from ablate.spec import SweepSpec, Trial
from models.data import ManifestError, decode_medium, load_facts, open_records, open_test, open_training
from models.design import CustomEncoder, ManifestData
from models.ladder import scale_card_of
from models.weights import UncountedError, is_shipped, locate

MAX_NAMES = 3
"""Most media that a warning names."""


def check_weights(spec: SweepSpec, trial: Trial) -> None:
    """Refuse weights that exist nowhere. Hub ids need not be downloaded yet: a plan downloads nothing.

    Raises:
        SpecError: a shipped part or a folder does not exist.
    """
    encoders = [e.weights for e in trial.own_config.design.encoders if not isinstance(e, CustomEncoder)]
    for weights in (*encoders, scale_card_of(trial.own_config).llm):
        try:
            locate(weights)
        except FileNotFoundError as error:
            raise spec.source.error((), str(error)) from None


def check_model(spec: SweepSpec, trial: Trial) -> None:
    """Refuse parts that do not fit together, also where no price needs their sizes: else the trial would fail.

    Raises:
        SpecError: the message names both sizes.
    """
    try:
        model_of(trial.own_config)
    except UncountedError:  # sizes unknown: only the trial itself can check
        return
    except ValueError as error:
        raise spec.source.error((), f"{trial.label}: {error}") from None


def check_data(spec: SweepSpec, trials: list[Trial]) -> None:
    """Refuse manifests that cannot be read, or lack a kind of sample that a stage trains on.

    Raises:
        UsageError: a manifest is missing or wrong.
        SpecError: a stage's mix has a kind of sample that the manifest lacks, or the embedded LLMs are to choose among
            letters, which their tokenizer does not have.
    """
    kinds: dict[ManifestData, set[str]] = {}
    for trial in trials:
        design = trial.own_config.design
        if not isinstance(design.data, ManifestData):
            continue
        data = design.data
        try:
            if data not in kinds:
                kinds[data] = _kinds_of(data)
        except ManifestError as error:
            raise UsageError(str(error)) from None
        if data.scoring == "letters" and is_shipped(scale_card_of(trial.own_config).llm):
            raise spec.source.error(
                (),
                f"{trial.label}: the embedded LLMs know no letters to choose among: set `data.scoring: text`, with "
                "options in their hundred words, or take another LLM as a scale",
            )
        for stage in design.schedule:
            mix_kinds = {kind for kind, share in design.mix_of(stage).model_dump().items() if share}
            if lacking := sorted(mix_kinds - kinds[data]):
                raise spec.source.error(
                    (),
                    f"{trial.label}: stage {stage.name!r} trains on {', '.join(lacking)}, but {data.folder}/train.json "
                    "has no such sample: change the mix, or add samples",
                )


def data_warnings(trials: list[Trial]) -> Iterator[str]:
    """Sentences about own data: media that cannot be read, records that are skipped, words that the LLM lacks."""
    own = [trial for trial in trials if isinstance(trial.own_config.design.data, ManifestData)]
    if any(is_shipped(scale_card_of(trial.own_config).llm) for trial in own):
        yield (
            "the embedded LLMs know the hundred words of the embedded study alone and take all others for one unknown "
            "word: use another LLM for data of your own, or such words"
        )
    yield from _unreadable_media(own)


def _unreadable_media(trials: list[Trial]) -> Iterator[str]:
    """A sentence for each data folder in which the last check found media that trials use and cannot read."""
    cache = cache_root()
    for data in dict.fromkeys(trial.own_config.design.data for trial in trials):
        assert isinstance(data, ManifestData)
        folder = Path(data.folder)
        if data.max_bad:
            if skipped := open_records(folder, cache, data.max_bad).skipped:
                yield f"trials skip {len(skipped):,} records of {folder}, whose media the last check could not read"
            continue
        facts = load_facts(folder, cache)
        if facts is None or not (bad := facts.bad()):
            continue
        used = {*open_training(folder, cache).media(), *open_test(folder, cache).media()}
        names = [f"{decode_medium(medium).path} ({bad[medium]})" for medium in bad.keys() & used - {*facts.changed()}]
        if names:
            yield (
                f"{len(names)} media of {folder} could not be read in the last check, and trials that use them fail: "
                f"{', '.join(sorted(names)[:MAX_NAMES])}{' ...' if len(names) > MAX_NAMES else ''}; replace them and "
                f"type `ablate check {folder}`, or set data.max_bad"
            )


def _kinds_of(data: ManifestData) -> set[str]:
    """The kinds of the training samples that trials use, after a check of both manifests.

    Raises:
        ManifestError: see `open_records`.
    """
    train = open_records(Path(data.folder), cache_root(), data.max_bad).train
    return {kind for kind in KINDS if len(train.of_kind(kind))}
