"""The output of `ablate sync` and `ablate ui`: changes of the MLflow store, and links to its pages."""

from __future__ import annotations

from dataclasses import asdict

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.errors import UsageError
from ablate.paths import study_paths


def sync_and_show(study: str, *, tracking_uri: str | None, as_json: bool) -> None:
    """Update MLflow from the trial folders, and print what changed.

    Raises:
        UsageError: there is no such study.
    """
    from ablate.record import sole_driver
    from ablate.study import no_such_study
    from ablate.tracking import sync

    paths = study_paths(study)
    if not paths.trials.is_dir():
        raise UsageError(no_such_study(study))
    with sole_driver(paths):
        changes = sync(paths, tracking_uri)
    if as_json:
        return print_json({"study": study} | asdict(changes))
    counts = f"{changes.created} runs created, {changes.updated} updated, {changes.unchanged} unchanged"
    OUT.print(f"study {study}: {counts}")
    if changes.duplicates:
        ERR.print(f"note: MLflow has more than one run of {', '.join(changes.duplicates)}", style="yellow")


def serve_ui(study: str | None, *, port: int, browser: bool, tracking_uri: str | None) -> None:
    """Serve MLflow's pages until `^C`; print the links of a study and open its comparison.

    Raises:
        UsageError: there is no such study or no store.
    """
    from ablate.study import own_metric
    from ablate.tracking import pages, serving, wait

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
        ERR.print("^C stops the server")
        wait()
