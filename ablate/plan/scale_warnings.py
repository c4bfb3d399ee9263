"""What to correct in the scales of a spec before the first trial is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ablate.spec import SweepSpec, split_placeholders


def scale_warnings(spec: SweepSpec) -> Iterator[str]:
    """Sentences about scales that cannot be promoted from or to, and those where {gpus} is 0."""
    yield from _labels_without_size(spec)
    yield from _scales_without_gpus(spec)


def _labels_without_size(spec: SweepSpec) -> Iterator[str]:
    """A sentence on labels whose order only the spec knows. A corrected label makes new trials: it is in their keys."""
    from analysis.tables import scale_size

    labels = [label for label in spec.labels if not math.isfinite(scale_size(label))]
    if labels and len(spec.labels) > 1:
        yield (
            f"scales {', '.join(labels)}: `ablate promote`, `next` and `backtest` need labels that end in a size, as "
            f"{labels[0]}-7B; a label that is changed later makes new trials"
        )


def _scales_without_gpus(spec: SweepSpec) -> Iterator[str]:
    """A sentence if a command passes on the number of GPUs where there are none: torchrun refuses 0 processes."""
    if spec.user_trainer is None:
        return
    command = spec.user_trainer.trainer.command
    arguments = [one for entry in command for one in ((entry,) if isinstance(entry, str) else entry)]
    if not any(name == "gpus" for argument in arguments for _, name in split_placeholders(argument)):
        return
    if labels := [label for label in spec.labels if not spec.resources_at(label).gpus]:
        yield (
            f"trainer.command: {{gpus}} is 0 at {', '.join(labels)}, whose `resources` ask for no GPU; torchrun needs "
            "1 process or more"
        )
