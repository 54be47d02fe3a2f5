"""Replication: stock tools and a stock standby follow a branch at a safekeeper, across changes of its compute."""

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest
from psycopg import pq

from harness import PG_BIN, USER, parse_lsn, wait_until
from stock_standby import StockStandby, connection_string

SEGMENT_SIZE = 16 << 20
TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history", "documents")


# --- a standby

def fill(endpoint):
    endpoint.pgbench_init(1)
    endpoint.sql("CREATE EXTENSION amcheck")
    endpoint.sql("CREATE TABLE documents (id int PRIMARY KEY, words text[], place point)")
    endpoint.sql("CREATE INDEX ON documents USING gin (words)")
    endpoint.sql("CREATE INDEX ON documents USING gist (place)")
    endpoint.sql("CREATE DATABASE other")
    endpoint.sql("CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 20000) i", database="other")


def add_documents(endpoint, first, count=500):
    endpoint.sql("INSERT INTO documents SELECT i, ARRAY[md5(i::text), md5((i % 97)::text)], point(i % 31, i % 17) "
                 f"FROM generate_series({first}, {first + count - 1}) i")


def contents(server):
    """All rows of all tables, as one number each."""
    sums = {table: server.value(f"SELECT coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t")
            for table in TABLES}
    return sums | {"other": server.value("SELECT sum(hashtextextended(t::text, 0)) FROM t", database="other")}


@pytest.fixture
def standby_of(folder):
    made = []

    def make(endpoint, *backup_options, name="standby"):
        standby = StockStandby(endpoint, folder / name, endpoint.cluster.first_port + 35 + len(made))
        made.append(standby)
        standby.backup(*backup_options)
        return standby

    yield make
    for standby in made:
        standby.stop("immediate")


@pytest.mark.parametrize("wal_method", ["stream", "none"])
def test_a_stock_standby_follows_a_safekeeper_across_computes(cluster, standby_of, wal_method):
    """pg_basebackup under load; then the compute is stopped, killed and superseded; the standby has it all.

    With "none" the backup holds no WAL at all: the standby gets its first segment from the safekeeper as well.
    """
    cluster.expect_log("fenced|term|compute|connection")
    first = cluster.endpoint("first", branch="main")
    fill(first)
    load = first.start_pgbench(20)
    standby = standby_of(first, "-X", wal_method)
    load.abandon()
    standby.follow(safekeeper=2, name="my_standby")
    standby.start()

    (reader,) = [reader for reader in cluster.safekeeper(2)["readers"] if reader["name"] == "my_standby"]
    assert reader["kind"] == "replication", reader

    load = first.start_pgbench(4)
    add_documents(first, 1)
    load.finish()
    first.restart("fast")
    load = first.start_pgbench(3)
    add_documents(first, 1001)
    load.finish()
    first.restart("immediate")
    load = first.start_pgbench(20)
    time.sleep(1)
    second = cluster.endpoint("second", branch="main")  # supersedes the first one under load
    load.abandon()
    second.pgbench(3)
    add_documents(second, 2001)
    second.sql("DELETE FROM documents WHERE id % 3 = 0")
    second.sql("VACUUM")

    lsn = second.lsn()
    standby.wait_for_replay(lsn)
    assert contents(standby) == contents(second)
    assert standby.value("SELECT pg_is_in_recovery()") is True
    assert standby.value("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == 1
    standby.amcheck()
    assert standby.system_id() == cluster.safekeeper(2)["system_id"]

    def told():
        (reader,) = [reader for reader in cluster.safekeeper(2)["readers"] if reader["name"] == "my_standby"]
        return all(parse_lsn(reader[key]) >= parse_lsn(lsn) for key in ("sent_lsn", "received_lsn", "flush_lsn", "apply_lsn"))
    wait_until(told, 20, "the safekeeper knowing how far its standby is")

    # It starts again from its own restart point, without the compute, and still agrees.
    second.stop()
    standby.stop()
    standby.start()
    standby.wait_for_replay(lsn)
    assert standby.complaints() == []


def test_a_standby_changes_its_safekeeper(cluster, standby_of):
    """Its safekeeper dies; pointed at another one it goes on where it was, and nothing is missing."""
    cluster.expect_log("safekeeper|connection|broker|unavailable|append|push")
    endpoint = cluster.endpoint("main")
    fill(endpoint)
    standby = standby_of(endpoint, "-X", "stream")
    standby.follow(safekeeper=1)
    standby.start()
    add_documents(endpoint, 1)
    standby.wait_for_replay(endpoint.lsn())
    cluster.kill("sk1")
    add_documents(endpoint, 1001)
    standby.follow(safekeeper=3)
    standby.run("pg_ctl", "-D", str(standby.data), "reload")
    standby.wait_for_replay(endpoint.lsn())
    assert contents(standby) == contents(endpoint)


# --- pg_receivewal

class Receiver:
    """pg_receivewal of a branch into a folder, which outlives it."""

    def __init__(self, cluster, folder, *options, safekeeper=1):
        folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [PG_BIN / "pg_receivewal", "-D", folder, "-d", connection_string(cluster, cluster.main_id, safekeeper),
             "--no-loop", "-s", "1", "-v", *options], env=os.environ | {"PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, self.stderr = self.process.communicate(timeout=30)


def reader_named(cluster, safekeeper, name):
    found = [reader for reader in cluster.safekeeper(safekeeper)["readers"] if reader["name"] == name]
    return found[0] if found else None


def flushed(cluster, lsn, safekeeper=1):
    reader = reader_named(cluster, safekeeper, "pg_receivewal")
    return reader is not None and parse_lsn(reader["flush_lsn"]) >= parse_lsn(lsn)


def compare_segments(cluster, target, upto):
    """What was received is, byte for byte, what the safekeepers agree on; returns the number of whole segments."""
    kept = cluster.repo / "safekeepers" / "sk1" / cluster.tenant_id / cluster.main_id
    files = sorted(path for path in target.iterdir() if re.fullmatch(r"[0-9A-F]{24}(\.partial)?", path.name))
    numbers = [int(path.name[16:24], 16) for path in files]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap"
    assert numbers[-1] >= (upto - 1) // SEGMENT_SIZE
    for path, number in zip(files, numbers):
        size = min(max(upto - number * SEGMENT_SIZE, 0), SEGMENT_SIZE)
        ours = (kept / path.name.removesuffix(".partial")).read_bytes()
        assert path.read_bytes()[:size] == ours[:size], path.name
    return sum(path.suffix == "" for path in files)


@pytest.mark.parametrize("options", [(), ("--synchronous",)])
def test_receivewal_is_ended_and_resumes(cluster, folder, options):
    endpoint = cluster.endpoint("main")
    endpoint.sql("CREATE TABLE t (x text)")
    target = folder / "received"
    for _ in range(3):
        with Receiver(cluster, target, *options) as receiver:
            endpoint.sql("INSERT INTO t SELECT repeat(md5(i::text), 8) FROM generate_series(1, 30000) i")
            lsn = endpoint.lsn()
            if options:
                wait_until(lambda: flushed(cluster, lsn), 60, "the receiver's word that it has it on disk")
            else:
                # Without --synchronous its files are flushed one by one: "received" is all that it can say.
                wait_until(lambda: parse_lsn((reader_named(cluster, 1, "pg_receivewal") or {"received_lsn": "0/0"})
                                             ["received_lsn"]) >= parse_lsn(lsn), 60, "the receiver having the WAL")
        assert receiver.process.returncode == 0, receiver.stderr
    assert compare_segments(cluster, target, parse_lsn(lsn)) >= 1


def test_receivewal_stops_at_its_end_position(cluster, folder):
    """--endpos ends the copy from the client's side: the handshake leaves both in peace."""
    endpoint = cluster.endpoint("main")
    endpoint.sql("CREATE TABLE t AS SELECT md5(i::text) FROM generate_series(1, 1000) i")
    lsn = endpoint.lsn()
    endpoint.sql("CREATE TABLE u AS SELECT md5(i::text) FROM generate_series(1, 1000) i")
    with Receiver(cluster, folder / "received", "--endpos", lsn) as receiver:
        assert receiver.process.wait(30) == 0
    assert "error" not in receiver.stderr, receiver.stderr


def test_receivewal_follows_through_changes_of_compute_at_any_safekeeper(cluster, folder):
    cluster.expect_log("fenced|term|compute|connection")
    endpoint = cluster.endpoint("first", branch="main")
    endpoint.pgbench_init(1)
    with Receiver(cluster, folder / "received", "--synchronous", safekeeper=3):
        for name, mode in (("a", "fast"), ("b", "immediate"), ("c", "fast")):
            endpoint.pgbench(1)
            endpoint.stop(mode)
            endpoint = cluster.endpoint(name, branch="main")
        load = endpoint.start_pgbench(20)
        time.sleep(0.5)
        last = cluster.endpoint("last", branch="main")
        load.abandon()
        last.pgbench(1)
        lsn = last.lsn()
        wait_until(lambda: flushed(cluster, lsn, 3), 60, "the receiver's word that it has it on disk")
    wait_until(lambda: parse_lsn(cluster.safekeeper(1)["flush_lsn"]) >= parse_lsn(lsn), 20, "safekeeper 1 having it")
    compare_segments(cluster, folder / "received", parse_lsn(lsn))


# --- the protocol's letter, with stock PostgreSQL beside it

@contextlib.contextmanager
def replication_connection(text):
    connection = pq.PGconn.connect((text + " replication=true").encode())
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    yield connection
    connection.finish()


def ask(connection, command):
    """(columns with types, rows) or (sqlstate,)"""
    result = connection.exec_(command.encode())
    if result.status == pq.ExecStatus.FATAL_ERROR:
        return (result.error_field(pq.DiagnosticField.SQLSTATE).decode(),)
    columns = [(result.fname(i).decode(), result.ftype(i)) for i in range(result.nfields)]
    rows = [[result.get_value(row, i) for i in range(result.nfields)] for row in range(result.ntuples)]
    return columns, rows, result.command_status.decode()


def test_answers_are_postgresqls(cluster):
    """The same commands to a stock walsender and to a safekeeper: same columns, types, tags and error codes."""
    endpoint = cluster.endpoint("main")
    stock = endpoint.dsn().replace("dbname=postgres ", "")
    with replication_connection(stock) as theirs, replication_connection(connection_string(cluster, cluster.main_id)) as ours:
        for command in ("IDENTIFY_SYSTEM", "SHOW wal_segment_size", "SHOW data_directory_mode", "SHOW server_encoding",
                        "SHOW no_such_setting", "TIMELINE_HISTORY 1", "TIMELINE_HISTORY 7", "TIMELINE_HISTORY 0",
                        "READ_REPLICATION_SLOT nothing", "DROP_REPLICATION_SLOT nothing",
                        "START_REPLICATION SLOT nothing PHYSICAL 0/3000000", "START_REPLICATION 0/3000000 TIMELINE 9",
                        "START_REPLICATION x", "SELECT 1", "",
                        "CREATE_REPLICATION_SLOT a TEMPORARY PHYSICAL", "READ_REPLICATION_SLOT a",
                        "CREATE_REPLICATION_SLOT a TEMPORARY PHYSICAL (RESERVE_WAL)", "DROP_REPLICATION_SLOT a"):
            wanted, got = ask(theirs, command), ask(ours, command)
            if command == "IDENTIFY_SYSTEM":  # all but the position, which moves
                assert wanted[0] == got[0] and wanted[2] == got[2]
                assert wanted[1][0][:2] == got[1][0][:2] and wanted[1][0][3] == got[1][0][3] is None
                assert parse_lsn(got[1][0][2].decode()) <= parse_lsn(ask(theirs, command)[1][0][2].decode())
            else:
                assert wanted == got, command


def copy_data(connection, timeout=20):
    """The next message of a copy; None when it has ended."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        connection.consume_input()
        size, data = connection.get_copy_data(1)
        if size > 0:
            return bytes(data)
        if size == -1:
            return None
        time.sleep(0.01)
    raise AssertionError("the server is silent")


def send(connection, data=None):
    """A message into the copy, or its end."""
    connection.put_copy_data(data) if data else connection.put_copy_end()
    while connection.flush():
        time.sleep(0.01)


def test_a_silent_client_is_asked_and_then_given_up(cluster):
    endpoint = cluster.endpoint("main")
    lsn = endpoint.lsn()
    text = connection_string(cluster, cluster.main_id, wal_sender_timeout="2s")
    with replication_connection(text) as connection:
        assert connection.exec_(f"START_REPLICATION {lsn} TIMELINE 1".encode()).status == pq.ExecStatus.COPY_BOTH
        asked = False
        while True:
            try:
                message = copy_data(connection)
            except Exception as error:
                assert "wal_sender_timeout" in str(error), error
                break
            if message is None:
                break
            asked = asked or (message[:1] == b"k" and message[-1] == 1)
        assert asked, "no keepalive asked for a reply"


def test_a_copy_ends_and_the_connection_goes_on(cluster):
    """Status updates and feedback are taken, CopyDone is answered by CopyDone, and a second stream begins."""
    endpoint = cluster.endpoint("main")
    endpoint.sql("CREATE TABLE t AS SELECT i AS x FROM generate_series(1, 20000) i")
    with replication_connection(connection_string(cluster, cluster.main_id, application_name="careful")) as connection:
        for _ in range(3):
            lsn = parse_lsn(endpoint.lsn())
            start = f"START_REPLICATION PHYSICAL {cluster.initdb_lsn} TIMELINE 1"
            assert connection.exec_(start.encode()).status == pq.ExecStatus.COPY_BOTH
            end = 0
            while end < lsn:
                message = copy_data(connection)
                if message[:1] == b"w":
                    end = int.from_bytes(message[1:9], "big") + len(message) - 25
                    # Never inside a record, or a standby takes what it lacks for damage.
                    assert end % 8192 == 0 or end == int.from_bytes(message[9:17], "big")
            position = end.to_bytes(8, "big")
            send(connection, b"h" + bytes(8) + bytes(16))
            send(connection, b"r" + position * 3 + bytes(8) + b"\x01")
            while copy_data(connection)[:1] != b"k":  # the reply that was asked for
                pass
            wait_until(lambda: parse_lsn(reader_named(cluster, 1, "careful")["apply_lsn"]) == end, 10, "the word arriving")
            send(connection)
            while copy_data(connection) is not None:
                pass
            tags = []
            while (result := connection.get_result()) is not None:
                assert result.status == pq.ExecStatus.COMMAND_OK, result.error_message
                tags.append(result.command_status.decode())
            assert tags == ["START_STREAMING", "START_REPLICATION"], tags
            assert reader_named(cluster, 1, "careful") is None
            endpoint.sql("INSERT INTO t VALUES (1)")


def test_pg_basebackup_from_a_safekeeper_is_told_where_to_go(cluster, folder):
    result = subprocess.run([PG_BIN / "pg_basebackup", "-D", folder / "x", "-X", "none", "-d",
                             connection_string(cluster, cluster.main_id)], capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "endpoint" in result.stderr, result.stderr


def test_slots_that_do_not_exist_are_said_to_be_unnecessary(cluster, folder):
    with Receiver(cluster, folder / "received", "--slot", "archive") as receiver:
        assert receiver.process.wait(30) != 0
    assert "archive" in receiver.stderr and "does not exist" in receiver.stderr
    with Receiver(cluster, folder / "received", "--slot", "archive", "--create-slot") as receiver:
        assert receiver.process.wait(30) != 0
    assert "without slots" in receiver.stderr, receiver.stderr
