"""The user's own trainer, as hostile as programs are: each failure has its class and a message, and nothing is left."""

from __future__ import annotations

import errno
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from ablate.record import TrialFolder
from ablate.run.agent import Agent, Ended, NodeRole, Patience
from ablate.run.agent.processes import ProcessGroup
from ablate.run.failures import is_fault_of_node
from tests.ablate.run.agent.conftest import GOOD, Node, alive


def test_a_program_that_succeeds_has_a_result_progress_and_its_output(node: Node):
    script = """
    import json, os, sys, time
    with open(os.environ["ABLATE_OUT"] + "/progress.jsonl", "a") as file:
        file.write('{"step": 1, "steps": 2, "loss": 3.5}\\n')
    print("hello"); print("careful", file=sys.stderr)
    time.sleep(0.3)
    """
    assert node.run(dedent(script) + GOOD) == Ended(failure=None)
    result = node.result()
    assert [(score.benchmark, score.category, score.score) for score in result.scores] == [("mine", "overall", 61.2)]
    assert (node.progress[-1].step, node.progress[-1].loss) == (1, 3.5)
    (attempt,) = node.trial.attempts()
    assert attempt.stdout().read_text() == "hello\n"
    assert attempt.stderr().read_text() == "careful\n"
    assert [event["loss"] for event in attempt.events()] == [3.5]
    assert attempt.failure() is None


ENDS = {
    "exit 3": ("import sys; print('no such layer', file=sys.stderr); sys.exit(3)", "code", "exit code 3"),
    "signal 9": ("import os; os.kill(os.getpid(), 9)", "killed", "signal 9 (SIGKILL)"),
    "signal 15": ("import os; os.kill(os.getpid(), 15)", "killed", "signal 15 (SIGTERM)"),
    "a shell's signal 9": ("import sys; sys.exit(137)", "killed", "signal 9 (SIGKILL)"),
    "a crash": ("import os; os.abort()", "code", "signal 6 (SIGABRT)"),
    "a real-time signal": ("import os; os.kill(os.getpid(), 40)", "code", "exit code -40"),
    "out of memory": (
        "import sys; print('x\\n' * 9 + 'CUDA Out of Memory. Tried to'+ '\\ny' * 40, file=sys.stderr); sys.exit(1)",
        "oom",
        "exit code 1",
    ),
    "out of memory long ago": (
        "import sys; print('CUDA out of memory'+ '\\ny' * 60, file=sys.stderr); sys.exit(1)",
        "code",
        "exit code 1",
    ),
    "no result": ("pass", "code", "there is no"),
    "garbage": ("import os; open(os.environ['ABLATE_OUT'] + '/result.json', 'w').write('{')", "code", "not valid JSON"),
    "stated": (
        "import os; open(os.environ['ABLATE_OUT'] + '/failure.json', 'w')"
        """.write('{"class": "diverged", "message": "loss is nan"}'); os._exit(1)""",
        "diverged",
        "loss is nan",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_program_has_a_class_and_a_message(node: Node, end: str):
    script, kind, message = ENDS[end]
    failure = node.failure(script)
    assert (failure.kind, failure.attempt) == (kind, 0)
    assert message in failure.message


def test_messages_name_the_file_with_the_output_and_its_last_line(node: Node):
    failure = node.failure(ENDS["exit 3"][0])
    path = node.trial.attempts()[0].stderr()
    assert failure.message == f"process 0 ended with exit code 3; {path} ends with: no such layer"
    assert failure.node
    assert failure.environment["python"]
    assert failure.traceback == ""


def test_colours_of_the_last_line_do_not_reach_the_message(node: Node):
    failure = node.failure(
        "import sys; print('\\x1b[31mno such layer\\x1b[0m\\n\\x1b[0m', file=sys.stderr); sys.exit(3)"
    )
    assert failure.message.endswith("ends with: no such layer")


def test_a_result_before_a_crash_is_mentioned(node: Node):
    failure = node.failure(GOOD + "os._exit(3)")
    assert failure.message.endswith(
        "it had written result.json, which counts only if all processes end with exit code 0"
    )


def test_a_command_that_does_not_exist_is_named(node: Node):
    job = node.job("")
    assert job.program is not None
    node.begin(replace(job, program=replace(job.program, command=("no-such-launcher", "x"))))
    failure = node.end().failure
    assert failure is not None
    assert "cannot start 'no-such-launcher': No such file or directory" in failure.message


@pytest.mark.parametrize("jump_s", [1e7, -1e7])
@pytest.mark.parametrize("end", [GOOD, "raise SystemExit(1)"])
def test_a_clock_that_is_set_while_a_program_runs_changes_no_duration(node: Node, monkeypatch, end: str, jump_s: float):
    unix_time = time.time
    node.begin(node.job(f"import time; time.sleep(0.5)\n{end}"))
    time.sleep(0.2)
    monkeypatch.setattr(time, "time", lambda: unix_time() + jump_s)
    failure = node.end().failure
    assert 0.4 < (failure or node.result()).seconds < 30


def test_a_silent_program_is_ended(node: Node):
    failure = node.failure("import time; time.sleep(60)", silence_limit_s=0.5)
    assert failure.kind == "timeout"
    assert "no progress and no output of the attempt for longer than `limits: {silence: 0.5s}`" in failure.message


@pytest.mark.parametrize(
    "sign", ["print('.')", "import sys; print('.', file=sys.stderr)", "progress()", "progress('w')"]
)
def test_output_or_progress_is_no_silence(node: Node, sign: str):
    script = f"""
    import os, time
    def progress(mode="a"):
        with open(os.environ["ABLATE_OUT"] + "/progress.jsonl", mode) as file:
            file.write('{{"step": 1}}\\n')
    for _ in range(25):
        {sign}
        time.sleep(0.1)
    """
    failure = node.failure(script, silence_limit_s=1.0)
    assert "there is no" in failure.message  # it has run to its end, without a result


def test_a_program_that_takes_too_long_is_ended_though_it_writes(node: Node):
    failure = node.failure("import time\nwhile True: print('.'); time.sleep(0.01)", trial_limit_s=0.5)
    assert failure.kind == "timeout"
    assert "the attempt took longer than `limits: {trial: 0.5s}`" in failure.message


def test_limits_hold_though_nobody_polls(node: Node):
    """The driver may be busy for minutes: the GPUs are free all the same."""
    node.begin(node.job("import time; time.sleep(60)", trial_limit_s=0.3))
    time.sleep(1.5)
    assert not alive(node.folder)


def test_a_program_stopped_by_a_signal_is_ended(node: Node):
    failure = node.failure("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    assert failure.kind == "timeout"
    assert "a process was stopped for 1 s" in failure.message


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(node: Node):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)"
    start = time.monotonic()
    node.failure(script, trial_limit_s=0.5)
    assert 1.0 <= time.monotonic() - start < 10


def test_a_program_may_end_itself_on_sigterm(node: Node):
    script = """
    import os, signal, sys, time
    def end(*_):
        open(os.environ["ABLATE_OUT"] + "/state", "w").write("saved"); sys.exit(0)
    signal.signal(15, end)
    time.sleep(60)
    """
    node.failure(script, trial_limit_s=0.5)
    assert (node.trial.attempts()[0].out / "state").read_text() == "saved"


FORK = """
import os, subprocess, sys, time
child = [sys.executable, "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
subprocess.Popen(child, start_new_session=True)
subprocess.Popen(child, start_new_session=True, env={})
if os.fork() == 0:  # a daemon: a session of its own, and no parent
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
"""


@pytest.mark.parametrize("end", [GOOD, "sys.exit(1)", "os.kill(os.getpid(), 9)", "time.sleep(60)"])
def test_forked_children_do_not_outlive_their_attempt(node: Node, end: str):
    before = set(psutil.pids())
    node.run(f"{FORK}\ntime.sleep(0.5)\n{end}", trial_limit_s=3.0)
    new = {pid: " ".join(cmdline(pid)) for pid in set(psutil.pids()) - before}
    assert not [text for text in new.values() if "time.sleep(600)" in text or str(node.folder) in text]


def cmdline(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_a_flood_of_output_neither_blocks_nor_fails(node: Node):
    script = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000)\n" + GOOD
    assert node.run(script).failure is None
    assert node.trial.attempts()[0].stdout().stat().st_size == 100_000_000


def test_stdin_is_empty(node: Node):
    assert node.run("import sys\nassert sys.stdin.read() == ''" + GOOD).failure is None


def test_one_process_that_fails_ends_the_others(node: Node):
    script = """
    import os, sys, time
    time.sleep(0.3)
    if os.environ["RANK"] == "1":
        print("rank 1 is lost", file=sys.stderr); sys.exit(1)
    time.sleep(60)
    """
    failure = node.failure(script, processes="gpu", gpus=3)
    assert failure.message.startswith("process 1 ended with exit code 1; ")
    assert failure.message.endswith("stderr-1.txt ends with: rank 1 is lost")


def test_the_process_that_is_out_of_memory_is_the_cause(tmp_path: Path):
    """It takes the others with it, and which ends first is chance."""
    script = """
    import os, sys
    print("CUDA out of memory" if os.environ["RANK"] == "2" else "peer is gone", file=sys.stderr); sys.exit(1)
    """
    node = Node(tmp_path, Agent(Patience(tick_s=2.0)))  # all have ended at the second look
    failure = node.failure(script, processes="gpu", gpus=3)
    node.agent.close()
    assert failure.kind == "oom"
    assert failure.message.startswith("process 2 ")


PRINT_ENV = """
import json, os, pathlib
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES",
         "GROUP_RANK", "OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES"]
print(json.dumps({name: os.environ[name] for name in names if name in os.environ}))
"""


@pytest.fixture
def other(node: Node):
    other = Node(node.folder)
    yield other
    other.agent.close()


@pytest.mark.parametrize("processes", ["node", "gpu"])
def test_the_environment_follows_torchruns_contract_on_two_nodes(
    node: Node, other: Node, processes: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):  # the sweep itself runs under torchrun
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    job = node.job(PRINT_ENV + GOOD, processes=processes, gpus=2, cpus=8, nodes=2)
    attempt = TrialFolder(Path(job.folder)).begin()
    for rank, one in enumerate((node, other)):
        one.begin(job, attempt, NodeRole(rank=rank, nodes=2, master_addr="10.0.0.1", master_port=2345))
    assert node.end().failure is None
    assert other.end().failure is None
    assert node.result()
    files = [path for n in range(4) if (path := attempt.stdout(n)).exists()]
    common = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "2345", "NNODES": "2", "OMP_NUM_THREADS": "4"}
    common |= {"CUDA_VISIBLE_DEVICES": "4,5"}
    envs = [json.loads(path.read_text()) for path in files]
    if processes == "node":
        assert envs == [common | {"NODE_RANK": str(rank)} for rank in (0, 1)]
    else:
        ranks = [divmod(rank, 2) for rank in range(4)]
        assert envs == [
            common
            | {"RANK": str(2 * node_rank + local), "LOCAL_RANK": str(local), "NODE_RANK": str(node_rank)}
            | {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": str(node_rank)}
            for node_rank, local in ranks
        ]


def test_a_failure_on_another_node_is_recorded_with_its_process(node: Node, other: Node):
    job = node.job("import os, sys; sys.exit(int(os.environ['RANK']) // 2)", processes="gpu", gpus=2, nodes=2)
    attempt = TrialFolder(Path(job.folder)).begin()
    other.begin(job, attempt, NodeRole(rank=1, nodes=2))
    failure = other.end().failure
    assert failure is not None
    assert re.match(r"process [23] ended with exit code 1; ", failure.message)  # whichever is noticed first
    assert attempt.failure() == failure


def test_the_users_variables_win_and_their_values_are_not_recorded(node: Node):
    env = {"OMP_NUM_THREADS": "3", "SECRET": "hush", "RANK": "no"}
    script = "import os; assert os.environ['OMP_NUM_THREADS'] == '3'; assert os.environ['SECRET'] == 'hush'" + GOOD
    assert node.run(script, env=env).failure is None
    for path in node.trial.path.rglob("*"):
        assert path.is_dir() or "hush" not in path.read_text()
    config = json.loads((node.trial.attempts()[0].path / "config.json").read_text())
    assert config["job"]["program"]["env"] == ["OMP_NUM_THREADS", "RANK", "SECRET"]
    assert config["command"][-1].endswith(".py")


def test_a_stopped_attempt_has_ended_and_has_no_record(node: Node):
    node.begin(node.job(FORK + "time.sleep(60)"))
    while not alive(node.folder):
        time.sleep(0.02)
    node.agent.stop()
    assert not alive(node.folder)
    assert node.trial.attempts()[0].failure() is None
    assert node.run(GOOD).failure is None  # the agent goes on
    assert node.result().attempt == 1


def test_a_later_attempt_resumes_from_what_the_latest_wrote(node: Node):
    node.failure("import os; open(os.environ['ABLATE_OUT'] + '/state', 'w'); os.abort()")
    node.failure("import sys; sys.exit(1)")
    script = "import os; assert os.environ['ABLATE_RESUME'].endswith('attempts/0/out'); print('resumed')"
    node.failure(script)
    assert node.trial.attempts()[2].stdout().read_text() == "resumed\n"


def test_an_attempt_that_was_given_up_but_went_on_may_be_first(node: Node, other: Node):
    late = node.job("import time; time.sleep(0.7)" + GOOD)
    node.begin(late)
    assert other.run(GOOD.replace("61.2", "50.0")).failure is None
    assert node.end() == Ended(failure=None)
    assert node.result().scores[0].score == 50.0


def test_a_trial_with_a_result_is_done_however_its_process_ended(node: Node, other: Node):
    node.begin(node.job("import os, time; time.sleep(1); os.abort()"))
    assert other.run(GOOD).failure is None
    assert node.end() == Ended(failure=None)
    assert node.trial.failures() == ()


def test_a_missing_working_folder_is_named(node: Node):
    job = node.job("")
    assert job.program is not None
    node.begin(replace(job, program=replace(job.program, workdir=str(node.folder / "gone"))))
    failure = node.end().failure
    assert failure is not None
    assert failure.kind == "usage"
    assert "gone is not a folder on this machine" in failure.message


def test_errors_of_disks_and_file_servers_are_the_nodes_fault():
    assert is_fault_of_node(OSError(errno.ENOSPC, "No space left on device"))
    assert is_fault_of_node(OSError(errno.ESTALE, "Stale file handle"))
    assert not is_fault_of_node(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not is_fault_of_node(ValueError())


@pytest.mark.parametrize(
    ("script", "why"),
    [(GOOD, "the program had succeeded"), ("raise SystemExit(3)", "process 0 ended with exit code 3")],
)
def test_processes_that_the_kernel_does_not_end_are_a_fault_of_the_node(node: Node, monkeypatch, script: str, why: str):
    end = ProcessGroup.end
    monkeypatch.setattr(ProcessGroup, "end", lambda group, grace_s: [*end(group, grace_s), 4711])
    failure = node.failure(script)
    assert failure.kind == "node"
    assert failure.message.startswith(f"the kernel does not end the processes 4711 of the attempt; {why}")
