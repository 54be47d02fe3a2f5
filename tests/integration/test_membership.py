"""A safekeeper is replaced by another while commits go on: rows acknowledged are all there, whoever dies when."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import psycopg
import pytest

from harness import HeliumError, http, wait_until

# Whoever talks to a daemon that was killed, or is no member any more, says so.
AFTER_A_KILL = "."


def membership(cluster, number, timeline_id=None):
    return cluster.safekeeper(number, path=cluster.timeline_path(timeline_id) + "/membership")


def members_of(answer):
    return sorted(member["id"] for member in answer["membership"]["members"])


def check_members(cluster, wanted, timeline_id=None):
    """All of them agree, the change is over, and each of them counts."""
    def agree():
        answers = [membership(cluster, number, timeline_id) for number in wanted]
        return all(members_of(a) == wanted and not a["membership"]["new_members"] and not a["filling"] for a in answers)
    wait_until(agree, 20, f"members {wanted}")


def lose(cluster, number):
    """The safekeeper's machine is gone, with its disk."""
    cluster.kill(f"sk{number}")
    shutil.rmtree(cluster.repo / "safekeepers" / f"sk{number}")


class Writer:
    """Inserts numbers one by one; remembers each that was acknowledged."""

    def __init__(self, endpoint):
        import threading
        self.endpoint = endpoint
        self.acknowledged = []
        self.longest_pause = 0.0
        self.stopping = threading.Event()
        self.error = None
        endpoint.sql("CREATE TABLE IF NOT EXISTS written (n int PRIMARY KEY)")
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with self.endpoint.connect() as connection:
                n = 0
                last = time.monotonic()
                while not self.stopping.is_set():
                    connection.execute("INSERT INTO written VALUES (%s)", (n,))
                    self.acknowledged.append(n)
                    n += 1
                    now = time.monotonic()
                    self.longest_pause = max(self.longest_pause, now - last)
                    last = now
        except psycopg.Error as error:
            self.error = error

    def finish(self):
        self.stopping.set()
        self.thread.join()
        assert self.error is None, self.error
        return self.acknowledged


def check_rows(endpoint, acknowledged):
    rows = {n for (n,) in endpoint.sql("SELECT n FROM written")}
    assert rows >= set(acknowledged), f"lost: {sorted(set(acknowledged) - rows)[:10]}"
    assert len(acknowledged) > 10


def test_a_living_safekeeper_is_replaced_under_load(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.pgbench_init(2)
    load = endpoint.start_pgbench(15, 4)
    writer = Writer(endpoint)
    time.sleep(2)
    output = cluster.helium("safekeeper", "replace", "3", "4")
    assert "safekeeper 4 has taken the place of safekeeper 3" in output
    check_members(cluster, [1, 2, 4])
    before = len(writer.acknowledged)
    wait_until(lambda: len(writer.acknowledged) > before + 5, 20, "commits after the change")
    # The newcomer is as good as the others: commits need it now.
    cluster.kill("sk1")
    before = len(writer.acknowledged)
    wait_until(lambda: len(writer.acknowledged) > before + 5, 20, "commits by the newcomer and another one")
    cluster.start_daemon("sk1")
    transactions = load.finish()
    acknowledged = writer.finish()
    assert endpoint.check_pgbench_sums() == transactions
    check_rows(endpoint, acknowledged)
    # The compute was never restarted; now it is, with nothing local left, and without one of the old members.
    endpoint.stop("immediate")
    cluster.kill("sk2")
    endpoint.forget()
    cluster.refused("safekeeper", "replace", "1", "3")  # retired: it never comes back
    wait_until(lambda: cluster.run("endpoint", "start", "main", check=False).returncode == 0, 60, "a start")
    assert endpoint.check_pgbench_sums() == transactions
    check_rows(endpoint, acknowledged)


def test_a_lost_safekeeper_is_replaced_and_the_next_ones_too(cluster):
    """Dead, its disk gone; one after the other, until none of the first three is left. Idle branches as well."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    branch_id, _ = cluster.branch("idle")
    idle = cluster.endpoint("idle")
    idle.sql("INSERT INTO t SELECT generate_series(1001, 2000)")
    idle.stop()
    writer = Writer(endpoint)
    members = [1, 2, 3]
    for old, new in ((3, 4), (1, 5), (2, 6)):
        lose(cluster, old)
        output = cluster.helium("safekeeper", "replace", str(old), str(new))
        assert "2 timelines changed" in output
        members = sorted(set(members) - {old} | {new})
        check_members(cluster, members)
        check_members(cluster, members, branch_id)
        before = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) > before + 5, 20, "commits after the change")
    acknowledged = writer.finish()
    check_rows(endpoint, acknowledged)
    # The agent starts PostgreSQL anew by itself, and finds none of the safekeepers that it was started with.
    postmaster = int((endpoint.folder / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    wait_until(lambda: postmaster not in endpoint.postgres_pids(), 10, "its end")
    endpoint.wait_for_sql()
    check_rows(endpoint, acknowledged)
    endpoint.stop("immediate")
    endpoint.start()
    check_rows(endpoint, acknowledged)
    idle.start()
    assert idle.value("SELECT count(*) FROM t") == 2000
    # A timeline that begins now begins at those that are there.
    cluster.helium("timeline", "create", "--branch-name", "fresh")
    fresh = cluster.endpoint("fresh")
    assert fresh.value("SELECT 1") == 1
    check_members(cluster, [4, 5, 6], fresh.timeline_id)


def test_the_command_may_die_at_any_message(cluster):
    """kill -9 of the command line; each next one goes on, until one comes to the end."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    writer = Writer(endpoint)
    cluster.helium("safekeeper", "add")
    members, old, new = [1, 2, 3], 3, 4
    for _ in range(2):
        messages = 1
        while True:
            result = cluster.run("safekeeper", "replace", str(old), str(new), check=False,
                                 env={"HELIUM_CHANGE_DIES_AFTER_MESSAGES": str(messages)})
            if result.returncode == 0:
                break
            assert result.returncode == -9, result.stderr
            messages += 3
            before = len(writer.acknowledged)
            wait_until(lambda: len(writer.acknowledged) > before, 20, "commits although a change is half done")
        assert messages > 5
        members = sorted(set(members) - {old} | {new})
        check_members(cluster, members)
        old, new = 1, 5
    acknowledged = writer.finish()
    check_rows(endpoint, acknowledged)
    endpoint.restart("immediate")
    check_rows(endpoint, acknowledged)


def test_two_commands_at_once_agree_on_one_outcome(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    writer = Writer(endpoint)
    for _ in range(2):
        cluster.helium("safekeeper", "add")

    def begin(*arguments):
        return subprocess.Popen([cluster.bin / "helium", "safekeeper", "replace", *arguments], cwd=cluster.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    # The same order twice: both say that it is done.
    runs = [begin("3", "4"), begin("3", "4")]
    for run in runs:
        _, stderr = run.communicate(timeout=120)
        assert run.returncode == 0, stderr
    check_members(cluster, [1, 2, 4])
    # Orders that contradict each other: one of them is carried out, the other one says why not.
    runs = [begin("1", "5"), begin("2", "5")]
    results = [run.communicate(timeout=120) + (run.returncode,) for run in runs]
    codes = sorted(code for _, _, code in results)
    assert codes == [0, 1], results
    outcome = members_of(membership(cluster, 4))
    assert outcome in ([2, 4, 5], [1, 4, 5]), outcome
    check_members(cluster, outcome)
    acknowledged = writer.finish()
    check_rows(endpoint, acknowledged)
    endpoint.restart("immediate")
    check_rows(endpoint, acknowledged)


def test_a_member_without_its_memory_never_votes(cluster):
    """Its disk is wiped and it comes up again under its own number: no election, no commit counts on it."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS x")
    endpoint.stop()
    cluster.kill("sk2")
    lose(cluster, 3)
    cluster.start_daemon("sk3")
    with pytest.raises(Exception):
        membership(cluster, 3)
    stderr = cluster.refused("endpoint", "start", "main")
    assert "safekeeper" in stderr
    with pytest.raises(Exception):
        membership(cluster, 3)  # nobody made it anew
    cluster.start_daemon("sk2")
    endpoint.stop("immediate")
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM t") == 100
    cluster.helium("safekeeper", "replace", "3", "4")
    check_members(cluster, [1, 2, 4])
    endpoint.sql("INSERT INTO t VALUES (101)")
    assert endpoint.value("SELECT count(*) FROM t") == 101


def test_an_unfinished_replacement_is_undone(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
    cluster.helium("safekeeper", "add")
    result = cluster.run("safekeeper", "replace", "3", "4", check=False,
                         env={"HELIUM_CHANGE_DIES_AFTER_MESSAGES": "14"})
    assert result.returncode == -9
    lose(cluster, 4)
    cluster.helium("safekeeper", "replace", "3", "4", "--abort")
    check_members(cluster, [1, 2, 3])
    endpoint.sql("INSERT INTO t VALUES (2)")
    assert endpoint.value("SELECT count(*) FROM t") == 2
    cluster.helium("safekeeper", "replace", "3", "5")
    check_members(cluster, [1, 2, 5])
    assert endpoint.value("SELECT count(*) FROM t") == 2


def test_orders_that_make_no_sense_are_refused(cluster):
    assert "there is no safekeeper 9" in cluster.refused("safekeeper", "replace", "9", "4")
    assert "cannot be replaced by 3" in cluster.refused("safekeeper", "replace", "3", "3")
    endpoint = cluster.endpoint()
    assert "is a member already" in cluster.refused("safekeeper", "replace", "3", "2")
    assert endpoint.value("SELECT 1") == 1
