"""MLflow's client: connecting to a store, and reading its runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mlflow import MlflowClient, environment_variables
from mlflow.entities import Experiment, Run, ViewType

from ablate.errors import AblateError
from ablate.tracking import decode, encode, location
from ablate.tracking.database import require_database
from ablate.tracking.decode import StoredRun, StoredStudy
from ablate.tracking.problems import unusable

PAGE = 500

# Settings of mlflow in this process. As environment variables they would reach the trials, whose programs may use
# mlflow themselves; a variable that the user has set counts. No minutes of waiting for a server that accepts
# connections and never answers; no links on stdout, which would contain a password and spoil --json.
environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.default = 30
environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 1
environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
environment_variables.MLFLOW_DISABLE_TELEMETRY.default = True


def load(study: str, uri: str | None = None) -> StoredStudy:
    """A study's finished trials, and the facts that `Mirror.open` stored. Writes nothing.

    Raises:
        NoStudyError: there is no such study; the message lists the studies that exist.
        AblateError: the store cannot be used.
    """
    experiment, runs = _trials(study, uri, "AND status = 'FINISHED'")
    oldest_of_each = {run.data.tags.get(encode.TRIAL_TAG, run.info.run_id): run for run in runs}
    trials = [decode.trial_in(study, _stored(run)) for run in oldest_of_each.values()]
    return StoredStudy(facts=decode.facts_in(experiment.tags), trials=trials)


def unfinished(study: str, uri: str | None = None) -> list[str]:
    """The trials of a study without a result, as `decode.unfinished_in` lists them; errors as in `load`."""
    return decode.unfinished_in(_stored(run) for run in _trials(study, uri)[1])


def finished_trials(study: str, uri: str | None = None) -> tuple[str, list[Run]]:
    """A study's experiment id and the runs of its finished trials, one each, newest first; errors as in `load`."""
    experiment, runs = _trials(study, uri, "AND status = 'FINISHED'")
    return str(experiment.experiment_id), list({run.data.tags[encode.TRIAL_TAG]: run for run in runs}.values())


def _trials(study: str, uri: str | None, condition: str = "") -> tuple[Experiment, list[Run]]:
    """A study's experiment and the runs of its trials, newest first."""
    uri = location.absolute_uri(uri)
    require_database(uri)
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(study)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise location.no_study(study, uri, [e.name for e in client.search_experiments() if e.experiment_id != "0"])
        runs = list(search_runs(client, experiment.experiment_id, f"tags.`{encode.KIND_TAG}` = 'trial' {condition}"))
    except AblateError:
        raise
    except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests raise unrelated types
        raise unusable(uri, error) from None  # the original may contain a password
    return experiment, runs


def _stored(run: Run) -> StoredRun:
    info, data = run.info, run.data
    name, ended_ms = info.run_name or "", info.end_time or 0
    return StoredRun(
        name=name, status=info.status, ended_ms=ended_ms, tags=data.tags, params=data.params, metrics=data.metrics
    )


def connect(uri: str) -> MlflowClient:
    """A client whose store has answered.

    Raises:
        AblateError: the server does not answer.
    """
    location.require_server(uri)
    for name in ("mlflow", "alembic", "urllib3"):  # they write tracebacks and retries into the live view
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def search_runs(
    client: MlflowClient, experiment_id: str, condition: str, view: int = ViewType.ACTIVE_ONLY
) -> Iterator[Run]:
    """The runs that are not deleted, or those of another view; newest first."""
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, view, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
