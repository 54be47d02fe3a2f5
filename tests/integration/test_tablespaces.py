"""Tablespaces: tables, indexes and databases in them, moved in and out, on an endpoint that keeps no files.

Goal: what stock PostgreSQL does with tablespaces works, survives a start from nothing and a branch, and LOCATION, which is
a folder of one machine, is neither needed again nor written.
Method: SQL over real endpoints; the folders named as LOCATION are looked at, and removed before the restart. Two branches'
endpoints run with the same LOCATION on one machine.
"""

import pathlib
import tarfile

import psycopg
import pytest
ROWS = 3000


def make_location(folder, name):
    """A folder that is there, as PostgreSQL wants it, and that its user could not even write."""
    location = folder / name
    location.mkdir()
    location.chmod(0o555)
    return location


def create(endpoint, name, location):
    with endpoint.connect() as connection:
        if not location:
            connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE {name} LOCATION '{location}'")


def fill(endpoint, tablespace, database="postgres"):
    """A table with an index and a TOAST table, an unlogged one and a sequence."""
    for statement in (
            f"CREATE TABLE t_{tablespace} (i int PRIMARY KEY USING INDEX TABLESPACE {tablespace}, t text) TABLESPACE {tablespace}",
            f"INSERT INTO t_{tablespace} SELECT i, repeat('x', i) FROM generate_series(1, {ROWS}) i",
            f"CREATE UNLOGGED TABLE u_{tablespace} TABLESPACE {tablespace} AS SELECT generate_series(1, 100) i"):
        endpoint.sql(statement, database=database)


def check(endpoint, tablespace, database="postgres"):
    assert endpoint.sql(f"SELECT count(*), sum(length(t)) FROM t_{tablespace}", database=database) == [
        (ROWS, ROWS * (ROWS + 1) // 2)]
    with endpoint.connect(database) as connection:
        connection.execute("SET enable_seqscan = off")
        assert connection.execute(f"SELECT length(t) FROM t_{tablespace} WHERE i = 77").fetchone() == (77,)


def oid_of(endpoint, name):
    return endpoint.value("SELECT oid FROM pg_tablespace WHERE spcname = %s", name)


def location_of(endpoint, name):
    return endpoint.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = %s", name)


def test_tables_in_tablespaces_survive_a_start_from_nothing_and_a_branch(cluster, folder):
    fast = make_location(folder, "fast")
    endpoint = cluster.endpoint()
    create(endpoint, "fast", fast)
    create(endpoint, "inside", "")
    fill(endpoint, "fast")
    fill(endpoint, "inside")
    with pytest.raises(psycopg.Error, match="does not exist"):
        create(endpoint, "nowhere", "/no/such/folder")
    with pytest.raises(psycopg.Error, match="already in use as a tablespace"):
        create(endpoint, "again", fast)
    with pytest.raises(psycopg.Error, match="not empty"):
        endpoint.sql("DROP TABLESPACE fast")
    oid = oid_of(endpoint, "inside")
    assert location_of(endpoint, "fast") == str(fast)
    assert location_of(endpoint, "inside") == f"pg_tblspc/{oid}"
    size = endpoint.value("SELECT pg_tablespace_size('fast')")
    assert size > 1_000_000

    # Temporary files and tables go there too; they are this compute's alone.
    with endpoint.connect() as connection:
        connection.execute("SET temp_tablespaces = fast")
        connection.execute("SET work_mem = '64kB'")
        connection.execute("CREATE TEMP TABLE tmp AS SELECT generate_series(1, 20000) i")
        assert connection.execute("SELECT pg_relation_filepath('tmp')").fetchone()[0].startswith("pg_tblspc/")
        assert connection.execute("SELECT count(*) FROM (SELECT i FROM tmp ORDER BY -i) x").fetchone() == (20000,)

    cluster.branch("other")
    endpoint.sql("INSERT INTO t_fast VALUES (0, '')")
    endpoint.sql("DELETE FROM t_fast WHERE i = 0")

    # A machine that has no such folder.
    endpoint.stop("immediate")
    assert list(fast.iterdir()) == []
    fast.rmdir()
    endpoint.forget()
    endpoint.start()
    for tablespace in ("fast", "inside"):
        check(endpoint, tablespace)
        assert endpoint.value(f"SELECT count(*) FROM u_{tablespace}") == 0
        endpoint.sql(f"INSERT INTO u_{tablespace} VALUES (1)")
    assert location_of(endpoint, "fast") == str(fast)
    assert endpoint.value("SELECT pg_tablespace_size('fast')") > 1_000_000
    endpoint.sql("CREATE TABLE later TABLESPACE fast AS SELECT generate_series(1, 10) i")

    # A branch beside it, with the same location: each has its own files.
    other = cluster.endpoint("other")
    for tablespace in ("fast", "inside"):
        check(other, tablespace)
    assert other.value("SELECT to_regclass('later') IS NULL")
    other.sql("DROP TABLE t_fast, u_fast")
    other.sql("DROP TABLESPACE fast")
    assert other.value("SELECT count(*) FROM pg_tablespace WHERE spcname = 'fast'") == 0
    check(endpoint, "fast")
    endpoint.amcheck()
    other.amcheck()

    # Dropped for good, and the location may be used again.
    other.stop()
    other.forget()
    other.start()
    check(other, "inside")
    fast.mkdir()
    create(other, "fast", fast)
    fill(other, "fast")
    check(other, "fast")
    other.restart("immediate")
    check(other, "fast")
    assert list(fast.iterdir()) == []


def test_alter_table_set_tablespace_there_and_back(cluster, folder):
    fast = make_location(folder, "fast")
    endpoint = cluster.endpoint()
    create(endpoint, "fast", fast)
    fill(endpoint, "fast")
    endpoint.sql("CREATE TABLE moved AS SELECT i, repeat('y', 100) t FROM generate_series(1, 5000) i")
    endpoint.sql("CREATE INDEX moved_i ON moved (i)")
    endpoint.sql("ALTER TABLE moved SET TABLESPACE fast")
    endpoint.sql("ALTER INDEX moved_i SET TABLESPACE fast")
    endpoint.sql("ALTER TABLE ALL IN TABLESPACE fast SET TABLESPACE pg_default")
    endpoint.sql("VACUUM FULL moved")
    endpoint.sql("ALTER TABLE moved SET TABLESPACE fast")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SELECT pg_relation_filepath('moved')").startswith("pg_tblspc/")
    assert endpoint.value("SELECT pg_relation_filepath('t_fast')").startswith("base/")
    assert endpoint.value("SELECT count(*) FROM moved") == 5000
    check(endpoint, "fast")
    endpoint.amcheck()
    endpoint.sql("DROP TABLE moved")
    endpoint.sql("ALTER INDEX ALL IN TABLESPACE fast SET TABLESPACE pg_default")
    endpoint.sql("DROP TABLESPACE fast")
    endpoint.restart("immediate")
    check(endpoint, "fast")
    assert not any((endpoint.folder / "pgdata" / "pg_tblspc").iterdir())


def test_databases_in_tablespaces(cluster, folder):
    """CREATE DATABASE by copy and by log, ALTER DATABASE SET TABLESPACE, DROP DATABASE over several tablespaces."""
    one, two, three = (make_location(folder, name) for name in ("one", "two", "three"))
    endpoint = cluster.endpoint()
    create(endpoint, "one", one)
    create(endpoint, "two", two)
    create(endpoint, "three", three)
    endpoint.sql("CREATE DATABASE source TABLESPACE one")
    fill(endpoint, "one", "source")
    fill(endpoint, "two", "source")  # a database with files in two tablespaces
    endpoint.sql("CREATE DATABASE by_copy TEMPLATE source STRATEGY file_copy TABLESPACE three")
    endpoint.sql("CREATE DATABASE by_log TEMPLATE source STRATEGY wal_log")
    endpoint.sql("CREATE DATABASE gone TEMPLATE source STRATEGY file_copy")
    endpoint.sql("CREATE DATABASE moved")
    endpoint.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) i", database="moved")
    endpoint.sql("VACUUM FULL pg_class", database="moved")  # a relation map of its own
    endpoint.sql("ALTER DATABASE moved SET TABLESPACE one")
    endpoint.sql("INSERT INTO kept VALUES (0)", database="moved")
    endpoint.sql("DROP DATABASE gone")
    # The copy has a life of its own.
    endpoint.sql("DELETE FROM t_two WHERE i > 10", database="by_copy")
    cluster.branch("other")

    def look(where):
        for database in ("source", "by_log"):
            check(where, "one", database)
            check(where, "two", database)
        check(where, "one", "by_copy")
        assert where.value("SELECT count(*) FROM t_two", database="by_copy") == 10
        assert where.value("SELECT count(*) FROM kept", database="moved") == 1001
        assert where.value("SELECT count(*) FROM u_two", database="by_log") == 0

    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    look(endpoint)
    endpoint.amcheck()
    other = cluster.endpoint("other")
    look(other)

    endpoint.sql("ALTER DATABASE moved SET TABLESPACE pg_default")
    endpoint.sql("DROP DATABASE source")
    endpoint.sql("DROP DATABASE by_copy")
    endpoint.sql("DROP DATABASE by_log")
    for name in ("three", "two", "one"):
        endpoint.sql(f"DROP TABLESPACE {name}")
    endpoint.restart("immediate")
    assert endpoint.value("SELECT count(*) FROM kept", database="moved") == 1001
    assert endpoint.value("SELECT count(*) FROM pg_tablespace WHERE spcname IN ('one', 'two', 'three')") == 0
    assert not any((endpoint.folder / "pgdata" / "pg_tblspc").iterdir())
    look(other)
    assert list(one.iterdir()) == [] and list(two.iterdir()) == []


def test_a_base_backup_has_the_tablespaces(cluster, folder):
    fast = make_location(folder, "fast")
    endpoint = cluster.endpoint()
    create(endpoint, "fast", fast)
    fill(endpoint, "fast")
    endpoint.restart("immediate")  # nothing of it has been read yet
    target = folder / "backup"
    result = endpoint.tool("pg_basebackup", "-D", str(target), "-F", "t", "-X", "none", "-c", "fast")
    assert result.returncode == 0
    oid = oid_of(endpoint, "fast")
    with tarfile.open(target / "base.tar") as base:
        assert base.extractfile("tablespace_map").read().decode().split() == [str(oid), str(fast)]
    path = pathlib.Path(endpoint.value("SELECT pg_relation_filepath('t_fast')")).relative_to(f"pg_tblspc/{oid}")
    size = endpoint.value("SELECT pg_relation_size('t_fast')")
    with tarfile.open(target / f"{oid}.tar") as tablespace:
        assert tablespace.getmember(str(path)).size == size
