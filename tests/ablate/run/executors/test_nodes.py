"""Which nodes an attempt may run on, which are left out, and what the executor reports of lost agents."""

from __future__ import annotations

import socket
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ablate.record import Failure, FailureClass
from ablate.run.executors.nodes import FAILURES_OF_A_NODE, Node, Nodes, looked_at
from ablate.run.job import Job


def job(cpus: float = 1, gpus: float = 0, nodes: int = 1) -> Job:
    return Job(key="key", label="key", config={}, folder="", cache="", cpus=cpus, gpus=gpus, nodes=nodes)


def node(name: str, **facts: object) -> Node:
    return replace(Node(id=name * 8, host=name, resources={"CPU": 2.0, "GPU": 2.0}), **facts)


def failure(kind: FailureClass) -> Failure:
    return Failure(attempt=0, kind=kind, message="why", traceback="", seconds=1, ended_at=1)


NAMES = "abcd"


@given(
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.sets(st.sampled_from(NAMES)),
    st.integers(1, 3),
)
def test_a_job_is_kept_from_nodes_only_as_long_as_it_fits_elsewhere(alive: set[str], avoided: set[str], num: int):
    nodes = Nodes(node(name, is_alive=name in alive) for name in NAMES)
    excluded = nodes.excluded(job(nodes=num), [node(name).id for name in avoided])
    assert nodes.fits(job(nodes=num), excluded) == (len(alive) >= num), "never worse off than without"
    if len(alive - avoided) >= num:
        assert set(excluded) == {node(name).id for name in avoided & alive}
    else:
        assert excluded == ()


def test_a_node_of_another_size_is_no_place_to_go():
    nodes = Nodes([node("a"), node("b", resources={"CPU": 8.0})])
    assert nodes.excluded(job(gpus=1), [node("a").id]) == (), "b has no GPU"
    assert nodes.excluded(job(), [node("a").id]) == (node("a").id,)


@given(st.lists(st.sampled_from(["killed", "node", "timeout", "code", "oom", "done"]), max_size=12))
def test_a_node_is_left_out_after_failures_in_a_row_that_may_be_its_own(ends: list[str]):
    nodes = Nodes([node("a"), node("b")])
    streak = 0
    for end in ends:
        message = nodes.note_end(node("a").id, None if end == "done" else failure(end))
        streak = 0 if end == "done" else streak + (end in ("killed", "node", "timeout"))
        if streak == FAILURES_OF_A_NODE and message is not None:
            assert "node a" in message
            assert "why" in message
            break
        assert message is None
    assert nodes.is_left_out(node("a").id) == (streak >= FAILURES_OF_A_NODE)
    assert nodes.excluded(job(), []) == ((node("a").id,) if streak >= FAILURES_OF_A_NODE else ())


def test_no_node_is_left_out_where_all_fail_and_none_that_is_needed():
    nodes = Nodes([node("a"), node("b")])
    for _ in range(5):
        for name in "ab":
            assert nodes.note_end(node(name).id, failure("killed")) is None
    alone = Nodes([node("a")])
    assert [alone.note_end(node("a").id, failure("killed")) for _ in range(5)] == [None] * 5


def test_a_left_out_node_is_used_again_where_nothing_else_is_left():
    nodes = Nodes([node("a"), node("b")])
    for _ in range(FAILURES_OF_A_NODE):
        nodes.note_end(node("a").id, failure("killed"))
    nodes.update([node("b", is_alive=False)])
    assert nodes.excluded(job(), []) == ()


def test_capacity_counts_whole_jobs():
    nodes = Nodes([node("a"), node("b"), node("c", is_alive=False)])
    assert nodes.capacity(job(cpus=1.5)) == 2
    assert nodes.capacity(job(cpus=0.5, gpus=1)) == 4
    assert nodes.capacity(job(cpus=1, nodes=2)) == 2


def test_a_node_that_refuses_connections_is_lost():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert looked_at(node("a", address=address)).is_alive
    lost = looked_at(node("a", address=address))
    assert not lost.is_alive
    assert str(address[1]) in lost.death
