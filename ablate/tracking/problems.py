"""What is wrong with an MLflow store, in one line with the fix. No mlflow here: errors are known by their texts."""

from __future__ import annotations

import errno
import re
from importlib.util import find_spec
from pathlib import Path

from ablate.errors import AblateError, first_line
from ablate.tracking.location import database, is_server, scrubbed, without_password

NO_ANSWER = (
    "Read timed out", "ReadTimeoutError", "ConnectTimeoutError", "Connection refused", "Connection aborted",
    "Connection reset", "Name or service not known", "name resolution", "Network is unreachable",
    "Max retries exceeded",
)  # fmt: skip
"""What the long texts of errors contain if a server does not answer; the most precise first."""
ELSEWHERE = "or set ABLATE_RUNS or MLFLOW_TRACKING_URI to another place"
LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or use "
    "http://USER:PASSWORD@HOST"
)
SQLITE_FIXES = (
    (r"database is locked|database table is locked", "another program writes to it and does not end; end it"),
    (
        r"readonly database|unable to open database|permission denied",
        "it, its log (-wal) or its folder cannot be written by you; ask its owner for a copy or permission, "
        + ELSEWHERE,
    ),
    (r"disk is full|no space left", f"free space, {ELSEWHERE}"),
    (r"disk I/O error", f"check the disk and its free space, {ELSEWHERE}"),
    (r"malformed|not a database|file is encrypted", "it is damaged; move it away, and `ablate sync STUDY` rebuilds it"),
)
"""Pattern in the error's text -> what is wrong, and the fix."""

_OUTDATED = re.compile(r"out-of-date database schema \(found version (\w+)")
_UNKNOWN_REVISION = re.compile(r"Can't locate revision identified by '(\w+)'")
_OTHER_STATES = {401, 403, 407, 408, 429}
"""HTTP states between 400 and 499 that do not concern what was written: login, time, too many calls."""


def unusable(uri: str, error: Exception) -> AblateError:
    """The error for a store that does not work, whether mlflow, sqlalchemy, sqlite or requests raised the original."""
    if isinstance(error, AblateError):
        return AblateError(scrubbed(str(error), uri))
    place, reason = without_password(uri), scrubbed(first_line(error), uri)
    if is_server(uri) and (causes := [cause for cause in NO_ANSWER if cause in str(error)]):
        reason, fix = f"a call was not answered ({causes[0]})", "check the server and the network"
    else:
        fix = _fix(uri, error)
    return AblateError(f"MLflow at {place} cannot be used: {reason}" + (f"; {fix}" if fix else ""))


def is_refusal(error: Exception) -> bool:
    """Whether an error concerns what was written alone, so that other trials can still be written."""
    if isinstance(error, FileNotFoundError):  # of the trial's folder
        return True
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3"):
        return False
    http_state = getattr(error, "get_http_status_code", None)
    if http_state is None:
        return True
    state = http_state()
    return 400 <= state < 500 and state not in _OTHER_STATES


def problem_of_write(uri: str, error: BaseException) -> str:
    """Why a write failed, in one line without a password."""
    if isinstance(error, AblateError) or not isinstance(error, Exception):
        return scrubbed(str(error) or type(error).__name__, uri)
    if is_refusal(error):
        return f"MLflow does not take it ({scrubbed(first_line(error), uri)})"
    return str(unusable(uri, error))


def _fix(uri: str, error: Exception) -> str:
    text = str(error)
    if version := _OUTDATED.search(text) or _UNKNOWN_REVISION.search(text):
        return _schema_fix(uri, version[1])
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"free space, {ELSEWHERE}"
    if database(uri) is not None:
        return next((fix for pattern, fix in SQLITE_FIXES if re.search(pattern, text, re.IGNORECASE)), "")
    http_state = getattr(error, "get_http_status_code", None)
    is_login = (http_state is not None and http_state() in (401, 403)) or re.search(r"\b40[13]\b", text)
    return LOGIN if is_server(uri) and is_login else ""


def _schema_fix(uri: str, version: str) -> str:
    """The fix for tables of another MLflow; each MLflow has the scripts of all versions before it."""
    package = find_spec("mlflow")
    folders = (
        [Path(p) / "store/db_migrations/versions" for p in (package.submodule_search_locations or [])]
        if package
        else []
    )
    if any(any(folder.glob(f"{version}_*.py")) for folder in folders):
        return f"an older MLflow made it; copy it, then `mlflow db upgrade {without_password(uri)}`"
    return "a newer MLflow made it; install that version here"
