"""One writer per branch: a second endpoint takes the term over, and the first one can do nothing more."""

import time

import psycopg
import pytest

from harness import pid_alive, wait_until


def test_the_first_endpoint_is_killed_at_once_and_acknowledges_nothing_more(cluster):
    cluster.expect_log("fenced|term|compute|connection")
    first = cluster.endpoint("first", branch="main")
    first.pgbench_init(1)
    first.sql("CREATE TABLE t (who text, n int)")
    session = first.connect()
    session.execute("SET synchronous_commit = off")  # acknowledges without asking anybody: fencing must be inside
    session.execute("INSERT INTO t VALUES ('first', 0)")
    first.sql("SELECT 1")
    first.sql("INSERT INTO t VALUES ('first', 1)")
    agent, postgres = first.agent_pid, first.postgres_pids()
    assert len(postgres) >= 3

    second = cluster.endpoint("second", branch="main")
    for pid in postgres:
        wait_until(lambda: not pid_alive(pid), 3, f"the end of the first endpoint's process {pid}")
    wait_until(lambda: not pid_alive(agent), 5, "the end of the first agent")
    with pytest.raises(psycopg.Error):
        session.execute("INSERT INTO t VALUES ('first', 2)")
    assert second.sql("SELECT n FROM t WHERE who = 'first' ORDER BY n") == [(0,), (1,)]
    second.sql("INSERT INTO t VALUES ('second', 1)")
    assert "stopped" in [line for line in cluster.helium("endpoint", "list").splitlines() if " first " in line][0]


def test_takeover_under_load_loses_nothing_acknowledged(cluster):
    cluster.expect_log("fenced|term|compute|connection")
    from test_stateless import Writers
    endpoint = cluster.endpoint("first", branch="main")
    endpoint.sql("CREATE TABLE log (writer int, i int, PRIMARY KEY (writer, i))")
    second = None
    with Writers(endpoint) as writers:
        wait_until(lambda: writers.total() > 300, 60, "some acknowledged rows")
        second = cluster.endpoint("second", branch="main")
        at_takeover = writers.total()
    assert writers.total() - at_takeover <= len(writers.acknowledged)
    writers.check(second)


def test_two_endpoints_taking_turns(cluster):
    cluster.expect_log("fenced|term|compute|connection")
    one = cluster.endpoint("one", branch="main")
    two = cluster.endpoint("two", branch="main", start=False)
    one.sql("CREATE TABLE turns (n int)")
    for n in range(6):
        current, other = (one, two) if n % 2 == 0 else (two, one)
        current.sql("INSERT INTO turns VALUES (%s)", n)
        other.start()
        wait_until(lambda: "stopped" in next(line for line in cluster.helium("endpoint", "list").splitlines()
                                             if f" {current.name} " in line), 10, "the loser being stopped")
    assert one.sql("SELECT n FROM turns ORDER BY n") == [(n,) for n in range(6)]


def test_a_sleeping_first_endpoint_wakes_up_fenced(cluster):
    """SIGSTOP of the whole compute: it cannot notice. When it wakes up, nothing it does is acknowledged."""
    import os
    import signal
    cluster.expect_log("fenced|term|compute|connection")
    first = cluster.endpoint("first", branch="main")
    first.sql("CREATE TABLE t (who text)")
    session = first.connect()
    session.execute("SELECT 1")
    pids = [first.agent_pid, *first.postgres_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    second = cluster.endpoint("second", branch="main")
    second.sql("INSERT INTO t VALUES ('second')")
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(psycopg.Error):
        session.execute("INSERT INTO t VALUES ('first')")
        time.sleep(3)
        session.execute("SELECT 1")
    for pid in pids:
        wait_until(lambda: not pid_alive(pid), 10, f"the end of process {pid}")
    assert second.sql("SELECT who FROM t") == [("second",)]
