"""Reads the parts of a spec that concern a trainer of the user's own: the base design, what scales set, costs."""

from __future__ import annotations

from typing import Any

from ablate.spec.axes import put
from ablate.spec.open_design import normalised, wrong_path
from ablate.spec.source import Location
from ablate.spec.sweep_spec import SweepSpec
from ablate.spec.user_trainer import Stated

INHERITED = ("trainer", "data", "metric", "cost")
"""Keys that a spec takes from its base if it does not state them."""


def inherit(spec: SweepSpec, parent: SweepSpec | None) -> None:
    """Fill in what a spec takes from its base, and apply its `set`.

    Raises:
        SpecError: a path or value of `set` or of a scale is wrong.
    """
    own = {key: Stated(value=value, source=spec.source) for key in INHERITED
           if (value := getattr(spec, key)) is not None}  # fmt: skip
    spec._stated = (parent.stated if parent else {}) | own
    base: dict[str, Any] = parent.base_design if parent else {}
    if "data" in own and "data" in base:
        raise spec.source.error(("data",), f"the base sets the design's `data`, to {base['data']!r}; keep one of them")
    for path, value in _changes(spec, spec.set, ("set",)).items():
        try:
            base = put(base, path, value)
        except KeyError as error:
            raise spec.source.error(("set", path), str(error.args[0])) from None
    spec._base = base
    spec._trial_samples = spec.samples or (parent.trial_samples if parent else None)
    if "data" in own:
        try:
            spec._stated["data"] = Stated(value=normalised(own["data"].value), source=spec.source)
        except ValueError as error:
            raise spec.source.error(("data",), str(error)) from None
    _check_scales(spec)


def _changes(spec: SweepSpec, changes: dict[str, Any], location: Location) -> dict[str, Any]:
    """Dotted path -> value in its normal spelling, whole values before their fields.

    Raises:
        SpecError: a path or value is wrong.
    """
    plain: dict[str, Any] = {}
    for path in sorted(changes, key=lambda path: path.count(".")):
        if problem := wrong_path(path, has_data="data" in spec.stated):
            raise spec.source.error((*location, path), problem)
        try:
            plain[path] = normalised(changes[path])
        except ValueError as error:
            raise spec.source.error((*location, path), str(error)) from None
    return plain


def _check_scales(spec: SweepSpec) -> None:
    """Refuse a scale that sets an axis: its values would then be the same design.

    Raises:
        SpecError: a scale does, or a path or value that it sets is wrong.
    """
    for scale in spec.scales:
        location = (*spec.scale_location(scale.label), "set")
        spec._scale_sets[scale.label] = _changes(spec, scale.set, location)
        for path in scale.set:
            hidden = [axis for axis in spec.axis_paths() if f"{axis}.".startswith(f"{path}.")]
            if hidden:
                raise spec.source.error((*location, path), f"'{hidden[0]}' is an axis; a scale cannot set it as well")


def check_cost(spec: SweepSpec) -> None:
    """Refuse costs of samples without their number, and costs of unknown scales where one of the spec has none.

    Costs of further scales are no mistake: a spec at one scale may repeat those of its study.

    Raises:
        SpecError: the message lists the scales.
    """
    if spec.cost is None:
        return
    if spec.cost.gpu_seconds_per_sample and spec.trial_samples is None:
        raise spec.source.error(("cost", "gpu_seconds_per_sample"), "needs the number of `samples`; state it")
    declared = spec.source.data["scales"]
    labels = [str(entry.get("label") if isinstance(entry, dict) else entry) for entry in declared]
    for key, prices in spec.cost.model_dump(exclude_none=True).items():
        unknown = next((label for label in prices if label not in labels), None)
        unpriced = [label for label in labels if label not in prices]
        if unknown is not None and unpriced:
            raise spec.source.error(
                ("cost", key, unknown),
                f"there is no scale {unknown!r}, and {unpriced[0]} has no cost; scales: {', '.join(labels)}",
            )
