"""An ordinary PostgreSQL under load: sums agree, indexes and heaps agree, tables of every persistence work."""


def test_pgbench_for_a_minute_with_sums_and_amcheck(cluster):
    endpoint = cluster.endpoint(settings={"shared_buffers": "64MB"})
    endpoint.pgbench_init(20)
    transactions = endpoint.pgbench(60, 8)
    assert transactions > 1000
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()


def test_pages_fetched_anew_make_the_same_database(cluster):
    """Small shared buffers and a fresh compute: everything read comes from the pageserver."""
    endpoint = cluster.endpoint(settings={"shared_buffers": "1MB"})
    endpoint.pgbench_init(5)
    transactions = endpoint.pgbench(10, 8)
    endpoint.sql("VACUUM")
    endpoint.stop()
    endpoint.forget()
    endpoint.start()
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()


def test_what_sql_offers_survives_a_restart(cluster):
    """A little of everything whose files differ: toast, sequences, unlogged, matviews, tablespace-less databases."""
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE big (id serial PRIMARY KEY, body text)")
    endpoint.sql("INSERT INTO big (body) SELECT string_agg(md5((i * 100 + j)::text), '') FROM generate_series(1, 50) i,"
                 " generate_series(1, 500) j GROUP BY i")
    endpoint.sql("CREATE SEQUENCE s")
    seen = [endpoint.value("SELECT nextval('s')") for _ in range(5)][-1]
    endpoint.sql("CREATE UNLOGGED TABLE u AS SELECT 1 AS x")
    endpoint.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM big")
    endpoint.sql("CREATE DATABASE second")
    endpoint.sql("CREATE DATABASE third STRATEGY file_copy")
    for database in ("second", "third"):
        endpoint.sql("CREATE TABLE here AS SELECT current_database()::text AS name", database=database)
    endpoint.sql("CREATE TABLE dropped AS SELECT generate_series(1, 1000)")
    endpoint.sql("DROP TABLE dropped")
    endpoint.sql("CREATE TABLE truncated AS SELECT generate_series(1, 1000)")
    endpoint.sql("TRUNCATE truncated")
    checksum = endpoint.value("SELECT md5(string_agg(body, '' ORDER BY id)) FROM big")

    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SELECT md5(string_agg(body, '' ORDER BY id)) FROM big") == checksum
    assert endpoint.value("SELECT nextval('s')") > seen
    assert endpoint.value("SELECT count(*) FROM u") == 0  # as after any crash
    assert endpoint.value("SELECT * FROM v") == 50
    for database in ("second", "third"):
        assert endpoint.value("SELECT name FROM here", database=database) == database
    assert endpoint.value("SELECT count(*) FROM pg_class WHERE relname = 'dropped'") == 0
    assert endpoint.value("SELECT count(*) FROM truncated") == 0
    endpoint.sql("DROP DATABASE second")
    endpoint.restart()
    assert endpoint.value("SELECT count(*) FROM pg_database WHERE datname = 'second'") == 0
    endpoint.amcheck()


def test_vacuum_full_reindex_and_cluster_move_relations(cluster):
    endpoint = cluster.endpoint()
    endpoint.pgbench_init(1)
    transactions = endpoint.pgbench(3, 4)
    for statement in ("VACUUM FULL pgbench_accounts", "REINDEX DATABASE postgres", "CLUSTER pgbench_tellers USING pgbench_tellers_pkey",
                      "VACUUM FULL pg_class", "REINDEX SYSTEM postgres"):
        endpoint.sql(statement)
    endpoint.restart()
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()


def test_prepared_transactions_wait_for_the_next_compute(cluster):
    endpoint = cluster.endpoint(settings={"max_prepared_transactions": "10"})
    endpoint.sql("CREATE TABLE t (x int)")
    for name, value in (("one", 1), ("two", 2)):
        with endpoint.connect(autocommit=False) as connection:
            connection.execute("INSERT INTO t VALUES (%s)", [value])
            connection.execute(f"PREPARE TRANSACTION '{name}'")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.sql("SELECT gid FROM pg_prepared_xacts ORDER BY gid") == [("one",), ("two",)]
    endpoint.sql("COMMIT PREPARED 'one'")
    endpoint.sql("ROLLBACK PREPARED 'two'")
    assert endpoint.sql("SELECT x FROM t") == [(1,)]
    endpoint.restart("immediate")
    assert endpoint.sql("SELECT x FROM t") == [(1,)]
    assert endpoint.value("SELECT count(*) FROM pg_prepared_xacts") == 0


def test_row_locks_by_many_are_remembered_across_a_restart(cluster):
    """Multixacts: a row locked by several transactions, one of which updated it."""
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (id int PRIMARY KEY, x int)")
    endpoint.sql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i")
    one, two = endpoint.connect(autocommit=False), endpoint.connect(autocommit=False)
    one.execute("SELECT * FROM t FOR KEY SHARE")
    two.execute("SELECT * FROM t FOR KEY SHARE")
    two.execute("UPDATE t SET x = 1 WHERE id <= 50")
    two.commit()
    endpoint.stop("immediate")
    one.close()
    two.close()
    endpoint.start()
    assert endpoint.value("SELECT sum(x) FROM t") == 50
    endpoint.sql("UPDATE t SET x = x + 1")
    assert endpoint.value("SELECT sum(x) FROM t") == 150
    endpoint.amcheck()
