"""The process that decodes: it may hang, crash and be killed. Files are tested in test_decode_child.py."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import numpy as np
import pytest

from models.video import Decoder, VideoError
from models.video import decoder as decode

pytest.importorskip("decord")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 40 frames."""
    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())
    return path


def test_refuses_senseless_arguments(video):
    decoder = Decoder()
    with pytest.raises(ValueError, match="no frames are requested"):
        decoder.read(video, [])
    with pytest.raises(ValueError, match="at least 1 pixel"):
        decoder.read(video, [0], (0, 32))
    with pytest.raises(ValueError, match="above 0"):
        Decoder(timeout_s=0)


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(VideoError(Path("a.mp4"), "is empty")))
    assert (type(error), str(error), error.reason) == (VideoError, "a.mp4: is empty", "is empty")


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    """Let the child hang on `hang.mp4` (in native code, holding the GIL), and crash on `crash.mp4`."""
    script = tmp_path / "misbehaving_child.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import ctypes, importlib.util, os, sys, time
            spec = importlib.util.spec_from_file_location("child", {str(decode.CHILD)!r})
            child = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(child)
            def job(path):
                if path.name == "hang.mp4":
                    ctypes.PyDLL(None).sleep(1000)
                if path.name == "crash.mp4":
                    os.abort()
                if path.name == "modules.mp4":
                    return "none", sorted(sys.modules)
                if path.name == "slow.mp4":
                    for _ in range(8):
                        time.sleep(0.2)
                        child.READING.beat()
                    return "none", [0.0] * 8
                return times(path)
            times, child.JOBS["times"], child.GRACE_S = child.JOBS["times"], job, 0.2
            child.main()
            """
        )
    )
    monkeypatch.setattr(decode, "CHILD", script)
    return script


def ended(pid):
    """Tell whether a process is gone; nobody may be there to reap an orphan."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def ends_within(pid, seconds):
    until = time.monotonic() + seconds
    while not ended(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return ended(pid)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@pytest.mark.slow  # timed, so not beside other tests
def test_a_hanging_file_is_given_up_and_the_next_one_read(misbehaving, video):
    with Decoder(timeout_s=0.4) as decoder:
        decoder.times(video)
        hung = decoder._child.process
        start = time.monotonic()
        with pytest.raises(VideoError, match=r"hang.mp4: was not decoded further for 0.4 s"):
            decoder.times("hang.mp4")
        assert 0.4 <= time.monotonic() - start < 1
        assert hung.returncode == -signal.SIGKILL  # killed, and no zombie
        assert len(decoder.times(video)) == 40


def test_a_crash_is_the_error_of_its_file_only(misbehaving, video):
    with Decoder() as decoder:
        with pytest.raises(VideoError, match=r"crash.mp4: killed the decoder process \(SIGABRT\)"):
            decoder.times("crash.mp4")
        assert len(decoder.times(video)) == 40
        decoder._child.process.kill()
        decoder._child.process.wait()
        assert len(decoder.times(video)) == 40  # it died between two files: nobody's fault


def test_an_interrupted_answer_is_not_taken_for_the_next(misbehaving, video):
    with Decoder() as decoder:
        decoder.times(video)
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                decoder.times("hang.mp4")
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        assert len(decoder.times(video)) == 40


def test_the_child_is_small_and_silent(misbehaving, video, tmp_path, capfd):
    with Decoder() as decoder:
        modules = decoder._request("times", "modules.mp4")[1]
        assert {"decord", "av"} <= set(modules)
        assert not {"torch", "pydantic", "models.design", "pandas"} & set(modules)
        (tmp_path / "text.mp4").write_text("hello")
        with pytest.raises(VideoError):
            decoder.times(tmp_path / "text.mp4")
    assert capfd.readouterr() == ("", "")


def test_one_child_serves_many_files_and_ends_with_the_decoder(video):
    with Decoder() as decoder:
        for _ in range(3):
            decoder.times(video)
        with pytest.raises(VideoError):
            decoder.times("missing.mp4")
        child = decoder._child.process
        decoder.times(video)
        assert decoder._child.process is child
    assert child.returncode is not None
    assert len(decoder.times(video)) == 40  # may be used again
    decoder.close()


def test_without_pyav_the_error_says_so(tmp_path, monkeypatch, video):
    script = tmp_path / "child.py"
    real = decode.CHILD.read_text()
    script.write_text(real.replace("import os\n", "import os, sys\nsys.modules['av'] = None\n", 1))
    monkeypatch.setattr(decode, "CHILD", script)
    with Decoder() as decoder, pytest.raises(RuntimeError, match=r"ModuleNotFoundError.*pip install av"):
        decoder.times(video)


@pytest.mark.slow  # timed, so not beside other tests
def test_slow_files_that_make_progress_are_read(misbehaving, video):
    with Decoder(timeout_s=0.8) as decoder:
        decoder.times(video)
        start = time.monotonic()
        assert len(decoder.times("slow.mp4")) == 8
        assert time.monotonic() - start > 1.5  # longer than the timeout


def test_progress_is_reported_while_a_film_is_indexed_and_read(video, monkeypatch):
    # Each step takes longer than a quarter of the timeout, and all together more than all of it.
    from models.video import decode_child as child

    sent = []

    class Connection:
        def send_bytes(self, content):
            sent.append(pickle.loads(content))

    reading = child.Reading(Connection())
    monkeypatch.setattr(child, "READING", reading)
    monkeypatch.setattr(reading, "start", lambda timeout_s: None)
    reading.timeout_s = 1e-9
    for job, arguments in (("times", ()), ("read", ([3, 30], None))):
        sent.clear()
        assert child.respond(job, video, arguments)[0] == "done"
        assert len(sent) >= 2
        assert set(sent) == {("progress", None)}


PARENT = """
import os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from models.video import decoder as decode
decode.CHILD = Path({child!r})
decoder = decode.Decoder(timeout_s=0.8)
print(len(decoder.times({video!r})), decoder._child.process.pid, flush=True)
"""


def run_parent(misbehaving, video, then):
    root = str(Path(__file__).parents[3])
    script = PARENT.format(root=root, child=str(misbehaving), video=str(video)) + textwrap.dedent(then)
    # On stdin and without a `__main__` guard, which multiprocessing's spawn cannot bear.
    parent = subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    parent.stdin.write(script)
    parent.stdin.close()
    frames, pid = map(int, parent.stdout.readline().split())
    assert frames == 40
    return parent, pid


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("busy", "then"),
    [
        ("idle", "time.sleep(60)"),
        ("hanging", "decoder.timeout_s = 1; decoder.times('hang.mp4')"),
        ("in a thread", "import threading; threading.Thread(target=decoder.times, args=['hang.mp4']).start()"),
    ],
)
def test_the_child_ends_with_a_killed_parent(misbehaving, video, busy, then):
    parent, pid = run_parent(misbehaving, video, then)
    time.sleep(0.2)
    assert not ended(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ends_within(pid, 0.5 if busy == "idle" else 1.8)


@needs_proc
@pytest.mark.slow
def test_the_child_ends_though_a_fork_of_the_parent_lives(misbehaving, video):
    then = """
    if (fork := os.fork()) == 0:
        os.close(1)
        time.sleep(6)
        os._exit(0)
    print(fork, flush=True)
    time.sleep(60)
    """
    parent, pid = run_parent(misbehaving, video, then)
    fork = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ends_within(pid, 4)
    assert not ended(fork)
    os.kill(fork, signal.SIGKILL)


def test_a_forked_process_has_its_own_child(misbehaving, video):
    then = f"""
    if os.fork() == 0:
        assert len(decoder.times({str(video)!r})) == 40
        print(decoder._child.process.pid, flush=True)
        decoder.close()
        os._exit(0)
    assert os.wait()[1] == 0
    before = decoder._child.process.pid
    assert len(decoder.times({str(video)!r})) == 40
    print(decoder._child.process.pid - before, flush=True)
    decoder.close()
    """
    parent, pid = run_parent(misbehaving, video, then)
    rest = parent.stdout.read().split()
    parent.stdout.close()
    assert parent.wait() == 0
    assert int(rest[0]) != pid
    assert rest[1] == "0"
