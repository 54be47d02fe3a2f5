"""A backend killed in the middle of writes leads to a clean new start, by itself."""

import os
import random
import signal
import time

import psycopg

from harness import pid_alive, wait_until


def test_a_killed_backend_leads_to_a_clean_new_start(cluster):
    cluster.expect_log("crash|exit|signal|restart|compute|connection|postgres")
    endpoint = cluster.endpoint(settings={"shared_buffers": "2MB"})
    endpoint.pgbench_init(5)
    agent = endpoint.agent_pid
    acknowledged = 0
    for _ in range(4):
        before = endpoint.check_pgbench_sums()
        load = endpoint.start_pgbench(30, 6)
        time.sleep(2)
        backends = [row[0] for row in endpoint.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'")]
        os.kill(random.choice(backends), signal.SIGKILL)
        acknowledged = before + load.abandon()
        endpoint.wait_for_sql()
        assert endpoint.check_pgbench_sums() >= before
    assert endpoint.agent_pid == agent and pid_alive(agent)
    endpoint.amcheck()
    assert acknowledged >= 0


def test_the_postmaster_is_killed(cluster):
    cluster.expect_log("crash|exit|signal|restart|compute|connection|postgres")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
    children = endpoint.postgres_pids()
    postmaster = int((endpoint.folder / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    for pid in children:
        wait_until(lambda: not pid_alive(pid), 10, f"the end of process {pid}")
    endpoint.wait_for_sql()
    assert endpoint.value("SELECT x FROM t") == 1


def test_a_panic_of_postgres_is_a_new_start_too(cluster):
    """SIGABRT of the checkpointer: every process goes, and the quorum's end of WAL is where it goes on."""
    cluster.expect_log("crash|exit|signal|restart|compute|connection|postgres")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    pid = endpoint.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    os.kill(pid, signal.SIGABRT)
    wait_until(lambda: not pid_alive(pid), 10, "the end of the checkpointer")

    def is_back():
        try:
            return endpoint.value("SELECT count(*) FROM t") == 1000
        except psycopg.Error:
            return False
    wait_until(is_back, 30, "the compute being back")
