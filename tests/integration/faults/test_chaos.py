"""Goal: nothing acknowledged is ever lost, nothing comes twice, whatever fails.

Method: writers keep books outside of the system (ledger.py); twenty rounds of random kills, freezes and network faults
(nemesis.py) on all daemons and both computes; after each round, when the faults have ended, writes must go on, and then,
in quiet, the database must hold what the books say. A run is replayed with its HELIUM_FAULT_SEED.
"""

import os
import random
import time

import pytest

from harness import wait_until
from ledger import Ledger, create_tables
from nemesis import Nemesis
from system import PATIENCE_S, System, fault_seed, wait_for_progress

ROUNDS = int(os.environ.get("HELIUM_FAULT_ROUNDS", 20))
ROWS_BEFORE, ROWS_AFTER = 30, 30


def test_twenty_rounds_of_faults_lose_nothing_and_double_nothing(make_cluster_of, folder):
    seed = fault_seed()
    rng = random.Random(seed)
    system = System(make_cluster_of)
    create_tables(system.endpoints[0])
    ledger = Ledger(system.endpoints, folder / "books", seed)
    nemesis = Nemesis(system, rng)
    ledger.start()
    try:
        for round_number in range(1, ROUNDS + 1):
            began = time.monotonic()
            wait_for_progress(ledger.acknowledged, ROWS_BEFORE, f"round {round_number}, before the faults", ledger.state)
            faults = nemesis.begin()
            print(f"round {round_number}: {', '.join(faults)}", flush=True)
            time.sleep(nemesis.duration_s())
            for name, message in nemesis.end():
                print(f"    endpoint {name} did not start: {message.splitlines()[0] if message else ''}")
            endpoint = system.writable_endpoint(rng)
            wait_for_progress(ledger.acknowledged, ROWS_AFTER, f"round {round_number}, after {faults}", ledger.state)
            ledger.pause(PATIENCE_S)
            endpoint = system.writable_endpoint(rng)
            try:
                acknowledged, unknown = ledger.audit(endpoint)
            except AssertionError as error:
                raise AssertionError(f"round {round_number}, after {faults}: {error}") from error
            print(f"    on {endpoint.name}: {acknowledged} acknowledged, {unknown} unknown, {time.monotonic() - began:.1f} s", flush=True)
            ledger.resume()
        ledger.pause(PATIENCE_S)
    finally:
        ledger.stop()
    finish(system, ledger, rng)


def finish(system, ledger, rng):
    """A compute that has nothing local finds the same; so does PostgreSQL's own check; all safekeepers agree."""
    system.writable_endpoint(rng).stop("immediate")
    for endpoint in system.endpoints:
        if system.pid_of(endpoint.name):
            endpoint.stop("immediate")
    fresh = rng.choice(system.endpoints)
    fresh.forget()
    fresh.start()
    ledger.audit(fresh)
    fresh.amcheck()

    def positions():
        return {system.cluster.safekeeper(int(name.removeprefix("sk")))["flush_lsn"] for name in system.safekeepers()}
    wait_until(lambda: len(positions()) == 1, PATIENCE_S, "all safekeepers holding the same WAL")


def test_the_audit_sees_what_is_lost_doubled_foreign_or_half(cluster, folder):
    endpoint = cluster.endpoint()
    create_tables(endpoint)
    ledger = Ledger([endpoint], folder / "books", 1, writers=2)
    ledger.start()
    wait_for_progress(ledger.acknowledged, 20, "some rows", ledger.state)
    ledger.pause(PATIENCE_S)
    ledger.stop()
    assert ledger.audit(endpoint)[1] == 0
    endpoint.sql("CREATE TABLE was AS SELECT * FROM ledger")
    for damage, complaint in [
        ("DELETE FROM ledger WHERE (writer, n) = (1, 2)", r"acknowledged and missing: \[\(1, 2\)\]"),
        ("INSERT INTO ledger SELECT * FROM ledger WHERE (writer, n) = (2, 1)", r"twice: \[\(2, 1\)\]"),
        ("INSERT INTO ledger VALUES (1, 100000)", "never written and there"),
        ("UPDATE accounts SET balance = balance + 1 WHERE id = 3", "balances"),
    ]:
        endpoint.sql(damage)
        with pytest.raises(AssertionError, match=complaint):
            ledger.audit(endpoint)
        endpoint.sql("TRUNCATE ledger; INSERT INTO ledger SELECT * FROM was")
