"""No transaction id is used twice, or rows of a crashed transaction would come alive.

Method (rule 12): an open writing transaction of each kind, then the compute is killed. The next compute's next
id is greater than any id in WAL, and none of the crashed transactions' rows is visible, now or later.
"""

import os
import re
import signal
import subprocess

import psycopg
import pytest

from harness import PG_BIN, wait_until, pid_alive
from test_vanilla_wal import wal_folder, waldump


def xids_in_wal(cluster):
    lines = waldump(wal_folder(cluster, cluster.main_id), cluster.initdb_lsn)
    found = set()
    for line in lines:
        found.add(int(re.search(r"tx: +(\d+)", line).group(1)))
        for group in re.findall(r"(?:subxacts|subtransactions|xids?|top|xtop|xmax):? ([\d ]+)", line):
            found.update(int(xid) for xid in group.split())
    return found


def plain(connection):
    connection.execute("INSERT INTO t VALUES ('lost')")


def sub(connection):
    connection.execute("INSERT INTO t VALUES ('lost')")
    for n in range(10):
        connection.execute(f"SAVEPOINT s{n}")
        connection.execute("INSERT INTO t VALUES ('lost')")


def prepared(connection):
    connection.execute("INSERT INTO t VALUES ('prepared')")
    connection.execute("SAVEPOINT a")
    connection.execute("INSERT INTO t VALUES ('prepared')")
    connection.execute("PREPARE TRANSACTION 'p'")
    connection.execute("BEGIN")
    connection.execute("SELECT 1")


def multixact_only(connection):
    """Its id appears in WAL as a member of a multixact, and in no record's header but that one's."""
    connection.execute("SELECT * FROM locked FOR SHARE")


@pytest.mark.parametrize("open_transaction", [plain, sub, prepared, multixact_only])
def test_next_xid_is_greater_than_any_in_wal(cluster, open_transaction):
    cluster.expect_log("connection|compute|feed|closed")
    endpoint = cluster.endpoint(settings={"max_prepared_transactions": "5"})
    endpoint.sql("CREATE TABLE t (x text)")
    endpoint.sql("CREATE TABLE locked AS SELECT 1 AS x")
    connections = [endpoint.connect(autocommit=False) for _ in range(3)]
    for connection in connections[:1] if open_transaction is prepared else connections:
        open_transaction(connection)
    # Something acknowledged behind it takes the open transactions' WAL along.
    endpoint.sql("SELECT txid_current()")
    endpoint.sql("INSERT INTO t VALUES ('kept')")
    pids = endpoint.postgres_pids()
    os.kill(endpoint.agent_pid, signal.SIGKILL)
    for pid in pids:
        wait_until(lambda: not pid_alive(pid), 10, f"the end of process {pid}")
    for connection in connections:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1")
        connection.close()

    seen = max(xids_in_wal(cluster))
    endpoint.forget()
    endpoint.start()
    next_xid = endpoint.value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    assert next_xid > seen
    for _ in range(30):  # would give the lost ids out again, were the counter wrong
        endpoint.sql("INSERT INTO t VALUES ('later')")
    rows = dict(endpoint.sql("SELECT x, count(*) FROM t GROUP BY x"))
    assert rows == {"kept": 1, "later": 30}
    if open_transaction is prepared:
        endpoint.sql("COMMIT PREPARED 'p'")
        assert endpoint.value("SELECT count(*) FROM t WHERE x = 'prepared'") == 2
    endpoint.sql("UPDATE locked SET x = 2")


def test_next_oid_and_multixact_do_not_go_back(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x int)")
    oids = set()
    for n in range(4):
        endpoint.sql(f"CREATE TABLE o{n} ()")
        oid = endpoint.value(f"SELECT 'o{n}'::regclass::oid::bigint")
        assert oid not in oids and (not oids or oid > max(oids))
        oids.add(oid)
        before = endpoint.value("SELECT next_multixact_id::text::bigint FROM pg_control_checkpoint()")
        endpoint.restart("immediate")
        assert endpoint.value("SELECT next_multixact_id::text::bigint FROM pg_control_checkpoint()") >= before
