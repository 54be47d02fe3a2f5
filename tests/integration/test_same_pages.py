"""Same pages: what the pageserver gives equals what the compute has, block for block.

Every fork of every permanent relation, SLRU pages and fork sizes; hint bits and what PostgreSQL masks aside,
visibility-map bytes, PD_ALL_VISIBLE and GiST NSN in full.
"""

from harness import http


def verify(endpoint):
    """The compute compares each block that it has with the pageserver's version of it."""
    report = http("POST", endpoint.http_port, "/v1/verify", {}, timeout=300)
    assert report["differences"] == 0, report
    return report


def check_visibility(endpoint, *tables):
    endpoint.sql("CREATE EXTENSION IF NOT EXISTS pg_visibility")
    for table in tables:
        assert endpoint.sql(f"SELECT * FROM pg_check_visible('{table}')") == []
        assert endpoint.sql(f"SELECT * FROM pg_check_frozen('{table}')") == []


PGBENCH_TABLES = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"]


def test_every_block_after_pgbench_and_vacuum(cluster):
    endpoint = cluster.endpoint(settings={"shared_buffers": "64MB", "autovacuum_naptime": "1s"})
    endpoint.pgbench_init(5)
    endpoint.pgbench(12, 8)
    endpoint.sql("VACUUM")
    endpoint.pgbench(3, 8)
    endpoint.sql("CHECKPOINT")
    report = verify(endpoint)
    assert report["blocks_compared"] > 8000, report
    check_visibility(endpoint, *PGBENCH_TABLES)

    # A compute that begins with nothing sees the same maps.
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    check_visibility(endpoint, *PGBENCH_TABLES)
    verify(endpoint)


def test_every_block_after_vacuum_freeze_truncation_and_row_locks(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (id int PRIMARY KEY, x text)")
    endpoint.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 50000) i")
    endpoint.sql("VACUUM (FREEZE) t")
    endpoint.sql("UPDATE t SET x = '' WHERE id % 10 = 0")
    endpoint.sql("DELETE FROM t WHERE id > 30000")
    endpoint.sql("VACUUM t")  # truncates heap and maps
    with endpoint.connect(autocommit=False) as one, endpoint.connect(autocommit=False) as two:
        one.execute("SELECT * FROM t WHERE id < 1000 FOR KEY SHARE")
        two.execute("SELECT * FROM t WHERE id < 1000 FOR KEY SHARE")
        two.execute("UPDATE t SET x = 'two' WHERE id < 500")
        two.commit()
    with endpoint.connect(autocommit=False) as connection:
        for n in range(70):
            connection.execute(f"SAVEPOINT s{n}")
            connection.execute("INSERT INTO t VALUES (%s, 'sub')", [100000 + n])
        connection.commit()
    endpoint.sql("CHECKPOINT")
    verify(endpoint)
    check_visibility(endpoint, "t")


def test_every_block_of_every_index_type(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (id int, tags int[], p point, r int4range, words tsvector)")
    for method, what in (("btree", "id"), ("hash", "id"), ("gin", "tags"), ("gist", "p"), ("spgist", "p"), ("brin", "id"), ("gist", "r")):
        endpoint.sql(f"CREATE INDEX ON t USING {method} ({what})")
    for _ in range(2):
        endpoint.sql("INSERT INTO t SELECT i, ARRAY[i % 50, i % 7], point(i % 100, i / 100), int4range(i, i + 10),"
                     " to_tsvector('simple', 'w' || i) FROM generate_series(1, 8000) i")
        endpoint.sql("DELETE FROM t WHERE id % 3 = 0")
        endpoint.sql("VACUUM t")
    endpoint.sql("CHECKPOINT")
    verify(endpoint)
