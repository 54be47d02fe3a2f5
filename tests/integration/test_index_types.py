"""Indexes of every built-in type are created and used, and survive the loss of the compute's folder."""

import pytest

INDEXES = {
    "btree": ("btree (id)", "SELECT count(*) FROM t WHERE id BETWEEN 100 AND 199", 100),
    "hash": ("hash (id)", "SELECT count(*) FROM t WHERE id = 4242", 1),
    "gin": ("gin (tags)", "SELECT count(*) FROM t WHERE tags @> ARRAY[13]", 200),
    "gist": ("gist (p)", "SELECT count(*) FROM t WHERE p <@ box '((0,0),(9,9))'", 99),
    "spgist": ("spgist (p)", "SELECT count(*) FROM t WHERE p <@ box '((0,0),(9,9))'", 99),
    "brin": ("brin (id)", "SELECT count(*) FROM t WHERE id < 500", 499),
}


@pytest.mark.parametrize("when", ["built over rows", "filled row by row"])
def test_indexes_of_every_type_survive(cluster, when):
    endpoint = cluster.endpoint()
    fill = ("INSERT INTO t SELECT i, ARRAY[i % 50, 100 + i % 7], point(i % 100, i / 100), 'word' || i"
            " FROM generate_series(1, 10000) i")
    endpoint.sql("CREATE TABLE t (id int, tags int[], p point, s text)")
    if when == "built over rows":
        endpoint.sql(fill)
    for name, (definition, _, _) in INDEXES.items():
        endpoint.sql(f"CREATE INDEX by_{name} ON t USING {definition}")
    if when == "filled row by row":
        endpoint.sql(fill)

    def check():
        for name, (_, query, expected) in INDEXES.items():
            with endpoint.connect() as connection:
                # Every other index is out of the way, and sequential scans too.
                connection.execute("SET enable_seqscan = off")
                connection.execute("BEGIN")
                for other in INDEXES:
                    if other != name:
                        connection.execute(f"DROP INDEX by_{other}")
                plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}").fetchall())
                assert f"by_{name}" in plan, plan
                assert connection.execute(query).fetchone()[0] == expected, name
                connection.execute("ROLLBACK")

    check()
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    check()
    # Changed by the new compute: splits, deletions, vacuum.
    endpoint.sql("DELETE FROM t WHERE id > 5000")
    endpoint.sql("VACUUM t")
    endpoint.sql("INSERT INTO t SELECT i, ARRAY[i % 50, 100 + i % 7], point(i % 100, i / 100), 'word' || i"
                 " FROM generate_series(5001, 10000) i")
    check()
    endpoint.stop("fast")
    endpoint.forget()
    endpoint.start()
    check()
    endpoint.amcheck()


def test_an_unlogged_table_has_its_indexes_after_a_restart(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE UNLOGGED TABLE u (id int, tags int[], p point)")
    for definition in ("btree (id)", "hash (id)", "gin (tags)", "gist (p)", "spgist (p)", "brin (id)"):
        endpoint.sql(f"CREATE INDEX ON u USING {definition}")
    fill = "INSERT INTO u SELECT i, ARRAY[i], point(i, i) FROM generate_series(1, 2000) i"
    endpoint.sql(fill)
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM u") == 0
    endpoint.sql(fill)
    assert endpoint.value("SELECT count(*) FROM u") == 2000


def test_a_copied_database_has_its_brin_summaries(cluster):
    """WAL does not tell what the revmap of a database made with STRATEGY wal_log has. If it came back empty, the revmap's
    growth over the first page of summaries would make those of the template the valid ones again."""
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE DATABASE template")
    for statement in ("CREATE EXTENSION pageinspect",
                      "CREATE TABLE t (k int) WITH (autovacuum_enabled = off)",
                      "INSERT INTO t SELECT generate_series(1, 300000)",
                      "CREATE INDEX by_k ON t USING brin (k) WITH (pages_per_range = 1)",
                      "VACUUM t"):
        endpoint.sql(statement, database="template")
    endpoint.sql("CREATE DATABASE copy TEMPLATE template STRATEGY wal_log")
    entries = "SELECT count(*) FROM brin_revmap_data(get_raw_page('by_k', 1)) WHERE pages <> '(0,0)'"
    before = endpoint.value(entries, database="copy")
    assert 1000 < before < 1360, "one page of the revmap, nearly full"
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value(entries, database="copy") == before

    # Rows far from all others in early ranges; then the revmap grows over the page with these ranges' first summaries.
    endpoint.sql("DELETE FROM t WHERE k BETWEEN 22000 AND 22500", database="copy")
    endpoint.sql("VACUUM (INDEX_CLEANUP on) t", database="copy")
    endpoint.sql("INSERT INTO t SELECT 5000000 + generate_series(1, 500)", database="copy")
    assert endpoint.value("SELECT max((ctid::text::point)[0]) FROM t WHERE k > 5000000", database="copy") < 200
    endpoint.sql("INSERT INTO t SELECT generate_series(300001, 350000)", database="copy")
    endpoint.sql("VACUUM t", database="copy")
    with endpoint.connect("copy") as connection:
        connection.execute("SET enable_seqscan = off")
        assert connection.execute("SELECT count(*) FROM t WHERE k > 5000000").fetchone()[0] == 500
    endpoint.sql("UPDATE t SET k = k + 1 WHERE k % 100 = 0", database="template")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    with endpoint.connect("copy") as connection:
        connection.execute("SET enable_seqscan = off")
        assert connection.execute("SELECT count(*) FROM t WHERE k > 5000000").fetchone()[0] == 500
