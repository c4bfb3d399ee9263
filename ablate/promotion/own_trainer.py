"""The user's own trainer of a study: the spec that declares it, and what its trials cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import SpecError, UsageError
from ablate.spec import SweepSpec, digest, load_spec

if TYPE_CHECKING:
    from ablate.study import KnownDesigns


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTrainer:
    """The spec that declares the user's own trainer at the large scale."""

    spec: SweepSpec | None
    """None if the specs of the study are gone."""
    problem: str | None = None
    """Why there is no spec, and what to type."""
    specs: tuple[SweepSpec, ...] = ()
    """All specs of the study that can be read, the latest first."""
    notes: tuple[str, ...] = ()
    """Differences between the spec and the study's trials."""


def own_trainer(designs: KnownDesigns, large: str, llm: str | None) -> OwnTrainer:
    """The latest spec of the study that declares the large scale.

    Args:
        designs: of the user's own trainer.
        large: label of the large scale.
        llm: from `--to LABEL=LLM`.

    Raises:
        UsageError: no spec declares the scale, or `llm` is stated: what a scale sets is in the spec.
    """
    specs, problems = list[SweepSpec](), list[str]()
    for path in designs.specs:
        try:
            spec = load_spec(path)
        except (SpecError, UsageError) as error:
            problems.append(str(error))
            continue
        if spec.user_trainer is None:
            problems.append(f"{path} declares no `trainer`")
        else:
            specs.append(spec)
    if llm is None and (declaring := [spec for spec in specs if large in spec.labels]):
        return OwnTrainer(spec=declaring[0], specs=tuple(specs), notes=_differences(declaring[0], designs))
    if specs:
        raise _undeclared(specs, large, llm)
    reason = f" ({'; '.join(problems)})" if problems else ""
    return OwnTrainer(
        spec=None, problem=f"no spec with the study's own trainer can be read{reason}; name one with --designs SPEC"
    )


def _undeclared(specs: Sequence[SweepSpec], large: str, llm: str | None) -> UsageError:
    latest = specs[0]
    example = f"scales: [..., {{label: {large}, set: {{{_example_set(latest)}}}, resources: {{gpus: 8}}}}]"
    if llm is not None:
        return UsageError(
            f"--to {large}={llm}: these designs are of your own trainer, and its spec states what a scale sets: "
            f"declare it in {latest.source.path}, e.g. {example}, then give --to {large}"
        )
    return UsageError(
        f"--to {large}: {latest.source.path} declares no scale {large!r} (it has {', '.join(latest.labels)}), so what "
        f"your trainer trains there is unknown; declare it, e.g. {example}, or name another spec with --designs"
    )


def _example_set(spec: SweepSpec) -> str:
    """What the spec's largest scale sets, with the values left open."""
    paths = next((list(scale.set) for scale in reversed(spec.scales) if scale.set), ["model.name"])
    return ", ".join(f"{path}: ..." for path in paths)


def _differences(spec: SweepSpec, designs: KnownDesigns) -> tuple[str, ...]:
    """A note if the trainer has changed since the study's trials."""
    assert spec.user_trainer is not None
    if digest(spec.user_trainer.identity) in {digest(identity) for identity in designs.trainers}:
        return ()
    return (
        f"the trainer of {spec.source.path} differs from that of the study's trials (its command, code or version has "
        "changed), so scores at the large scale may differ by more than the scale",
    )
