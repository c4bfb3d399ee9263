"""Reads every medium of a data folder once, several at a time, and records which can be read. No torch here.

Each thread has a decoder of its own, whose child process does the work. Results are kept by content (size and time of
change), so that a second check reads only what is new or has changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from models.data.index import decode_medium
from models.data.manifest import ManifestError
from models.data.media_facts import (
    ABSENT,
    CheckedMedium,
    Journal,
    MediaFacts,
    Signature,
    load_facts,
    signature_of,
    writable_store,
)
from models.video import Decoder, VideoError, inspect_medium

SAVE_S = 1.0
"""Seconds between two portions of results that are saved."""


@dataclass(frozen=True, kw_only=True)
class CheckProgress:
    """The progress of a check."""

    done: int
    """Media that have been read."""
    total: int
    """Media to read: new ones, and those that have changed."""
    bad: int
    """Media among them that cannot be read."""
    seconds: float
    """Time since the start."""
    seconds_left: float | None
    """Estimated time left, by the size of the files; None before the first one."""


Progress = Callable[[CheckProgress], None]


def check_media(
    folder: Path, media: Sequence[str], cache: Path, workers: int, progress: Progress = lambda _: None
) -> tuple[MediaFacts, int]:
    """Read media that were not read before, or have changed since.

    Args:
        folder: the data folder.
        media: its media, encoded, without duplicates.
        cache: folder for the results if the data folder is not writable.
        workers: number of media to read at the same time.
        progress: receives the progress, about once a second.

    Returns:
        The facts about all media that were ever checked, and the number of media that were read now.

    Raises:
        ManifestError: another check of this folder is running.
        RuntimeError: no video can be read on this machine.
    """
    store = writable_store(folder, cache)
    with _sole_check(folder, store):
        journal = Journal(store)
        facts = load_facts(folder, cache)
        rows = {row.medium: row for row in facts.rows()} if facts else {}
        rows |= {row.medium: row for row in journal.read()}
        changed = [(medium, signature) for medium, signature in _signatures(folder, media)
                   if medium not in rows or rows[medium].signature != signature]  # fmt: skip
        for portion in _portions(_results(folder, changed, workers), changed, progress):
            journal.append(portion)
            rows |= {row.medium: row for row in portion}
        if changed or facts is None or facts.file.parent != store:
            journal.finish(list(rows.values()))
    newest = load_facts(folder, cache)
    assert newest is not None
    return newest, len(changed)


@contextmanager
def _sole_check(folder: Path, store: Path) -> Iterator[None]:
    lock = FileLock(store / "check.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ManifestError(f"another check of {folder} is running (it has locked {store / 'check.lock'})") from None
    try:
        yield
    finally:
        lock.release()


def _signatures(folder: Path, media: Sequence[str]) -> Iterator[tuple[str, Signature]]:
    return ((medium, signature_of(folder, decode_medium(medium))) for medium in media)


def _portions(
    results: Iterator[CheckedMedium], changed: Sequence[tuple[str, Signature]], progress: Progress
) -> Iterator[list[CheckedMedium]]:
    """Results in portions of about a second, with the progress after each."""
    start = saved = time.monotonic()
    num_bytes = sum(max(0, signature.size) for _, signature in changed)
    done = bad = bytes_done = 0
    portion: list[CheckedMedium] = []
    for row in results:
        portion.append(row)
        done, bad, bytes_done = done + 1, bad + (row.reason is not None), bytes_done + max(0, row.size)
        now = time.monotonic()
        if now - saved < SAVE_S and done < len(changed):
            continue
        yield portion
        portion, saved = [], now
        left = (now - start) * (num_bytes - bytes_done) / bytes_done if bytes_done else None
        progress(CheckProgress(done=done, total=len(changed), bad=bad, seconds=now - start, seconds_left=left))


def _results(folder: Path, changed: Sequence[tuple[str, Signature]], workers: int) -> Iterator[CheckedMedium]:
    """The result of each medium, in the order in which they are ready; a few media are in work at a time."""
    decoders = threading.local()
    with ExitStack() as stack:

        def work(medium: str, signature: Signature) -> CheckedMedium:
            if not hasattr(decoders, "own"):
                decoders.own = stack.enter_context(Decoder())
            return _check(folder, medium, signature, decoders.own)

        pool = ThreadPoolExecutor(workers)
        running: set[Future[CheckedMedium]] = set()
        try:
            for medium, signature in changed:
                running.add(pool.submit(work, medium, signature))
                if len(running) >= 4 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(cancel_futures=True)


def _check(folder: Path, encoded: str, signature: Signature, decoder: Decoder) -> CheckedMedium:
    medium = decode_medium(encoded)
    path, (size, changed_ns) = medium.path, signature

    def unreadable(reason: str) -> CheckedMedium:
        return CheckedMedium(medium=encoded, path=path, size=size, changed_ns=changed_ns, reason=reason)

    if signature == ABSENT:
        return unreadable("does not exist")
    try:
        facts = asdict(inspect_medium(folder, medium, decoder))
    except VideoError as error:
        return unreadable(error.reason if error.path == folder / path else f"{error.path.name} {error.reason}")
    except OSError as error:
        return unreadable(error.strerror or str(error))
    columns = {name: facts[name] for name in ("reader", "frames", "duration_s", "width", "height", "codec")}
    return CheckedMedium(medium=encoded, path=path, size=size, changed_ns=changed_ns, reason=None, **columns)
