"""The class of an error that ends a trial of ablate's own trainer."""

from __future__ import annotations

from ablate.errors import UsageError
from ablate.record import FailureClass
from ablate.run.failures import is_fault_of_node
from ablate.run.worker.content import ContentError


def failure_class(error: BaseException) -> FailureClass:
    """The class under which an error is recorded."""
    import torch

    from models.data import ManifestError
    from models.training import DivergedError
    from models.video import VideoError

    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "oom"
    if is_fault_of_node(error):
        return "node"
    if isinstance(error, ManifestError | ContentError | VideoError):
        return "data"
    return "usage" if isinstance(error, UsageError) else "code"
