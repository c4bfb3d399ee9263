"""Addresses that are refused before anything is written, and what reaches the workers of a cluster."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ablate.errors import AblateError, UsageError
from ablate.run import check_address
from ablate.run.executors import address
from ablate.run.executors.cluster import SOCKET_LIMIT, forwarded
from tests.ablate.run.executors.conftest import environment_with, program_job, ray_environment, start_sweep


@pytest.mark.parametrize("text", ["nonsense", "host:", ":6379", "host:port", "http://host:6379", "local", ""])
def test_an_address_of_another_form_is_refused_with_the_right_ones(text: str):
    with pytest.raises(UsageError, match=r"`auto` or HOST:PORT"):
        check_address(text)


def test_an_address_of_ray_client_is_refused_with_what_to_type():
    with pytest.raises(UsageError) as refused:
        check_address("ray://head.example:10001")
    for option in ("--address head.example:6379", "--address auto", "ray job submit"):
        assert option in str(refused.value)


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match=f"nothing listens at 127.0.0.1:{port}"):
        check_address(f"127.0.0.1:{port}")


def test_workers_see_the_variables_that_the_plan_saw_but_no_secret():
    environment = {
        "HF_HOME": "/shared/hf",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "ABLATE_WEIGHTS": "/shared/weights",
        "HF_TOKEN_PATH": "/home/me/token",
    }
    others = {
        "HF_TOKEN": "hf_secret",
        "HF_ENDPOINT": "https://me:password@mirror",
        "MLFLOW_TRACKING_URI": "http://mlflow",
        "PATH": "/bin",
    }
    assert forwarded(environment | others) == environment


def test_what_listens_but_runs_no_actor_is_an_error_that_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(address, "PROBE_LIMIT_S", 2.0)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,  # accepts and never answers
        pytest.raises(AblateError, match="RAY_AUTH_TOKEN") as refused,
    ):
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    assert "no answer within 2 s" in str(refused.value)


@pytest.mark.slow
def test_ray_starts_though_the_temporary_folder_has_a_long_path(tmp_path: Path):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    assert len(os.fsencode(folder)) > SOCKET_LIMIT - 40
    environment = environment_with(ray_environment(tmp_path), "disabled") | {"TMPDIR": str(folder)}
    before = set(Path("/tmp").glob("ablate-ray-*"))
    sweep = start_sweep([program_job(tmp_path / "trials", "trial", "finish()")], {"num_cpus": 1}, environment)
    sweep.end()
    assert len(sweep.of("finished")) == 1
    assert set(Path("/tmp").glob("ablate-ray-*")) <= before, "the short folder is removed"
