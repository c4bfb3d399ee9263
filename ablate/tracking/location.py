"""MLflow's tracking URI: what it may be, its password, and whether its server answers. No mlflow here."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from ablate.errors import AblateError, NoStudyError, UsageError
from ablate.paths import runs_root, store_uri
from ablate.record import studies

SQLITE = "sqlite:///"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "databricks-uc", "uc")
"""Schemes of tracking URIs that MLflow has itself; plugins add others."""
PROBE_S = 5.0
"""Timeout for a server to answer, in seconds."""
SHORTEST_PASSWORD = 4
"""Length from which a password is also replaced where it stands alone in a text; shorter ones occur by chance."""

_USERINFO = re.compile(r"(?<=://)([^:/@\s]*):([^\s]*)@")
"""Up to the last @: a password may have a slash, which databases accept."""
_PASSWORD_PARAMETER = re.compile(r"((?:[?&]|\b)(?:password|passwd|pwd|token)=)[^&\s]+", re.IGNORECASE)


def absolute_uri(uri: str | None = None) -> str:
    """A tracking URI that does not depend on the working directory; by default `paths.store_uri()`.

    Raises:
        UsageError: neither MLflow nor one of its plugins has such URIs.
    """
    uri = uri or store_uri()
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).resolve()}"
    scheme = urllib.parse.urlsplit(uri).scheme.partition("+")[0]
    if uri == "databricks":
        return uri
    if not scheme:
        return str(Path(uri).resolve())
    plugins = [entry.name for entry in entry_points(group="mlflow.tracking_store")]
    if scheme not in (*SCHEMES, *plugins) or (scheme == "sqlite" and "+" not in uri):
        raise UsageError(
            f"tracking URI {without_password(uri)}: MLflow has no such store; use http://HOST:PORT, https://HOST, "
            "sqlite:////ABSOLUTE/PATH.db or postgresql://..., with --tracking-uri or MLFLOW_TRACKING_URI"
        )
    if is_server(uri) and not _has_host(uri):
        raise UsageError(
            f"tracking URI {without_password(uri)} has no valid host and port; use http://HOST:PORT, and in a password "
            "%2F for a slash, %23 for #, %3F for ?"
        )
    return uri.rstrip("/")


def _has_host(uri: str) -> bool:
    """Whether the URI of a server has a host, and a port that is a number if it has one."""
    try:
        parts = urllib.parse.urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, or too large
        return False


def without_password(text: str) -> str:
    """A URI, or a text with URIs, that may be printed."""
    return _PASSWORD_PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1:***@", text))


def scrubbed(text: str, uri: str) -> str:
    """A text in which the password of a URI does not occur, in any spelling."""
    text = without_password(text)
    for password in _passwords(uri):
        if len(password) >= SHORTEST_PASSWORD:
            text = text.replace(password, "***")
    return text


def _passwords(uri: str) -> set[str]:
    """The password of a URI, as it stands there and decoded."""
    login = _USERINFO.search(uri)
    written = login[2] if login else ""
    return {written, urllib.parse.unquote(written)} - {""}


def without_login(uri: str) -> str:
    """The URI of a server without user and password, as browsers open it."""
    parts = urllib.parse.urlsplit(uri)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def is_server(uri: str) -> bool:
    """Whether a URI is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def answers(uri: str) -> bool:
    """Whether a tracking server answers; always true for a database."""
    if not is_server(uri):
        return True
    parts = urllib.parse.urlsplit(uri)
    request = urllib.request.Request(f"{without_login(uri)}/health")
    if parts.username is not None:  # urllib would take user and password as a part of the host's name
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    is_here = parts.hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if is_here else [])
    try:
        with opener.open(request, timeout=PROBE_S):
            return True
    except urllib.error.HTTPError:
        return True  # something answers, perhaps a gateway that requires a login
    except (OSError, ValueError, http.client.HTTPException):
        return False


def require_server(uri: str) -> None:
    """Check that a server answers, if the URI is that of a server.

    Raises:
        AblateError: it does not answer.
    """
    if not answers(uri):
        raise AblateError(
            f"no MLflow server answers at {without_password(uri)}; start it, or unset MLFLOW_TRACKING_URI to use a "
            "file in the runs folder"
        )


def database(uri: str) -> Path | None:
    """The sqlite file of a URI; None for other stores."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Folder for the artifacts of a sqlite store, beside the file; None for other stores, whose server decides."""
    file = database(uri)
    return file.parent / "artifacts" if file else None


def no_study(study: str, uri: str, names: Iterable[str]) -> NoStudyError:
    """The error for a study that a store does not contain; lists the studies that it contains."""
    fix = f"; `ablate sync {study}` adds it" if study in studies(runs_root()) else ""
    existing = ", ".join(sorted(names)) or "none"
    return NoStudyError(f"MLflow at {without_password(uri)} has no study {study!r}{fix}; there are: {existing}")
