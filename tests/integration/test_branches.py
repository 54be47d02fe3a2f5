"""Branches: exactly the rows of their moment, writes apart both ways, branches of branches of branches."""

import threading
import time

import pytest

from harness import format_lsn, parse_lsn


def test_a_branch_now_and_one_at_an_earlier_lsn_see_the_rows_of_their_moments(cluster):
    """pgbench history counts prove it; the load goes on while the branches are made."""
    main = cluster.endpoint()
    main.pgbench_init(2)
    moments = []  # (LSN, rows at that LSN)
    total = 0
    for _ in range(3):
        total += main.pgbench(2, 4)
        moments.append((main.lsn(), total))

    branch_id, lsn = cluster.branch("now")
    assert parse_lsn(lsn) >= parse_lsn(moments[-1][0])
    for number, (lsn, _) in enumerate(moments):
        _, chosen = cluster.branch(f"at{number}", lsn=lsn)
        assert parse_lsn(chosen) <= parse_lsn(lsn)
    total_later = total + main.pgbench(2, 4)

    assert main.check_pgbench_sums() == total_later
    assert cluster.endpoint("now").check_pgbench_sums() == total
    for number, (_, rows) in enumerate(moments):
        endpoint = cluster.endpoint(f"at{number}")
        assert endpoint.check_pgbench_sums() == rows
        endpoint.stop("immediate")


def test_now_is_everything_acknowledged_so_far_also_under_load(cluster):
    """A row that was acknowledged before `timeline branch` began is on the branch; one inserted after is not."""
    main = cluster.endpoint()
    main.pgbench_init(1)
    main.sql("CREATE TABLE marks (n int)")
    load = main.start_pgbench(20, 4)
    try:
        for n in range(5):
            main.sql("INSERT INTO marks VALUES (%s)", n)
            cluster.branch(f"b{n}")
    finally:
        load.process.terminate()
        load.abandon()
    for n in range(5):
        endpoint = cluster.endpoint(f"b{n}")
        assert endpoint.value("SELECT max(n) FROM marks") == n
        endpoint.check_pgbench_sums()
        endpoint.stop("immediate")


def test_writes_stay_apart_both_ways(cluster):
    main = cluster.endpoint()
    main.sql("CREATE TABLE t (id int PRIMARY KEY, x text)")
    main.sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 5000) i")
    cluster.branch("child")
    child = cluster.endpoint("child")
    main.sql("UPDATE t SET x = 'main' WHERE id % 2 = 0")
    child.sql("UPDATE t SET x = 'child' WHERE id % 5 = 0")
    child.sql("DELETE FROM t WHERE id > 4000")
    main.sql("CREATE TABLE only_main ()")
    child.sql("CREATE TABLE only_child ()")
    main.sql("DROP TABLE IF EXISTS only_child")
    for _ in range(2):
        assert main.sql("SELECT x, count(*) FROM t GROUP BY x ORDER BY x") == [("main", 2500), ("old", 2500)]
        assert child.sql("SELECT x, count(*) FROM t GROUP BY x ORDER BY x") == [("child", 800), ("old", 3200)]
        assert child.value("SELECT to_regclass('only_main') IS NULL AND to_regclass('only_child') IS NOT NULL")
        for endpoint in (main, child):
            endpoint.amcheck()
            endpoint.stop("immediate")
            endpoint.forget()
            endpoint.start()


def test_dropped_and_truncated_tables_live_on_elsewhere(cluster):
    """What one branch drops, truncates or vacuums away, the other one keeps, and the other way around."""
    main = cluster.endpoint()
    for table in ("dropped", "truncated", "shrunk"):
        main.sql(f"CREATE TABLE {table} AS SELECT i AS x FROM generate_series(1, 20000) i")
    main.sql("CREATE DATABASE gone")
    main.sql("CREATE TABLE inside AS SELECT 1 AS x", database="gone")
    cluster.branch("keeps")
    main.sql("DROP TABLE dropped")
    main.sql("TRUNCATE truncated")
    main.sql("DELETE FROM shrunk WHERE x > 100")
    main.sql("VACUUM shrunk")
    main.sql("DROP DATABASE gone")
    main.restart("immediate")
    assert main.value("SELECT count(*) FROM truncated") == 0
    assert main.value("SELECT pg_relation_size('shrunk')") < 20 * 8192
    keeps = cluster.endpoint("keeps")
    for table in ("dropped", "truncated", "shrunk"):
        assert keeps.value(f"SELECT count(*) FROM {table}") == 20000
    assert keeps.value("SELECT x FROM inside", database="gone") == 1
    keeps.sql("TRUNCATE dropped")
    keeps.sql("INSERT INTO dropped VALUES (7)")
    keeps.restart("immediate")
    assert keeps.sql("SELECT x FROM dropped") == [(7,)]


def test_a_branch_of_a_branch_of_a_branch(cluster):
    names = ["main", "child", "grandchild", "great_grandchild"]
    endpoints = [cluster.endpoint()]
    endpoints[0].sql("CREATE TABLE t (level int, n int)")
    for level, name in enumerate(names):
        if level:
            cluster.branch(name, ancestor=names[level - 1])
            endpoints.append(cluster.endpoint(name))
        endpoints[level].sql("INSERT INTO t SELECT %s, i FROM generate_series(1, 1000) i", level)
    for ancestor in endpoints[:-1]:  # later writes above must not show below
        ancestor.sql("INSERT INTO t SELECT 99, i FROM generate_series(1, 500) i")
    for endpoint in endpoints:
        endpoint.stop("immediate")
        endpoint.forget()
        endpoint.start()
    for level, endpoint in enumerate(endpoints):
        expected = [(each, 1000) for each in range(level + 1)]
        if level < len(endpoints) - 1:
            expected.append((99, 500))
        assert endpoint.sql("SELECT level, count(*) FROM t GROUP BY level ORDER BY level") == expected
    tree = cluster.helium("timeline", "list").splitlines()
    assert len(tree) == 4 and tree[3].startswith("(L)       ┗━ @")


def test_branches_of_one_that_was_never_started(cluster):
    """No endpoint ever ran on the middle branch: its end is where it began."""
    main = cluster.endpoint()
    main.sql("CREATE TABLE t AS SELECT 1 AS x")
    _, first = cluster.branch("middle")
    _, second = cluster.branch("leaf", ancestor="middle")
    assert first == second
    assert cluster.endpoint("leaf").value("SELECT x FROM t") == 1


def test_a_branch_point_is_rounded_down_to_a_transaction_end(cluster):
    main = cluster.endpoint()
    main.sql("CREATE TABLE t (x int)")
    main.sql("INSERT INTO t VALUES (1)")
    before = main.lsn()
    main.sql("INSERT INTO t SELECT 2 FROM generate_series(1, 2000)")
    after = main.lsn()
    middle = format_lsn((parse_lsn(before) + parse_lsn(after)) // 2)
    _, chosen = cluster.branch("middle", lsn=middle)
    assert parse_lsn(before) <= parse_lsn(chosen) <= parse_lsn(middle)
    assert cluster.endpoint("middle").sql("SELECT DISTINCT x FROM t") == [(1,)]


def test_branching_when_the_compute_is_gone(cluster):
    """Nobody but the safekeepers knows the end then, and one of them is behind."""
    cluster.expect_log(".")
    main = cluster.endpoint()
    main.sql("CREATE TABLE t (x int)")
    cluster.kill("sk1")
    main.sql("INSERT INTO t SELECT generate_series(1, 3000)")
    main.stop("immediate")
    cluster.start_daemon("sk1")
    cluster.kill("sk2")
    cluster.branch("b")
    cluster.start_daemon("sk2")
    assert cluster.endpoint("b").value("SELECT count(*) FROM t") == 3000
    main.start()
    assert main.value("SELECT count(*) FROM t") == 3000


def test_branching_is_quick_whatever_the_size(cluster):
    main = cluster.endpoint()
    main.pgbench_init(10)
    times = []
    for n in range(7):
        begin = time.monotonic()
        cluster.branch(f"b{n}")
        times.append(time.monotonic() - begin)
    assert sorted(times)[3] < 0.5, times  # the measured figure is in bench/; this is a bound for slow machines


def test_branches_run_side_by_side(cluster):
    main = cluster.endpoint()
    main.pgbench_init(1)
    before = main.pgbench(1, 2)
    endpoints = [main]
    for n in range(3):
        cluster.branch(f"b{n}")
        endpoints.append(cluster.endpoint(f"b{n}"))
    counts = [0] * len(endpoints)

    def work(i):
        counts[i] = endpoints[i].pgbench(5, 2)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(endpoints))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for endpoint, count in zip(endpoints, counts):
        assert endpoint.check_pgbench_sums() == before + count


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_branch_of_a_stopped_timeline_starts_after_everything_restarted(cluster, mode):
    main = cluster.endpoint()
    main.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS x")
    main.stop(mode)
    cluster.branch("b")
    cluster.stop()
    cluster.start()
    assert cluster.endpoint("b").value("SELECT count(*) FROM t") == 100
