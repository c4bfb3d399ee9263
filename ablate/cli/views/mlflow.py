"""The output of `ablate sync` and `ablate ui`: changes of the MLflow store, and links to its pages."""

from __future__ import annotations

from dataclasses import asdict

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.errors import UsageError
from ablate.paths import study_paths

MOST_SHOWN = 10
"""Maximum number of problems, and of deleted runs, that are printed."""


def sync_and_show(study: str, *, tracking_uri: str | None, as_json: bool) -> int:
    """Update MLflow from the trial folders, and print what changed.

    Returns:
        The exit code: 0, or 1 if a trial could not be written.

    Raises:
        UsageError: there is no such study.
    """
    from ablate.record import sole_driver
    from ablate.study import no_such_study
    from ablate.tracking import location, sync

    paths = study_paths(study)
    if not paths.trials.is_dir():
        raise UsageError(no_such_study(study))
    location.absolute_uri(tracking_uri)  # refuses an unknown kind of store before MLflow is imported
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with sole_driver(paths), Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task(f"study {study} to MLflow", total=None)
        changes = sync(paths, tracking_uri, lambda done, total: bar.update(task, completed=done, total=total))
    exit_code = int(bool(changes.problems))
    if as_json:
        print_json({"study": study} | asdict(changes))
        return exit_code
    counts = f"{changes.created} runs created, {changes.updated} updated, {changes.unchanged} unchanged"
    OUT.print(f"study {study}: {counts}")
    if changes.duplicates:
        ERR.print(f"note: MLflow has more than one run of {', '.join(changes.duplicates)}", style="yellow")
    _print_first("note", changes.deleted, "yellow")
    _print_first("not written", changes.problems, "red")
    return exit_code


def _print_first(kind: str, lines: tuple[str, ...], style: str) -> None:
    for line in lines[:MOST_SHOWN]:
        ERR.print(f"{kind}: {line}", style=style)
    if len(lines) > MOST_SHOWN:
        ERR.print(f"{kind}: {len(lines) - MOST_SHOWN} more; --json lists all", style=style)


def serve_ui(study: str | None, *, port: int, browser: bool, tracking_uri: str | None) -> None:
    """Serve MLflow's pages until `^C`; print the links of a study and open its comparison.

    The pages of a server need no process here: the command then ends after the links.

    Raises:
        UsageError: there is no such study or no store.
        AblateError: the server does not answer.
    """
    from ablate.study import own_metric
    from ablate.tracking import location, pages, serving, wait

    if study is not None:
        pages(study, "", tracking_uri, own_metric(study))  # refuses an unknown study before a server starts
    with serving(tracking_uri, port) as base:
        if study is None:
            OUT.print(f"MLflow: {base}")
        else:
            links = pages(study, base, tracking_uri, own_metric(study))
            OUT.print(f"compare: {links.compare or 'no trial has finished yet'}")
            OUT.print(f"runs:    {links.runs}")
            if links.note:
                ERR.print(f"note: {links.note}", style="yellow")
            if browser:
                links.open()
        if location.is_server(location.absolute_uri(tracking_uri)):
            return
        ERR.print("^C stops the server")
        wait()
