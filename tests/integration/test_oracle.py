"""The oracle: PostgreSQL's own page images after each record, compared with what our redo made of it.

Only records whose redo really ran are counted, and the counts per record type must show that it did.
"""

import pytest

# What the TPC-B load, vacuum and the statements below write, whatever full_page_writes says.
EXPECTED_RMGRS = {"HEAP", "HEAP2", "BTREE", "SEQ"}


def oracle_report(cluster, timeline_id=None):
    return cluster.pageserver("GET", cluster.timeline_path(timeline_id) + "/oracle")


def counters(report):
    """{record type: (compared, differences)} of a report."""
    return {name: (each["compared"], each["differences"]) for name, each in report["records"].items()}


def varied_load(endpoint):
    endpoint.pgbench_init(2)
    endpoint.pgbench(8, 6)
    endpoint.sql("CREATE SEQUENCE s")
    endpoint.sql("SELECT nextval('s') FROM generate_series(1, 200)")
    endpoint.sql("CREATE TABLE wide (id int PRIMARY KEY, a text, b text)")
    endpoint.sql("CREATE INDEX ON wide (a)")
    endpoint.sql("INSERT INTO wide SELECT i, md5(i::text), repeat('x', i % 900) FROM generate_series(1, 8000) i")
    endpoint.sql("UPDATE wide SET b = repeat('y', 300) WHERE id % 3 = 0")
    endpoint.sql("UPDATE wide SET a = md5(a) WHERE id % 7 = 0")
    endpoint.sql("DELETE FROM wide WHERE id % 2 = 0")
    endpoint.sql("VACUUM (FREEZE) wide")
    endpoint.sql("INSERT INTO wide SELECT i, md5(i::text), '' FROM generate_series(8001, 12000) i")
    endpoint.sql("DELETE FROM wide")
    endpoint.sql("VACUUM wide")
    endpoint.sql("CREATE TABLE duplicates AS SELECT i % 20 AS x FROM generate_series(1, 20000) i")
    endpoint.sql("CREATE INDEX ON duplicates (x)")
    endpoint.sql("INSERT INTO duplicates SELECT i % 20 FROM generate_series(1, 20000) i")
    with endpoint.connect(autocommit=False) as connection:
        connection.execute("SELECT * FROM pgbench_branches FOR UPDATE")
        connection.execute("SAVEPOINT a")
        connection.execute("UPDATE pgbench_branches SET bbalance = bbalance")
        connection.execute("ROLLBACK TO a")
        connection.execute("SELECT * FROM pgbench_tellers FOR SHARE")
    endpoint.sql("VACUUM FULL pgbench_tellers")
    endpoint.pgbench(4, 6)
    endpoint.sql("VACUUM")


@pytest.mark.parametrize("full_page_writes", ["off", "on"])
def test_no_difference_over_pgbench_and_more(make_cluster, full_page_writes):
    cluster = make_cluster(init_options=["--check-redo"])
    endpoint = cluster.endpoint(settings={"wal_consistency_checking": "all", "full_page_writes": full_page_writes})
    varied_load(endpoint)
    cluster.wait_for_ingest(endpoint.lsn(), timeout=120)
    report = oracle_report(cluster)
    different = {name: each for name, each in report["records"].items() if each["differences"]}
    assert not different, f"redo differs from PostgreSQL: {different}"
    counts = counters(report)
    assert report["compared"] == sum(compared for compared, _ in counts.values()) > 50_000, counts
    seen = {name.split("/")[0] for name, (compared, _) in counts.items() if compared}
    assert EXPECTED_RMGRS <= seen, counts


def test_no_difference_over_the_tour_with_a_branch(make_cluster):
    cluster = make_cluster(init_options=["--check-redo"])
    settings = {"wal_consistency_checking": "all"}
    main = cluster.endpoint(settings=settings)
    main.sql("CREATE TABLE t (key int PRIMARY KEY, value text)")
    main.sql("INSERT INTO t SELECT i, 'from main' FROM generate_series(1, 2000) i")
    branch_id, _ = cluster.branch("migration_check")
    branch = cluster.endpoint("migration_check", settings=settings)
    branch.sql("ALTER TABLE t ADD COLUMN more int DEFAULT 1")
    branch.sql("UPDATE t SET more = key WHERE key % 2 = 0")
    branch.sql("VACUUM t")
    for endpoint, timeline_id in ((main, cluster.main_id), (branch, branch_id)):
        cluster.wait_for_ingest(endpoint.lsn(), timeline_id)
        counts = counters(oracle_report(cluster, timeline_id))
        assert sum(compared for compared, _ in counts.values()) > 100, counts
        assert not any(differences for _, differences in counts.values()), counts
