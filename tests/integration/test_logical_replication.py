"""A Helium endpoint as subscriber: it may vanish between two applied transactions, and applies each exactly once.

Goal: a subscriber's progress (replication origins) survives with the data that it speaks of: no row is lost or doubled.
Method: a publisher on a branch of the subscriber's timeline, made before anything was there. The subscribed table has no
key, so a transaction that is applied twice shows. The subscriber's compute is killed again and again, its folder deleted.
"""

import os
import signal
import threading

import psycopg

from harness import parse_lsn, pid_alive, wait_until

PUBLISHER = {"wal_level": "logical", "max_prepared_transactions": "10"}
SUBSCRIBER = {"max_prepared_transactions": "10", "wal_retrieve_retry_interval": "100ms"}


def make_pair(cluster, *options):
    """Two endpoints, the second subscribed to table t of the first."""
    cluster.branch("publisher")
    publisher = cluster.endpoint("publisher", settings=PUBLISHER)
    subscriber = cluster.endpoint(settings=SUBSCRIBER)
    for endpoint in (publisher, subscriber):
        endpoint.sql("CREATE TABLE t (i int, writer int)")
    publisher.sql("CREATE PUBLICATION p FOR TABLE t")
    subscribe(publisher, subscriber, *options)
    return publisher, subscriber


def subscribe(publisher, subscriber, *options):
    with_options = ", ".join(("copy_data = false", *options))
    subscriber.sql(f"CREATE SUBSCRIPTION s CONNECTION '{publisher.dsn()}' PUBLICATION p WITH ({with_options})")
    wait_until(lambda: publisher.value("SELECT count(*) FROM pg_replication_slots WHERE active") == 1, what="the subscription")


def kill(endpoint):
    postgres = endpoint.postgres_pids()
    os.kill(endpoint.agent_pid, signal.SIGKILL)
    for pid in postgres:
        wait_until(lambda: not pid_alive(pid), 20, f"the end of PostgreSQL process {pid}")


def caught_up(publisher, subscriber):
    def same():
        try:
            return subscriber.value("SELECT count(*) FROM t") >= publisher.value("SELECT count(*) FROM t")
        except psycopg.Error:
            return False
    wait_until(same, 60, "the subscriber having everything")


def check_rows(publisher, subscriber):
    caught_up(publisher, subscriber)
    query = "SELECT count(*), count(DISTINCT (writer, i)), coalesce(sum(i), 0) FROM t"
    rows, distinct, total = publisher.sql(query)[0]
    assert rows == distinct
    assert subscriber.sql(query) == [(rows, distinct, total)]


def progress(subscriber):
    """How far the subscriber has applied what nobody can take back: apply workers commit asynchronously, hence the flush."""
    return parse_lsn(subscriber.value("SELECT max(pg_replication_origin_progress(external_id, true))::text "
                                      "FROM pg_replication_origin_status"))


def test_a_subscriber_that_is_killed_between_applies_loses_and_doubles_nothing(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    publisher, subscriber = make_pair(cluster)
    stop = threading.Event()

    def write(number):
        with publisher.connect() as connection:
            i = 0
            while not stop.is_set():
                connection.execute("INSERT INTO t VALUES (%s, %s)", [i, number])
                i += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        for round_number in range(4):
            before = subscriber.value("SELECT count(*) FROM t")
            wait_until(lambda: subscriber.value("SELECT count(*) FROM t") > before + 50, 60, "applied rows")
            known = progress(subscriber)
            kill(subscriber)
            if round_number % 2:
                subscriber.forget()
            subscriber.start()
            assert progress(subscriber) >= known, "the new compute knows less than the old one"
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    check_rows(publisher, subscriber)
    # Back and forth by hand, and dropped: what the catalog's functions do lasts, too.
    subscriber.sql("SELECT pg_replication_origin_create('mine')")
    subscriber.sql("SELECT pg_replication_origin_advance('mine', '0/1234')")
    subscriber.sql("CREATE TABLE written ()")  # the advance has no transaction id, so its own commit flushes nothing
    subscriber.restart("immediate")
    assert subscriber.value("SELECT pg_replication_origin_progress('mine', false)::text") == "0/1234"
    subscriber.sql("SELECT pg_replication_origin_drop('mine')")
    subscriber.restart("immediate")
    assert subscriber.value("SELECT count(*) FROM pg_replication_origin_status WHERE external_id = 'mine'") == 0
    check_rows(publisher, subscriber)


def test_a_publisher_that_is_killed_and_begun_from_nothing_keeps_its_subscriber(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    publisher, subscriber = make_pair(cluster)
    for round_number in range(3):
        with publisher.connect() as connection:
            for i in range(100):
                connection.execute("INSERT INTO t VALUES (%s, %s)", [i, round_number])
        if round_number % 2:
            caught_up(publisher, subscriber)  # else some of it was never sent
        kill(publisher)
        publisher.forget()
        publisher.start()
        check_rows(publisher, subscriber)
    assert publisher.value("SELECT count(*) FROM pg_replication_slots WHERE active") == 1


def test_prepared_transactions_are_applied_once_across_kills(cluster):
    cluster.expect_log("connection|compute|feed|closed")
    publisher, subscriber = make_pair(cluster, "two_phase = true")
    wait_until(lambda: subscriber.value("SELECT subtwophasestate = 'e' FROM pg_subscription"), 60, "two-phase mode")
    for i in range(4):
        with publisher.connect() as connection:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t VALUES (%s, 0)", [i])
            connection.execute(f"PREPARE TRANSACTION 'g{i}'")
        wait_until(lambda: subscriber.value("SELECT count(*) FROM pg_prepared_xacts") == 1, 60, "the prepared transaction")
        known = progress(subscriber)
        kill(subscriber)
        subscriber.start()
        assert progress(subscriber) >= known
        assert subscriber.value("SELECT count(*) FROM pg_prepared_xacts") == 1
        publisher.sql(f"{'COMMIT' if i % 2 else 'ROLLBACK'} PREPARED 'g{i}'")
        wait_until(lambda: subscriber.value("SELECT count(*) FROM pg_prepared_xacts") == 0, 60, "its end")
        known = progress(subscriber)
        kill(subscriber)
        subscriber.start()
        assert progress(subscriber) >= known
    check_rows(publisher, subscriber)
    assert subscriber.sql("SELECT i FROM t ORDER BY i") == [(1,), (3,)]


def test_a_branch_of_a_subscriber_leaves_its_parents_slot_alone(cluster):
    publisher, subscriber = make_pair(cluster)
    publisher.sql("INSERT INTO t VALUES (1, 0)")
    caught_up(publisher, subscriber)
    assert progress(subscriber) > 0  # the row is committed for good, and so on the branch
    cluster.branch("copy")
    subscriber.stop()
    copy = cluster.endpoint("copy", settings=SUBSCRIBER)
    assert copy.value("SELECT subenabled FROM pg_subscription")
    assert copy.value("SELECT count(*) FROM pg_replication_origin_status") == 0
    assert copy.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'") == 0
    publisher.sql("INSERT INTO t VALUES (2, 0)")
    # Its own from here on: detached, dropped, and subscribed anew under another name.
    copy.sql("ALTER SUBSCRIPTION s DISABLE")
    copy.sql("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
    copy.sql("DROP SUBSCRIPTION s")
    assert publisher.value("SELECT count(*) FROM pg_replication_slots") == 1
    subscriber.start()
    check_rows(publisher, subscriber)
    assert copy.sql("SELECT i FROM t") == [(1,)]
