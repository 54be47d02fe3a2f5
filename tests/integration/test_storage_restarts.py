"""Storage daemons may be killed at any moment: clients see a pause at most, and the sums agree."""

import time

import psycopg
import pytest

from harness import wait_until

# Whoever talks to a daemon that was killed says so.
AFTER_A_KILL = "."


def test_every_daemon_is_killed_under_pgbench(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint(settings={"shared_buffers": "8MB"})
    endpoint.pgbench_init(10)
    load = endpoint.start_pgbench(36, 6)
    time.sleep(2)
    for daemon in ("pageserver", "sk1", "sk3", "storage_broker", "pageserver", "sk2", "storage_broker", "sk1"):
        cluster.restart(daemon, pause=0.5)
        time.sleep(2)
    transactions = load.finish()
    assert transactions > 500
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()


def test_pageserver_and_safekeepers_killed_together(cluster):
    """Power loss of everything but the compute, then of everything."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.pgbench_init(2)
    load = endpoint.start_pgbench(15, 4)
    time.sleep(4)
    daemons = ("pageserver", "sk1", "sk2", "sk3", "storage_broker")
    for daemon in daemons:
        cluster.kill(daemon)
    time.sleep(1)
    cluster.start()
    transactions = load.finish()
    assert endpoint.check_pgbench_sums() == transactions
    for daemon in daemons:
        cluster.kill(daemon)
    endpoint.stop("immediate")
    cluster.start()
    endpoint.start()
    assert endpoint.check_pgbench_sums() == transactions


def test_commits_go_on_with_one_safekeeper_stopped_and_wait_with_two(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x int)")
    cluster.helium("safekeeper", "stop", "2")
    for x in range(20):
        endpoint.sql("INSERT INTO t VALUES (%s)", x)

    load_started = time.monotonic()
    cluster.helium("safekeeper", "stop", "3", "-m", "immediate")
    connection = endpoint.connect()
    connection.execute("SELECT pg_backend_pid()")
    import threading
    done = threading.Event()

    def insert():
        connection.execute("INSERT INTO t VALUES (100)")
        done.set()

    writer = threading.Thread(target=insert)
    writer.start()
    assert not done.wait(3), "a commit was acknowledged by a minority"
    assert time.monotonic() - load_started >= 3
    cluster.helium("safekeeper", "start", "2")
    assert done.wait(20), "the commit did not go on when a majority was back"
    writer.join()
    connection.close()
    cluster.helium("safekeeper", "start", "3")
    assert endpoint.value("SELECT count(*) FROM t") == 21

    def flush_positions():
        return {cluster.safekeeper(n)["flush_lsn"] for n in (1, 2, 3)}
    wait_until(lambda: len(flush_positions()) == 1, 20, "all safekeepers holding the same WAL")
    endpoint.restart("immediate")
    assert endpoint.value("SELECT count(*) FROM t") == 21


def test_the_one_safekeeper_that_stays_is_not_enough_to_start_or_branch(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
    endpoint.stop()
    cluster.helium("safekeeper", "stop", "1")
    cluster.helium("safekeeper", "stop", "2")
    assert "majority" in cluster.refused("endpoint", "start", "main")
    assert "safekeepers" in cluster.refused("timeline", "branch", "--branch-name", "b")
    assert "majority" in cluster.refused("tenant", "create")
    cluster.start()
    endpoint.start()
    assert endpoint.value("SELECT x FROM t") == 1


def test_a_lagging_safekeeper_never_wins_and_catches_up(cluster):
    """Another one is down at each restart of the compute: the newest rows are always on the other two."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (round int)")
    for round_number in range(6):
        lagging = f"sk{round_number % 3 + 1}"
        cluster.kill(lagging)
        endpoint.sql("INSERT INTO t SELECT %s FROM generate_series(1, 200)", round_number)
        endpoint.stop("immediate")
        cluster.start_daemon(lagging)
        cluster.kill(f"sk{(round_number + 1) % 3 + 1}")
        endpoint.start()
        assert endpoint.value("SELECT count(*) FROM t WHERE round = %s", round_number) == 200
        cluster.start_daemon(f"sk{(round_number + 1) % 3 + 1}")
    assert endpoint.value("SELECT count(*) FROM t") == 1200


def test_the_pageserver_forgets_nothing_that_it_had_not_written_yet(cluster):
    """kill -9 before any layer was written: it reads the WAL again from where its files end."""
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    cluster.checkpoint()
    endpoint.sql("INSERT INTO t SELECT generate_series(1001, 2000)")
    cluster.wait_for_ingest(endpoint.lsn())
    for _ in range(3):
        cluster.restart("pageserver")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SELECT count(DISTINCT x) FROM t") == 2000


def test_connections_stay_when_the_pageserver_is_away_for_a_while(cluster):
    cluster.expect_log(AFTER_A_KILL)
    endpoint = cluster.endpoint(settings={"shared_buffers": "1MB"})
    endpoint.pgbench_init(3)
    endpoint.stop()
    endpoint.start()
    with endpoint.connect() as connection:
        connection.execute("SELECT 1")
        cluster.kill("pageserver")
        connection.execute("SET statement_timeout = '2s'")
        with pytest.raises(psycopg.Error):  # a wait for storage can be canceled
            connection.execute("SELECT sum(abalance) FROM pgbench_accounts")
        connection.execute("SET statement_timeout = 0")
        cluster.start_daemon("pageserver")
        assert connection.execute("SELECT count(*) FROM pgbench_accounts").fetchone()[0] == 300000
