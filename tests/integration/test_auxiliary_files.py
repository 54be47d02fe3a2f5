"""Replication slots, decoding snapshots and statistics outlive the compute's disk.

Goal: what PostgreSQL told a client about a slot is true after the compute has been killed and begun anew from nothing; a
clean stop keeps the statistics; nobody who can run SQL can forge such a file; a branch has none of its parent's slots.
Method: test_decoding and psycopg on endpoints that are killed and whose folder is deleted; forged messages by SQL.
"""

import os
import re
import signal
import struct
import urllib.request

import psycopg
import pytest

from harness import parse_lsn, pid_alive, wait_until

LOGICAL = {"wal_level": "logical"}


def kill(endpoint):
    """Ends the agent and every process of PostgreSQL, and removes everything local."""
    postgres = endpoint.postgres_pids()
    os.kill(endpoint.agent_pid, signal.SIGKILL)
    for pid in postgres:
        wait_until(lambda: not pid_alive(pid), 20, f"the end of PostgreSQL process {pid}")
    endpoint.forget()


def slots(endpoint):
    return sorted(name for (name,) in endpoint.sql("SELECT slot_name FROM pg_replication_slots"))


def changes(endpoint, slot="s"):
    """The rows that test_decoding gives, once; transactions' begins and ends left out."""
    rows = endpoint.sql("SELECT data FROM pg_logical_slot_get_changes(%s, NULL, NULL, 'include-xids', 'false')", slot)
    return [int(found.group(1)) for (data,) in rows if (found := re.search(r"INSERT: i\[integer\]:(\d+)", data))]


def refused_messages(cluster):
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.pageserver_http}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^pageserver_auxiliary_messages_refused_total\{.*\} (\S+)$", text, re.M))


def test_a_logical_slot_gives_each_change_once_across_kills(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("CREATE TABLE t (i int)")
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    wanted = []
    for number in range(3):
        endpoint.sql("INSERT INTO t VALUES (%s)", 10 * number)
        # Old WAL in more than one segment, and a row committed after it.
        endpoint.sql("SELECT pg_switch_wal()")
        endpoint.sql("INSERT INTO t VALUES (%s)", 10 * number + 1)
        kill(endpoint)
        endpoint.start()
        wanted = [10 * number, 10 * number + 1]
        assert slots(endpoint) == ["s"]
        assert changes(endpoint) == wanted
        assert changes(endpoint) == []
        endpoint.sql("CHECKPOINT")  # which is when PostgreSQL saves how far SQL has read
        kill(endpoint)
        endpoint.start()
        assert changes(endpoint) == [], "what was confirmed before a checkpoint came again"
    endpoint.sql("SELECT pg_drop_replication_slot('s')")
    kill(endpoint)
    endpoint.start()
    assert slots(endpoint) == [], "a dropped slot came back"


def test_a_transaction_that_spans_the_slots_restart_point_is_decoded_whole(cluster):
    """restart_lsn moves to where a snapshot was written; without that file, what was open there would be left out."""
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("CREATE TABLE t (i int)")
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    before = endpoint.value("SELECT restart_lsn::text FROM pg_replication_slots")
    with endpoint.connect() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (1)")

        def moved():
            # A checkpoint logs the running transactions; reading past two of those lets the slot restart at one.
            endpoint.sql("CHECKPOINT")
            endpoint.sql("INSERT INTO t VALUES (0)")
            changes(endpoint)
            return parse_lsn(endpoint.value("SELECT restart_lsn::text FROM pg_replication_slots")) > parse_lsn(before)

        # The restart point cannot pass the oldest open transaction, but the snapshots lie behind it.
        for _ in range(3):
            moved()
        other.execute("INSERT INTO t VALUES (2)")
        other.execute("COMMIT")
    files = endpoint.value("SELECT count(*) FROM pg_ls_dir('pg_logical/snapshots')")
    assert files > 0
    endpoint.sql("CHECKPOINT")
    kill(endpoint)
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM pg_ls_dir('pg_logical/snapshots')") > 0
    assert [i for i in changes(endpoint) if i != 0] == [1, 2]
    for _ in range(3):
        moved()
    # Old snapshots go here, and so from storage.
    endpoint.sql("CHECKPOINT")
    left = endpoint.sql("SELECT * FROM pg_ls_dir('pg_logical/snapshots') ORDER BY 1")
    kill(endpoint)
    endpoint.start()
    assert endpoint.sql("SELECT * FROM pg_ls_dir('pg_logical/snapshots') ORDER BY 1") == left
    assert changes(endpoint) == []


def test_changes_before_a_rewrite_of_the_catalog_are_decoded_after_it(cluster):
    """VACUUM FULL moves the catalog's rows that the old changes are to be read with; mapping files say where to."""
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    with endpoint.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE t (i int)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("ALTER TABLE t ADD COLUMN j int DEFAULT 7")
        connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("COMMIT")
    endpoint.sql("VACUUM FULL pg_class")
    endpoint.sql("VACUUM FULL pg_attribute")
    mappings = "SELECT name, size FROM pg_ls_dir('pg_logical/mappings') AS name, pg_stat_file('pg_logical/mappings/' || name) ORDER BY 1"
    files = endpoint.sql(mappings)
    assert files
    kill(endpoint)
    endpoint.start()
    assert endpoint.sql(mappings) == files
    assert changes(endpoint) == [1, 2]


def test_physical_slots_are_kept_and_temporary_ones_are_not(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings={"max_replication_slots": "12"})
    for number in range(12):
        endpoint.sql("SELECT pg_create_physical_replication_slot(%s, true)", f"physical_{number:02}")
    lsn = endpoint.value("SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = 'physical_00'")
    for number in range(2):
        endpoint.sql("SELECT pg_drop_replication_slot(%s)", f"physical_{number + 10}")
    with endpoint.connect() as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('temporary', true, true)")
        kill(endpoint)
    # Fewer places than there are slots: as many as the timeline needs (rule 27).
    endpoint.settings = {"max_replication_slots": "2"}
    endpoint.forget()
    endpoint.start()
    assert slots(endpoint) == [f"physical_{number:02}" for number in range(10)]
    assert endpoint.value("SHOW max_replication_slots") == "10"
    assert endpoint.value("SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = 'physical_00'") == lsn


def test_a_logical_slot_keeps_wal_level_up(cluster):
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    endpoint.stop()
    endpoint.settings = {"wal_level": "replica"}
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SHOW wal_level") == "logical"
    assert slots(endpoint) == ["s"]


def test_a_stop_keeps_statistics_and_the_slots_last_state(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("CREATE TABLE t (i int)")
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    endpoint.sql("INSERT INTO t SELECT generate_series(1, 100)")
    assert len(changes(endpoint)) == 100
    inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 't'"
    wait_until(lambda: endpoint.value(inserted) == 100, what="the statistics")
    endpoint.stop()
    endpoint.forget()
    endpoint.start()
    assert endpoint.value(inserted) == 100
    assert changes(endpoint) == [], "the shutdown's state of the slot was lost"
    # Statistics are of a clean stop, as in stock PostgreSQL: not after something went on from there.
    kill(endpoint)
    endpoint.start()
    assert endpoint.value("SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables") == 0
    assert slots(endpoint) == ["s"]


def forged_messages(path, content):
    """Payloads of the right form with any code; one too short; one of another version."""
    head = struct.pack("<BBHI", 1, 0, len(path), len(content)) + path + content
    yield head + bytes(32)
    yield head
    yield b"\x02" + head[1:] + bytes(32)
    yield struct.pack("<BBHI", 1, 1, len(path), 0) + path + bytes(32)


def test_a_forged_message_changes_nothing_and_is_counted(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint()
    endpoint.sql("SELECT pg_create_physical_replication_slot('mine', true)")
    endpoint.sql("CREATE ROLE somebody LOGIN")
    dsn = endpoint.dsn().replace("user=cloud_admin", "user=somebody")
    sent = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for path in (b"pg_replslot/forged/state", b"pg_replslot/mine/state", b"global/pg_control", b"pg_replslot/../x/state"):
            for payload in forged_messages(path, b"forged"):
                for transactional in (False, True):
                    connection.execute("SELECT pg_logical_emit_message(%s, 'helium/aux', %s::bytea)", [transactional, payload])
                    sent += 1
        # Of another prefix: somebody else's, and none of ours.
        connection.execute("SELECT pg_logical_emit_message(false, 'helium/auxiliary', 'x'::bytea)")
    cluster.wait_for_ingest(endpoint.lsn())
    assert refused_messages(cluster) == sent
    kill(endpoint)
    endpoint.start()
    assert slots(endpoint) == ["mine"]


def test_a_branch_has_none_of_its_parents_slots(cluster):
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("CREATE TABLE t (i int)")
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    endpoint.sql("INSERT INTO t VALUES (1)")
    cluster.branch("child")
    child = cluster.endpoint("child", settings=LOGICAL)
    assert slots(child) == []
    assert child.sql("SELECT i FROM t") == [(1,)]
    # Its own of the same name is another one.
    child.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    child.sql("INSERT INTO t VALUES (2)")
    child.stop()
    child.forget()
    child.start()
    assert changes(child) == [2]
    assert changes(endpoint) == [1]


@pytest.mark.parametrize("version", [14, 18])
def test_slots_and_statistics_of_other_versions(make_cluster, version):
    from harness import PG_DISTRIB_DIR

    cluster = make_cluster(init_options=["--pg-distrib-dir", str(PG_DISTRIB_DIR)], tenant_options=["--pg-version", str(version)])
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings=LOGICAL)
    endpoint.sql("CREATE TABLE t (i int)")
    endpoint.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    endpoint.sql("INSERT INTO t VALUES (1)")
    kill(endpoint)
    endpoint.start()
    assert changes(endpoint) == [1]
    endpoint.sql("INSERT INTO t VALUES (2)")
    inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 't'"
    wait_until(lambda: (endpoint.value(inserted) or 0) >= 1, what="the statistics")
    before = endpoint.value(inserted)
    endpoint.stop()
    endpoint.forget()
    endpoint.start()
    assert endpoint.value(inserted) >= before
    assert changes(endpoint) == [2]
