"""What follows a failed attempt: after which failures the next one runs on another node."""

from __future__ import annotations

import errno

from ablate.record import FailureClass

ON_ANOTHER_NODE: frozenset[FailureClass] = frozenset({"killed", "node", "timeout", "oom"})
"""Classes whose cause may be the machine: the next attempt runs elsewhere if there is another node."""
_OF_NODE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO}
)
"""Errors of a full, read-only or broken disk, of a file server that has gone, and of a device that has."""


def is_fault_of_node(error: BaseException) -> bool:
    """Whether an error comes from the machine or its disks, so that the trial may succeed elsewhere."""
    return isinstance(error, OSError) and error.errno in _OF_NODE
