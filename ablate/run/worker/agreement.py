"""What the processes of a trial, which a launcher has started, must agree on before it begins."""

from __future__ import annotations

from pathlib import Path

from ablate.record import AttemptFolder


def agreed_attempt(of_first: AttemptFolder | None) -> AttemptFolder | None:
    """The attempt that the first process has begun; None if it has begun none. Every process calls this once.

    Args:
        of_first: the attempt, in the first process; not used in others.
    """
    import torch.distributed as dist

    paths = [str(of_first.path) if of_first is not None else None]
    dist.broadcast_object_list(paths, src=0)
    return AttemptFolder(Path(paths[0])) if paths[0] is not None else None
