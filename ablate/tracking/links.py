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

MOST_COMPARED = 100
"""MLflow's compare page is slow with more runs."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Links to a study's pages."""

    runs: str
    """All runs of the study, with charts."""
    compare: str | None
    """Axes against scores in parallel coordinates; None while no trial has finished."""
    note: str | None
    """What the links do not show, if anything."""

    def open(self) -> bool:
        """Show the best page in a browser; False where there is none."""
        graphical = (
            sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        )
        return bool(graphical) and webbrowser.open(self.compare or self.runs)


def pages(study: str, base: str, uri: str | None = None, metric: str | None = None) -> Pages:
    """Links to a study's pages on a server.

    Args:
        study: its name.
        base: the server's address.
        uri: where the study is read from; `paths.store_uri()` where left out.
        metric: compare the trials that have this score, as a spec names it (`tinybench/overall`).

    Raises:
        UsageError: there is no such study; the message lists those that there are.
        AblateError: the store cannot be used.
    """
    experiment, runs = finished_trials(study, uri)
    if metric:
        runs = [run for run in runs if metric_key(metric) in run.data.metrics]
    chosen = [run.info.run_id for run in runs[:MOST_COMPARED]]
    trials = quote("tags.`ablate.kind` = 'trial'")
    sides = "workflowType=machine_learning"  # the side bar of model training
    note = None
    if not runs:
        note = f"no trial of study {study} has finished" + (f" with a score {metric}" if metric else "")
    elif len(runs) > MOST_COMPARED:
        note = f"the compare page shows the newest {MOST_COMPARED} of {len(runs)} finished trials"
    compared = f"runs={_encoded(chosen)}&experiments={_encoded([experiment])}"
    return Pages(
        runs=f"{base}/#/experiments/{experiment}/runs?searchFilter={trials}&compareRunsMode=CHART&{sides}",
        compare=f"{base}/#/compare-runs?{compared}&{sides}" if chosen else None,
        note=note,
    )


def _encoded(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")), safe="")
