"""`helium verify`: storage against PostgreSQL, over the WAL's check images and page by page; also with planted damage.

Each kind of damage is one that no checksum shows, so nothing but the comparison can find it.
"""

import json
import re
import urllib.request

import psycopg
import pytest

from harness import HeliumError
from wal_surgery import change_record

CHECKED = {"wal_consistency_checking": "all", "autovacuum": "off"}


def verify(cluster, *arguments):
    """(report, exit status)"""
    result = cluster.run("verify", *arguments, "--json", check=False)
    return json.loads(result.stdout), result.returncode


def load(endpoint):
    endpoint.sql("CREATE TABLE t (id int PRIMARY KEY, x text)")
    endpoint.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 2000) i")
    endpoint.sql("DELETE FROM t WHERE id % 3 = 0")
    endpoint.sql("VACUUM t")
    endpoint.sql("CREATE INDEX ON t USING gin (to_tsvector('simple', x))")
    endpoint.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(2001, 2100) i")
    endpoint.sql("CREATE UNLOGGED TABLE u (id int PRIMARY KEY)")
    # A heap by another name, with hint bits that WAL does not have.
    endpoint.sql("CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler")
    endpoint.sql("CREATE TABLE v USING heap2 AS SELECT i FROM generate_series(1, 100) i")
    endpoint.sql("SELECT count(*) FROM v")


def relation(endpoint, name):
    """ "1663/5/16384" """
    return endpoint.value("SELECT '1663/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || "
                          "pg_relation_filenode(%s)", name)


def metric(cluster, line):
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.pageserver_http}/metrics") as answer:
        text = answer.read().decode()
    return float(re.search(rf"^{re.escape(line)} (\S+)$", text, re.M).group(1))


def test_nothing_differs_then_a_byte_of_the_computes_file_and_a_byte_of_an_image_do(make_cluster):
    cluster = make_cluster()
    endpoint = cluster.endpoint(settings=CHECKED)
    load(endpoint)
    report, status = verify(cluster, "main")
    assert status == 0 and report["differences"] == 0, report
    records, pages = report["storage"]["records"], report["storage"]["pages"]
    assert {"HEAP/INSERT", "HEAP/DELETE", "HEAP2/PRUNE", "HEAP2/VISIBLE", "BTREE/INSERT_LEAF", "GIN/INSERT_LISTPAGE"} <= {
        name for name, each in records["records"].items() if each["compared"]}, records
    assert records["compared"] > 4000 and records["records_read"] > 4000, records
    assert pages["by_fork"]["main"] > 900 and pages["by_fork"]["vm"] > 0 and pages["map_bits"] > 0, pages
    assert pages["by_fork"]["init"] == 1 and pages["slru"]["pg_xact"] == 1, pages
    compute = report["compute"]
    assert compute["blocks_by_fork"]["main"] > 50 and compute["slru_pages_compared"] > 0, compute
    assert metric(cluster, "pageserver_redo_checked_pages_total") == records["compared"]
    assert metric(cluster, "pageserver_redo_differences_total") == 0

    # As a table, of a part: a branch that nothing runs on.
    cluster.branch("quiet")
    table = cluster.helium("verify", "quiet")
    assert "quiet: no differences" in table and "RECORD TYPE" in table and "pg_xact" in table, table
    assert "Pages of compute" not in table, table
    assert "no images to compare with" in table, table  # its own WAL is empty
    only, status = verify(cluster, "main", "--records", "--from", report["storage"]["to_lsn"])
    assert status == 0 and "pages" not in only["storage"] and "compute" not in only, only
    assert only["storage"]["records"]["records_read"] < 1000, only

    # A byte of the compute's own file.
    t = relation(endpoint, "t")
    endpoint.sql("CHECKPOINT")
    file = next(path for path in (endpoint.folder / "cache").rglob(t.split("/")[2]) if path.is_file())
    with open(file, "r+b") as pages_of_t:
        pages_of_t.seek(3 * 8192 - 20)  # in block 2
        byte = pages_of_t.read(1)[0]
        pages_of_t.seek(-1, 1)
        pages_of_t.write(bytes([byte ^ 1]))
    report, status = verify(cluster, "main", "--pages")
    assert status == 1 and report["storage"]["differences"] == 0, report
    assert [each["what"] for each in report["compute"]["first_differences"]] == [f"{t} (postgres.t) block 2"], report
    error = cluster.run("verify", "main", "--pages", check=False)
    assert error.returncode == 1 and "verify 'main': 1 differences" in error.stderr, error.stderr
    assert f"DIFFERS {t} (postgres.t) block 2, page: first at byte 8172" in error.stdout, error.stdout
    endpoint.stop()

    # A byte of an image in WAL: what the record says PostgreSQL made is not what redo makes.
    cluster.expect_log("redo differs from PostgreSQL")
    endpoint.start()
    before = endpoint.lsn()
    endpoint.sql("CREATE TABLE planted (x text)")
    endpoint.sql("INSERT INTO planted VALUES ('PLANTED')")
    planted = relation(endpoint, "planted")
    cluster.wait_for_ingest(endpoint.lsn())

    def spoil(record):
        at = record.index(b"PLANTED")
        assert record.find(b"PLANTED", at + 1) > at  # the image comes before the data
        record[at] ^= 1
    change_record(cluster, before, b"PLANTED", spoil)
    report, status = verify(cluster, "main", "--records")
    assert status == 1 and report["differences"] == 1, report
    (difference,) = report["storage"]["first_differences"]
    assert difference["what"] == f"{planted} blk 0" and difference["record"] == "HEAP/INSERT+INIT", difference
    assert re.match(r"byte \d+: image 51, ours 50", difference["detail"]), difference
    assert metric(cluster, "pageserver_redo_differences_total") == 1


def test_a_record_that_does_not_fit_concerns_its_page_alone_and_is_counted(cluster):
    cluster.expect_log("cannot fetch block.*offset 300 beyond line pointers")
    endpoint = cluster.endpoint(settings={"autovacuum": "off"})
    endpoint.sql("CREATE TABLE good (x text)")
    endpoint.sql("CREATE TABLE bad (x text)")
    endpoint.sql("INSERT INTO good VALUES ('good')")
    endpoint.sql("INSERT INTO bad SELECT repeat('x', 1000) FROM generate_series(1, 8)")  # two pages
    endpoint.sql("CHECKPOINT")
    bad = relation(endpoint, "bad")
    cluster.wait_for_ingest(endpoint.lsn())
    cluster.helium("pageserver", "stop")
    before = endpoint.lsn()
    endpoint.sql("INSERT INTO bad VALUES ('PLANTED')")

    def far_away(record):  # main data comes last: xl_heap_insert, offset number and flags
        record[-3:-1] = (300).to_bytes(2, "little")
    end = change_record(cluster, before, b"PLANTED", far_away)
    cluster.start_daemon("pageserver")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    cluster.wait_for_ingest(endpoint.lsn())
    assert metric(cluster, 'pageserver_get_pages_refused_total{reason="redo"}') == 0

    assert endpoint.value("SELECT x FROM good") == "good"
    with pytest.raises(psycopg.Error):
        endpoint.sql("SELECT count(*) FROM bad")
    assert endpoint.value("SELECT count(*) FROM bad WHERE ctid = '(0,1)'") == 1  # the other page
    assert metric(cluster, 'pageserver_get_pages_refused_total{reason="redo"}') >= 1
    assert metric(cluster, 'pageserver_get_pages_refused_total{reason="other"}') == 0

    with pytest.raises(HeliumError) as failure:
        cluster.helium("verify", "main", "--pages")
    lsn = f"{end >> 32:X}/{end & 0xFFFFFFFF:X}"
    found = [line for line in failure.value.stdout.splitlines() if line.startswith("DIFFERS")]
    assert any(f"{bad} blk 1" in line and "HEAP/INSERT" in line and lsn in line and "300" in line for line in found), found
    assert all(f"{bad} blk 1" in line or f"{bad} (" in line for line in found), found


def test_a_database_copied_from_a_users_template_is_no_difference(cluster):
    """CREATE DATABASE logs maps and BRIN's revmaps without their content, of the template's own tables too."""
    endpoint = cluster.endpoint(settings=CHECKED)
    endpoint.sql("CREATE DATABASE template")
    with endpoint.connect("template") as connection:
        connection.execute("CREATE TABLE t AS SELECT i FROM generate_series(1, 5000) i")
        connection.execute("CREATE INDEX ON t USING brin (i) WITH (pages_per_range = 4)")
        connection.execute("VACUUM t")
    endpoint.sql("CREATE DATABASE copy TEMPLATE template STRATEGY wal_log")
    with endpoint.connect("copy") as connection:
        connection.execute("INSERT INTO t SELECT i FROM generate_series(5001, 6000) i")
        connection.execute("SELECT brin_summarize_new_values('t_i_idx')")
        connection.execute("DELETE FROM t WHERE i % 1000 = 7")
        connection.execute("CREATE TABLE own AS SELECT i FROM generate_series(1, 100) i")
        connection.execute("VACUUM t, own")
    report, status = verify(cluster, "main")
    assert status == 0 and report["differences"] == 0, report
    assert report["storage"]["records"]["records"]["BRIN/INSERT"]["compared"] > 0, report
    assert report["compute"]["copied_maps"] > 0, report
