"""Links into the MLflow UI: runs of a study, designs compared."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from dataclasses import dataclass
from urllib.parse import quote

from ablate.tracking.client import finished_trials
from ablate.tracking.encode import metric_key

MAX_COMPARED = 100
"""Maximum number of runs on MLflow's compare page, which is slow with more."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Links to a study's pages."""

    runs: str
    """All runs of the study, with charts."""
    compare: str | None
    """Axes and scores in parallel coordinates; None if no trial has finished."""
    note: str | None
    """What the pages leave out, if anything."""

    def open(self) -> bool:
        """Open the compare page, or else the runs page, in a browser; False if there is no browser."""
        graphical = (
            sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        )
        return bool(graphical) and webbrowser.open(self.compare or self.runs)


def pages(study: str, base: str, uri: str | None = None, metric: str | None = None) -> Pages:
    """Links to a study's pages on a server.

    Args:
        study: name of the study.
        base: address of the server.
        uri: the store; by default `paths.store_uri()`.
        metric: compare only trials that have this score (`tinybench/overall`).

    Raises:
        UsageError: there is no such study; the message lists the studies that exist.
        AblateError: the store cannot be used.
    """
    experiment, runs = finished_trials(study, uri)
    if metric:
        runs = [run for run in runs if metric_key(metric) in run.data.metrics]
    chosen = [run.info.run_id for run in runs[:MAX_COMPARED]]
    trials = quote("tags.`ablate.kind` = 'trial'")
    sidebar = "workflowType=machine_learning"  # selects the sidebar of model training
    note = None
    if not runs:
        note = f"no trial of study {study} has finished" + (f" with a score {metric}" if metric else "")
    elif len(runs) > MAX_COMPARED:
        note = f"the compare page shows the newest {MAX_COMPARED} of {len(runs)} finished trials"
    compared = f"runs={_encoded(chosen)}&experiments={_encoded([experiment])}"
    return Pages(
        runs=f"{base}/#/experiments/{experiment}/runs?searchFilter={trials}&compareRunsMode=CHART&{sidebar}",
        compare=f"{base}/#/compare-runs?{compared}&{sidebar}" if chosen else None,
        note=note,
    )


def _encoded(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")), safe="")
