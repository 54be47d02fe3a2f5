"""What a record does beyond its blocks lasts: two-phase files, commit timestamps, multixacts, relation maps.

Goal: after a start from nothing, and on a branch, all of it is as it was (docs/ingest.md has the whole list).
Method: SQL that makes PostgreSQL write such records, then a compute whose folder was deleted, and one on a branch.
"""

import psycopg
import pytest


def start_anew(endpoint):
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()


def test_prepared_transactions_on_a_branch(cluster):
    """Both branches find them, and each ends them in its own way."""
    settings = {"max_prepared_transactions": "10"}
    endpoint = cluster.endpoint(settings=settings)
    endpoint.sql("CREATE TABLE t (x text)")
    endpoint.sql("CREATE TABLE doomed AS SELECT generate_series(1, 1000) i")
    with endpoint.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES ('top')")
        connection.execute("SAVEPOINT s")
        connection.execute("INSERT INTO t VALUES ('sub')")
        connection.execute("DROP TABLE doomed")
        connection.execute("CREATE TABLE born AS SELECT generate_series(1, 500) i")
        connection.execute("PREPARE TRANSACTION 'two'")
    cluster.branch("other")
    start_anew(endpoint)
    other = cluster.endpoint("other")  # its own setting is too low and is raised
    for where in (endpoint, other):
        assert where.sql("SELECT gid FROM pg_prepared_xacts") == [("two",)]
        assert where.value("SELECT count(*) FROM t") == 0
        with where.connect() as connection, pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute("SET lock_timeout = '100ms'")
            connection.execute("SELECT count(*) FROM doomed")
    endpoint.sql("COMMIT PREPARED 'two'")
    other.sql("ROLLBACK PREPARED 'two'")
    start_anew(endpoint)
    start_anew(other)
    for where in (endpoint, other):
        assert where.value("SELECT count(*) FROM pg_prepared_xacts") == 0
    assert endpoint.sql("SELECT x FROM t ORDER BY x") == [("sub",), ("top",)]
    assert endpoint.value("SELECT count(*) FROM born") == 500
    assert endpoint.value("SELECT to_regclass('doomed') IS NULL")
    assert other.value("SELECT count(*) FROM t") == 0
    assert other.value("SELECT count(*) FROM doomed") == 1000
    assert other.value("SELECT to_regclass('born') IS NULL")
    endpoint.amcheck()
    other.amcheck()


def test_commit_timestamps_are_switched_on_and_off(cluster):
    endpoint = cluster.endpoint(settings={"track_commit_timestamp": "on"})

    def write(name):
        """A transaction with a subtransaction: their ids."""
        with endpoint.connect() as connection:
            connection.execute(f"CREATE TABLE {name} (i int)")
            connection.execute("BEGIN")
            connection.execute(f"INSERT INTO {name} VALUES (1)")
            connection.execute("SAVEPOINT s")
            connection.execute(f"INSERT INTO {name} VALUES (2)")
            connection.execute("COMMIT")
            return [row[0] for row in connection.execute(f"SELECT xmin::text FROM {name} ORDER BY i")]

    def times(where, xids):
        return [where.value(f"SELECT pg_xact_commit_timestamp('{xid}'::xid)") for xid in xids]

    first = write("a")
    known = times(endpoint, first)
    assert None not in known
    cluster.branch("other")
    start_anew(endpoint)
    assert times(endpoint, first) == known
    # Switched off they are gone, and do not come back with the switch.
    endpoint.stop()
    endpoint.settings = {"track_commit_timestamp": "off"}
    endpoint.forget()
    endpoint.start()
    second = write("b")
    with pytest.raises(psycopg.Error, match="track_commit_timestamp"):
        times(endpoint, second)
    endpoint.stop("immediate")
    endpoint.settings = {"track_commit_timestamp": "on"}
    endpoint.forget()
    endpoint.start()
    third = write("c")
    assert times(endpoint, first + second) == [None] * 4
    known_later = times(endpoint, third)
    assert None not in known_later
    start_anew(endpoint)
    assert times(endpoint, first + third) == [None, None, *known_later]
    # The branch was made before that.
    other = cluster.endpoint("other", settings={"track_commit_timestamp": "on"})
    assert times(other, first) == known


def test_relation_maps_of_a_database_and_the_shared_one(cluster):
    """VACUUM FULL and REINDEX of mapped catalogs change nothing but a map file."""
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE DATABASE second")
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 100) i", database="second")
    cluster.branch("before")
    maps = ("SELECT array_agg(pg_relation_filenode(oid) ORDER BY oid) FROM pg_class "
            "WHERE oid < 16384 AND relfilenode = 0 AND relkind IN ('r', 'i', 't')")
    old = {database: endpoint.value(maps, database=database) for database in ("postgres", "second")}
    for _ in range(2):
        for database in ("postgres", "second"):
            for statement in ("VACUUM FULL pg_class", "VACUUM FULL pg_proc", "REINDEX INDEX pg_class_oid_index"):
                endpoint.sql(statement, database=database)
        for statement in ("VACUUM FULL pg_database", "VACUUM FULL pg_authid", "REINDEX TABLE pg_shdepend"):
            endpoint.sql(statement)
        new = {database: endpoint.value(maps, database=database) for database in ("postgres", "second")}
        start_anew(endpoint)
        assert {database: endpoint.value(maps, database=database) for database in ("postgres", "second")} == new
        assert new != old
    other = cluster.endpoint("before")
    assert {database: other.value(maps, database=database) for database in ("postgres", "second")} == old
    for where in (endpoint, other):
        assert where.value("SELECT sum(i) FROM t", database="second") == 5050
        where.amcheck()


def test_multixact_segments_are_truncated(cluster):
    """More than two segments' worth of multixacts; frozen, the old segments vanish, and stay away."""
    endpoint = cluster.endpoint(settings={"synchronous_commit": "off", "autovacuum": "off", "vacuum_multixact_freeze_min_age": "0",
                                          "vacuum_multixact_freeze_table_age": "0"})
    endpoint.sql("CREATE TABLE t AS SELECT 1 i")
    endpoint.sql("""CREATE PROCEDURE lock_often(n int) LANGUAGE plpgsql AS $$
                    BEGIN FOR k IN 1..n LOOP PERFORM * FROM t FOR KEY SHARE; COMMIT; END LOOP; END $$""")
    segments = "SELECT array_agg(name ORDER BY name) FROM pg_ls_dir('pg_multixact/{}') name"
    with endpoint.connect(autocommit=False) as holder:
        holder.execute("SELECT * FROM t FOR KEY SHARE")
        endpoint.sql("CALL lock_often(70000)")
        endpoint.sql("CHECKPOINT")  # segments are files once they are written
        members = {kind: endpoint.value(segments.format(kind)) for kind in ("offsets", "members")}
        assert "0000" in members["offsets"] and "0001" in members["offsets"]
        holder.rollback()
    cluster.branch("other")
    for database in ("template1", "postgres"):
        endpoint.sql("VACUUM (FREEZE)", database=database)
    endpoint.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    endpoint.sql("VACUUM (FREEZE)", database="template0")
    endpoint.sql("CHECKPOINT")
    left = {kind: endpoint.value(segments.format(kind)) for kind in ("offsets", "members")}
    assert "0000" not in left["offsets"] and "0000" not in left["members"], left
    start_anew(endpoint)
    for kind in ("offsets", "members"):
        assert endpoint.value(segments.format(kind)) == left[kind]
    assert endpoint.value("SELECT count(*) FROM t") == 1
    endpoint.amcheck()
    other = cluster.endpoint("other")
    for kind in ("offsets", "members"):
        assert other.value(segments.format(kind)) == members[kind]
    assert other.value("SELECT count(*) FROM t") == 1
