"""Checks of a trial's parts before it runs: weights, how parts fit, data."""

from __future__ import annotations

from pathlib import Path

from ablate.errors import UsageError
from ablate.plan.load import model_of
from ablate.spec import SweepSpec, Trial
from models.data import ManifestError, load_test, load_train
from models.design import CustomEncoder, ManifestData
from models.ladder import scale_card_of
from models.weights import UncountedError, locate


def _check_weights(spec: SweepSpec, trial: Trial) -> None:
    """Shipped parts must be there; a hub id need not be: a plan shows what to fetch, and nothing is fetched."""
    encoders = [e.weights for e in trial.config.design.encoders if not isinstance(e, CustomEncoder)]
    for weights in (*encoders, scale_card_of(trial.config).llm):
        try:
            locate(weights)
        except FileNotFoundError as error:
            raise spec.source.error((), str(error)) from None


def _check_model(spec: SweepSpec, trial: Trial) -> None:
    """Parts must fit together, also where no price asks for their sizes: else a worker would find out."""
    try:
        model_of(trial.config)
    except UncountedError:  # a trial will tell
        return
    except ValueError as error:
        raise spec.source.error((), f"{trial.label}: {error}") from None


def _check_data(spec: SweepSpec, trials: list[Trial]) -> None:
    """Manifests must be readable and hold every kind of sample that a stage asks for."""
    kinds: dict[str, set[str]] = {}
    for trial in trials:
        design = trial.config.design
        if not isinstance(design.data, ManifestData):
            continue
        folder = design.data.folder
        try:
            if folder not in kinds:
                kinds[folder] = {record.kind for record in load_train(Path(folder))}
                load_test(Path(folder))
        except ManifestError as error:
            raise UsageError(str(error)) from None
        for stage in design.schedule:
            wanted = {kind for kind, share in design.mix_of(stage).model_dump().items() if share}
            if lacking := sorted(wanted - kinds[folder]):
                raise spec.source.error(
                    (),
                    f"{trial.label}: stage {stage.name!r} learns from {', '.join(lacking)}, of which "
                    f"{folder}/train.json has no record: change the mix, or add records",
                )
