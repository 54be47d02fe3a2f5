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
