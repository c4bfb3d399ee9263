"""Whether a program's code and data are still what its trials were planned with."""

from __future__ import annotations

from pathlib import Path

from ablate.record import file_digest
from ablate.run.job import Job, Program
from ablate.spec import tree_state

NAMED = 3
"""Most files that a message names."""


def changed_code(program: Program) -> str:
    """Which files of code differ from those that are in the trial's key; empty if none does.

    A trial that ran other code than its key says would be a wrong result that nobody notices.
    """
    changes = []
    for name, planned in program.code.items():
        path = Path(program.workdir) / name
        try:
            digest = file_digest(path)
        except OSError as error:
            changes.append(f"{path} cannot be read now ({error.strerror}), and was {planned[:12]} when planned")
            continue
        if digest != planned:
            changes.append(f"{path} is {digest[:12]} now, and was {planned[:12]} when planned")
    if not changes:
        return ""
    more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
    return (
        f"the code changed after the trial was planned: {'; '.join(changes[:NAMED])}{more}. Restore it, or start the "
        "sweep again, which plans trials of the new code"
    )


def changed_data(job: Job) -> str:
    """Which of the files and folders that a spec's `data` names differ from those in the trial's key; empty if none."""
    assert job.program is not None
    changes = []
    for name, planned in job.program.data_files.items():
        try:
            digest = tree_state(Path(name), Path(job.folder).parents[2], Path(job.cache), planned)["digest"]
        except OSError as error:
            changes.append(
                f"{error.filename} cannot be read now ({error.strerror}), and {name} was {planned['digest']}"
            )
            continue
        if digest != planned["digest"]:
            changes.append(f"{name} is {digest} now, and was {planned['digest']} when planned")
    if not changes:
        return ""
    more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
    return (
        f"the data changed after the trial was planned: {'; '.join(changes[:NAMED])}{more}. Restore them, or start the "
        "sweep again, which plans trials of the new data"
    )
