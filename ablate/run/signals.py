"""Signals that end a sweep: `^C`, SIGTERM (a scheduler) and SIGHUP (the terminal was closed)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = {signal.SIGINT: 0.3, signal.SIGTERM: 30.0}
"""Signal -> seconds after the first signal from which another one ends the process at once. A terminal or a wrapper
may send the same signal twice, so SIGHUP never does, and `^C` not within a moment."""


class Signals:
    """Handles the signals while its context is entered: the first one interrupts the block `interruptible`.

    Signals that the process ignores stay ignored: `nohup ablate sweep` ignores SIGHUP.
    """

    def __init__(self) -> None:
        self.at_once: Callable[[], None] = lambda: None
        """Called before the process ends at once, because of an impatient second signal."""
        self.reason: str | None = None
        """Why the sweep stops; None if it does not, or because of a signal from outside."""
        self._is_interruptible = False
        self._first_at: float | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there only
            numbers = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._previous_handlers = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    @property
    def is_received(self) -> bool:
        """Whether a signal has arrived."""
        return self._first_at is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """The first signal raises KeyboardInterrupt in this block, also one that has arrived before it."""
        self._is_interruptible = True
        try:
            if self.is_received:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_interruptible = False

    def stop(self, reason: str) -> None:
        """Stop the sweep from any thread, as a signal does; the first reason counts."""
        if self.reason is not None:
            return
        self.reason = reason
        number = next((n for n in (signal.SIGINT, signal.SIGTERM) if n in self._previous_handlers), None)
        if number is not None and not self.is_received:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._first_at is None:
            self._first_at = time.monotonic()
            if self._is_interruptible:
                raise KeyboardInterrupt
        elif time.monotonic() - self._first_at > PATIENCE_S.get(signal.Signals(number), float("inf")):
            self.at_once()
            end_at_once()


def end_at_once() -> None:
    """End this process and all processes that it has started, without any cleaning up."""
    for _ in range(3):  # processes may start others meanwhile
        for process in psutil.Process().children(recursive=True):
            try:
                process.kill()
            except psutil.Error:  # it has ended, or belongs to another user
                continue
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the live view has hidden the cursor
    os._exit(130)
