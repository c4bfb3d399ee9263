"""Configs of the designs in a score table: from trial folders, a sweep spec, or a shipped sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, study_paths
from ablate.record import Record, Value, facts, is_open, scan
from ablate.spec import OpenConfig, Trial, digest, expand, find_spec, load_spec
from ablate.study.table import counting, factors_by_scale
from models.design import Design, TrialConfig

APOLLO_SPEC = "apollo/scaling_consistency"


@dataclass(frozen=True)
class KnownDesigns:
    """The designs of a study: configs, axes and trials."""

    configs: Mapping[str, Design] = field(default_factory=dict)
    """Name in the score table -> design of ablate's own trainer; imported designs without a config are omitted."""
    open_designs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name in the score table -> nested design of the user's own trainer. A study has one of the two kinds."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Name -> key of each design that has a config."""
    trainers: tuple[Mapping[str, Any], ...] = ()
    """Identities of the user's own trainer in the trials, each once."""
    specs: tuple[Path, ...] = ()
    """Specs that declare the user's own trainer, the latest first; they may have been moved since."""
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
    trials: dict[str, list[str]] = {}
    for name, r in named:
        trials.setdefault(name, []).append(f"{r.about.scale}/s{r.about.seed} {r.about.key}")
    axes = dict.fromkeys(axis for _, r in own for axis in r.about.axes)
    num_samples = {r.about.samples for _, r in own}
    values: dict[str, dict[str, Value]] = {}
    for name, r in own:
        values.setdefault(name, {}).update(r.about.axes)
    return replace(
        _with_configs(study, own),
        axes=tuple(axes),
        values=values,
        trials={name: tuple(sorted(keys)) for name, keys in trials.items()},
        samples=num_samples.pop() if len(num_samples) == 1 else None,
    )


def _with_configs(study: str, named: Sequence[tuple[str, Record]]) -> KnownDesigns:
    """The configs of the designs of some trials, by name.

    Raises:
        UsageError: trials of ablate's own trainer and of the user's in one study.
    """
    keys = {name: record.about.design_key for name, record in named}
    resolved = [(name, record.about.resolved) for name, record in named]
    kinds = {is_open(config) for _, config in resolved}
    if len(kinds) > 1:
        raise UsageError(
            f"study {study!r} has trials of ablate's own trainer and of yours, so its designs cannot be written as one "
            "sweep spec; run each kind in a study of its own"
        )
    if kinds == {True}:
        return KnownDesigns(
            open_designs={name: config["design"] for name, config in resolved},
            keys=keys,
            trainers=_distinct(config["trainer"] for _, config in resolved),
            specs=tuple(Path(path) for path in reversed(facts(study_paths(study)).specs)),
        )
    trial_configs = [(name, TrialConfig.model_validate(config)) for name, config in resolved]
    return KnownDesigns(
        configs={name: config.design for name, config in trial_configs},
        keys=keys,
        llm_lr_factors=factors_by_scale((config.scale, config.llm_lr_factor) for _, config in trial_configs),
    )


def _distinct(values: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple({digest(value): value for value in values}.values())


def _of_spec(path: Path) -> KnownDesigns:
    spec = load_spec(path)
    trials = expand(spec).trials
    axes = dict.fromkeys(axis for trial in trials for axis in trial.axes)
    return replace(
        _with_configs_of_trials(trials, path),
        keys={trial.design_label: trial.design_key for trial in trials},
        axes=tuple(axes),
        values={trial.design_label: trial.axes for trial in trials},
        samples=spec.trial_samples,
        note=f"designs from {path}",
    )


def _with_configs_of_trials(trials: Sequence[Trial], path: Path) -> KnownDesigns:
    """The configs of the designs that a spec declares, by label."""
    configs = [(trial.design_label, trial.config) for trial in trials]
    own = [(label, config) for label, config in configs if isinstance(config, TrialConfig)]
    if own:
        return KnownDesigns(
            configs={label: config.design for label, config in own},
            llm_lr_factors=factors_by_scale((config.scale, config.llm_lr_factor) for _, config in own),
        )
    return KnownDesigns(
        open_designs={label: config.design for label, config in configs if isinstance(config, OpenConfig)},
        trainers=_distinct(config.trainer for _, config in configs if isinstance(config, OpenConfig)),
        specs=(path,),
    )


def _with_note_on_import(designs: KnownDesigns, study: str, spec: str) -> KnownDesigns:
    """Note imported designs whose keys differ: trials of them would count as other designs."""
    if study in ("", PUBLISHED):
        return designs
    differing = {
        r.about.design_label
        for r in scan(study_paths(study))
        if r.about.source == "import"
        and r.about.design_label in designs.keys
        and r.about.design_key != designs.keys[r.about.design_label]
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
        keys=dict(zip(names, shipped.keys.values(), strict=True)),
        axes=shipped.axes,
        values=dict(zip(names, shipped.values.values(), strict=True)),
        samples=shipped.samples,
        note=note,
    )
