"""The designs behind the names of a score table, as configs: from trial folders, a sweep spec, or the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, study_paths
from ablate.record import Value, scan
from ablate.spec import design_key, expand, find_spec, load_spec
from ablate.study.table import counting
from models.design import Design, TrialConfig

APOLLO_SPEC = "apollo/scaling_consistency"


@dataclass(frozen=True)
class KnownDesigns:
    """What is known of a study's designs beside their scores."""

    configs: Mapping[str, Design] = field(default_factory=dict)
    """Name in the score table -> design; designs without a config (imported ones) are missing."""
    axes: tuple[str, ...] = ()
    """Dotted paths that the study varied."""
    values: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Name -> what the study calls the design's value of each axis."""
    trials: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> `scale/seed key` of its finished trials."""
    samples: int | None = None
    """Training samples of its trials, if all have the same."""
    note: str | None = None
    """Where the configs are not the study's own."""


def known_designs(study: str, spec: str | None = None) -> KnownDesigns:
    """The configs of a study's designs.

    Args:
        study: its name; `apollo` has those of the shipped sweep, in the order of the paper's table.
        spec: a sweep spec that declares designs by the names that the score table has (for imported scores).

    Raises:
        UsageError: no such spec.
    """
    if spec is not None:
        return _with_note_on_import(_of_spec(find_spec(spec)), study, spec)
    if study == PUBLISHED:
        return _of_paper()
    named = counting(scan(study_paths(study)))
    own = [(name, r) for name, r in named if r.about.source == "trial"]
    configs = {name: TrialConfig.model_validate(r.about.resolved).design for name, r in own}
    trials: dict[str, list[str]] = {}
    for name, r in named:
        trials.setdefault(name, []).append(f"{r.about.scale}/s{r.about.seed} {r.about.key}")
    axes = dict.fromkeys(axis for _, r in own for axis in r.about.axes)
    budgets = {r.about.samples for _, r in own}
    values: dict[str, dict[str, Value]] = {}
    for name, r in own:
        values.setdefault(name, {}).update(r.about.axes)
    return KnownDesigns(
        configs=configs,
        axes=tuple(axes),
        values=values,
        trials={name: tuple(sorted(keys)) for name, keys in trials.items()},
        samples=budgets.pop() if len(budgets) == 1 else None,
    )


def _of_spec(path: Path) -> KnownDesigns:
    spec = load_spec(path)
    trials = expand(spec).trials
    configs = {trial.design_label: trial.config.design for trial in trials}
    axes = dict.fromkeys(axis for trial in trials for axis in trial.axes)
    return KnownDesigns(
        configs=configs,
        axes=tuple(axes),
        values={trial.design_label: trial.axes for trial in trials},
        samples=spec.trial_samples,
        note=f"designs as {path} declares them",
    )


def _with_note_on_import(found: KnownDesigns, study: str, spec: str) -> KnownDesigns:
    """Whether trials of these designs would stand beside their imported scores as other designs."""
    if study in ("", PUBLISHED):
        return found
    apart = {
        r.about.design_label
        for r in scan(study_paths(study))
        if r.about.source == "import"
        and r.about.design_label in found.configs
        and r.about.design_key != design_key(found.configs[r.about.design_label])
    }
    if not apart:
        return found
    mend = f"import their file again with --designs {spec}, or their trials will stand beside them as other designs"
    return replace(found, note=f"{found.note}; {len(apart)} of them were imported by name alone: {mend}")


def _of_paper() -> KnownDesigns:
    """Tables 14 and 15 list seven designs for each of the mixes A, B and C, as the shipped sweep does."""
    found = _of_spec(find_spec(APOLLO_SPEC))
    names = [f"v{number:02d}" for number in range(1, 22)]
    if len(found.configs) != len(names):
        raise UsageError(f"the shipped sweep {APOLLO_SPEC} no longer holds the paper's 21 designs")
    note = f"designs as the shipped sweep {APOLLO_SPEC} declares them; its comment says what the paper does not print"
    return KnownDesigns(
        configs=dict(zip(names, found.configs.values(), strict=True)),
        axes=found.axes,
        values=dict(zip(names, found.values.values(), strict=True)),
        samples=found.samples,
        note=note,
    )
