"""`ablate sync` and `ablate ui`: MLflow brought in step with the folders, and its pages served."""

from __future__ import annotations

from dataclasses import asdict

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.errors import UsageError
from ablate.paths import study_paths

# --- MLflow ----------------------------------------------------------------------------------------


def sync_and_show(study: str, *, tracking_uri: str | None, as_json: bool) -> None:
    """Bring MLflow in step with the folders, and say what changed.

    Raises:
        UsageError: no such study.
    """
    from ablate.record import sole_driver
    from ablate.study import no_such_study
    from ablate.tracking import sync

    paths = study_paths(study)
    if not paths.trials.is_dir():
        raise UsageError(no_such_study(study))
    with sole_driver(paths):
        done = sync(paths, tracking_uri)
    if as_json:
        return print_json({"study": study} | asdict(done))
    OUT.print(f"study {study}: {done.created} runs created, {done.updated} updated, {done.unchanged} unchanged")
    if done.duplicates:
        ERR.print(f"note: MLflow holds more than one run of {', '.join(done.duplicates)}", style="yellow")


def serve_ui(study: str | None, *, port: int, browser: bool, tracking_uri: str | None) -> None:
    """Serve MLflow's pages until `^C`; print and open the study's links."""
    from ablate.study import own_metric
    from ablate.tracking import pages, serving, wait

    if study is not None:
        pages(study, "", tracking_uri, own_metric(study))  # a study that does not exist is told before a server starts
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
