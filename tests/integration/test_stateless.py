"""Stateless compute: it may vanish with everything local to it; what a client saw committed stays.

Goal: no acknowledged transaction is lost, and none that was not acknowledged half-appears.
Method: clients note each transaction that they saw committed; the compute is stopped at once (or killed)
under them, its folder deleted; the next compute must have all of them.
"""

import os
import signal
import threading

import psycopg

from harness import pid_alive, wait_until


class Writers:
    """Threads that insert numbered rows and remember which were acknowledged."""

    def __init__(self, endpoint, count=6):
        self.acknowledged = [[] for _ in range(count)]
        self.threads = [threading.Thread(target=self._write, args=(endpoint, i)) for i in range(count)]

    def _write(self, endpoint, number):
        try:
            with endpoint.connect() as connection:
                for i in range(1_000_000):
                    connection.execute("INSERT INTO log (writer, i) VALUES (%s, %s)", [number, i])
                    self.acknowledged[number].append(i)
        except psycopg.Error:
            pass

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join(60)

    def total(self):
        return sum(len(each) for each in self.acknowledged)

    def check(self, endpoint):
        for number, acknowledged in enumerate(self.acknowledged):
            stored = [row[0] for row in endpoint.sql("SELECT i FROM log WHERE writer = %s ORDER BY i", number)]
            # One more may be there: committed, but the answer never arrived.
            assert stored[:len(acknowledged)] == acknowledged, f"writer {number} lost a row"
            assert len(stored) <= len(acknowledged) + 1


def test_immediate_stop_under_pgbench_then_everything_local_deleted(cluster):
    endpoint = cluster.endpoint()
    endpoint.pgbench_init(5)
    endpoint.sql("CREATE TABLE log (writer int, i int, PRIMARY KEY (writer, i))")
    for _ in range(3):
        endpoint.sql("TRUNCATE log")
        load = endpoint.start_pgbench(60, 4)
        with Writers(endpoint) as writers:
            wait_until(lambda: writers.total() > 500, 60, "some acknowledged rows")
            endpoint.stop("immediate")
        load.abandon()
        endpoint.forget()
        endpoint.start()
        writers.check(endpoint)
        endpoint.check_pgbench_sums()
    endpoint.amcheck()


def test_the_agent_is_killed(cluster):
    """kill -9 of compute_ctl takes PostgreSQL along; the next start has everything."""
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE log (writer int, i int, PRIMARY KEY (writer, i))")
    with Writers(endpoint) as writers:
        wait_until(lambda: writers.total() > 300, 60, "some acknowledged rows")
        postgres = endpoint.postgres_pids()
        os.kill(endpoint.agent_pid, signal.SIGKILL)
        for pid in postgres:
            wait_until(lambda: not pid_alive(pid), 10, f"the end of PostgreSQL process {pid}")
    assert "stopped" in cluster.helium("endpoint", "list")
    endpoint.start()
    writers.check(endpoint)


def test_a_fast_stop_keeps_everything_and_a_new_folder_serves_as_well(cluster):
    endpoint = cluster.endpoint()
    endpoint.pgbench_init(2)
    transactions = endpoint.pgbench(4, 4)
    for delete in (False, True, False):
        endpoint.stop()
        if delete:
            endpoint.forget()
        endpoint.start()
        assert endpoint.check_pgbench_sums() == transactions


def test_many_starts_in_a_row(cluster):
    """Each start writes a checkpoint behind the last record; rows of every life stay."""
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE lives (n int)")
    for n in range(12):
        endpoint.sql("INSERT INTO lives VALUES (%s)", n)
        endpoint.restart("immediate" if n % 2 else "fast")
    assert endpoint.sql("SELECT n FROM lives ORDER BY n") == [(n,) for n in range(12)]
