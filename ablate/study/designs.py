"""Configs of the designs in a score table: from trial folders, a sweep spec, or a shipped sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, study_paths
from ablate.record import Value, scan
from ablate.spec import design_key, expand, find_spec, load_spec
from ablate.study.table import counting, factors_by_scale
from models.design import Design, TrialConfig

APOLLO_SPEC = "apollo/scaling_consistency"


@dataclass(frozen=True)
class KnownDesigns:
    """The designs of a study: configs, axes and trials."""

    configs: Mapping[str, Design] = field(default_factory=dict)
    """Name in the score table -> design; designs without a config (imported ones) are omitted."""
    axes: tuple[str, ...] = ()
    """Dotted paths of the fields that the study varied."""
    values: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Name -> axis -> the study's name of the design's value."""
    trials: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> `scale/seed key` of each finished trial."""
    samples: int | None = None
    """Number of training samples of the trials, if it is the same for all."""
    llm_lr_factors: Mapping[str, frozenset[float | None]] = field(default_factory=dict)
    """Scale -> factors of the LLM's learning rates that its trials state; None stands for trials that state none."""
    note: str | None = None
    """Source of the configs, if it is not the study itself."""


def known_designs(study: str, spec: str | None = None) -> KnownDesigns:
    """The configs of a study's designs.

    Args:
        study: name of the study; `apollo` has the designs of the shipped sweep, in the order of the paper's table.
        spec: a sweep spec that declares designs by their names in the score table (for imported scores).

    Raises:
        UsageError: there is no such spec.
    """
    if spec is not None:
        return _with_note_on_import(_of_spec(find_spec(spec)), study, spec)
    if study == PUBLISHED:
        return _of_paper()
    named = counting(scan(study_paths(study)))
    own = [(name, r) for name, r in named if r.about.source == "trial"]
    trial_configs = [(name, TrialConfig.model_validate(r.about.resolved)) for name, r in own]
    trials: dict[str, list[str]] = {}
    for name, r in named:
        trials.setdefault(name, []).append(f"{r.about.scale}/s{r.about.seed} {r.about.key}")
    axes = dict.fromkeys(axis for _, r in own for axis in r.about.axes)
    num_samples = {r.about.samples for _, r in own}
    values: dict[str, dict[str, Value]] = {}
    for name, r in own:
        values.setdefault(name, {}).update(r.about.axes)
    return KnownDesigns(
        configs={name: config.design for name, config in trial_configs},
        llm_lr_factors=factors_by_scale((config.scale, config.llm_lr_factor) for _, config in trial_configs),
        axes=tuple(axes),
        values=values,
        trials={name: tuple(sorted(keys)) for name, keys in trials.items()},
        samples=num_samples.pop() if len(num_samples) == 1 else None,
    )


def _of_spec(path: Path) -> KnownDesigns:
    spec = load_spec(path)
    trials = expand(spec).trials
    configs = {trial.design_label: trial.config.design for trial in trials}
    axes = dict.fromkeys(axis for trial in trials for axis in trial.axes)
    return KnownDesigns(
        configs=configs,
        llm_lr_factors=factors_by_scale((trial.config.scale, trial.config.llm_lr_factor) for trial in trials),
        axes=tuple(axes),
        values={trial.design_label: trial.axes for trial in trials},
        samples=spec.trial_samples,
        note=f"designs from {path}",
    )


def _with_note_on_import(designs: KnownDesigns, study: str, spec: str) -> KnownDesigns:
    """Note imported designs whose keys differ: trials of them would count as other designs."""
    if study in ("", PUBLISHED):
        return designs
    differing = {
        r.about.design_label
        for r in scan(study_paths(study))
        if r.about.source == "import"
        and r.about.design_label in designs.configs
        and r.about.design_key != design_key(designs.configs[r.about.design_label])
    }
    if not differing:
        return designs
    fix = f"import their file again with --designs {spec}, or their trials will count as other designs"
    return replace(designs, note=f"{designs.note}; {len(differing)} of them were imported by name alone: {fix}")


def _of_paper() -> KnownDesigns:
    """The designs of Apollo, Tables 14 and 15: seven for each of the mixes A, B and C, as in the shipped sweep."""
    shipped = _of_spec(find_spec(APOLLO_SPEC))
    names = [f"v{number:02d}" for number in range(1, 22)]
    if len(shipped.configs) != len(names):
        raise UsageError(f"the shipped sweep {APOLLO_SPEC} no longer contains the paper's 21 designs")
    note = f"designs from the shipped sweep {APOLLO_SPEC}; its comments say which settings the paper does not state"
    return KnownDesigns(
        configs=dict(zip(names, shipped.configs.values(), strict=True)),
        axes=shipped.axes,
        values=dict(zip(names, shipped.values.values(), strict=True)),
        samples=shipped.samples,
        note=note,
    )
