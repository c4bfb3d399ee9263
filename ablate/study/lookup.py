"""A trial of any study, by the text that a user types: STUDY/LABEL, STUDY/KEY, or the start of a key."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from ablate.errors import UsageError
from ablate.paths import runs_root, study_paths
from ablate.record import Record, scan, studies
from ablate.study.load import no_such_study

NAMED = 5
"""Most trials that a message lists."""


def find_record(text: str) -> Record:
    """The trial that a text names.

    Args:
        text: `STUDY/LABEL`, `STUDY/KEY` or a key, all of which may be shortened: a key to its start, a label to a part
            that no other label of the study has.

    Raises:
        UsageError: there is none, or there are several; the message names trials.
    """
    study, separator, name = text.partition("/")
    if separator:
        if study not in studies(runs_root()):
            raise UsageError(no_such_study(study))
        records = {record.about.label: record for record in scan(study_paths(study))}
        return _only(name, list(_matches(name, list(records.values()))), list(records))
    if not text.strip():
        raise UsageError("name a trial: STUDY/LABEL, or the start of its key")
    all_records = [record for one in studies(runs_root()) for record in scan(study_paths(one))]
    matches = [record for record in all_records if record.about.key.startswith(text)]
    return _only(text, matches, [f"{record.about.study}/{record.about.label}" for record in all_records])


def _matches(name: str, records: list[Record]) -> Iterator[Record]:
    """Those with this label or key, else those whose key begins with the name, else those with it in their label."""
    for is_match in (
        lambda record: name in (record.about.label, record.about.key),
        lambda record: bool(name) and record.about.key.startswith(name),
        lambda record: bool(name) and name in record.about.label,
    ):
        if matches := [record for record in records if is_match(record)]:
            yield from matches
            return


def _only(name: str, matches: list[Record], names: list[str]) -> Record:
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(f"{one.about.study}/{one.about.label} ({one.about.key})" for one in matches[:NAMED])
        more = f" and {len(matches) - NAMED} more" if len(matches) > NAMED else ""
        raise UsageError(f"{name!r} means several trials: {listed}{more}; give more of the label or key")
    nearest = get_close_matches(name, names, n=3, cutoff=0.0)
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ", and there are no trials"
    raise UsageError(f"no trial {name!r}: give STUDY/LABEL, or the start of a key{hint}")
