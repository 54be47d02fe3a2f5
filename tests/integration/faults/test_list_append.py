"""Goal: under faults, transactions are as isolated as PostgreSQL promises, across all computes that a branch had.

Method: list-append clients under the nemesis; their history goes through tests/elle. That the checker would find
something is shown in the same way: a level that promises less is run, and a clean history is doctored.
"""

import collections
import os
import random
import time

import pytest

import checker
import history
from list_append import ListAppend, create_tables
from nemesis import Nemesis
from system import System, fault_seed, wait_for_progress

ROUNDS = int(os.environ.get("HELIUM_FAULT_ROUNDS", 8))


def run(make_cluster_of, folder, level, seed, rounds):
    rng = random.Random(seed)
    system = System(make_cluster_of)
    create_tables(system.endpoints[0])
    workload = ListAppend(system.endpoints, level, seed)
    nemesis = Nemesis(system, rng)
    workload.start()
    try:
        for round_number in range(1, rounds + 1):
            wait_for_progress(workload.acknowledged, 60, f"round {round_number}, before the faults", workload.state)
            faults = nemesis.begin()
            print(f"round {round_number}: {', '.join(faults)}", flush=True)
            time.sleep(nemesis.duration_s())
            nemesis.end()
            system.writable_endpoint(rng)
            wait_for_progress(workload.acknowledged, 60, f"round {round_number}, after {faults}", workload.state)
        if rounds == 0:
            wait_for_progress(workload.acknowledged, 600, "without faults", workload.state)
    finally:
        workload.stop()
    workload.read_everything(system.writable_endpoint(rng))
    recorded = workload.history()
    history.store(folder / "history.jsonl", recorded)
    outcomes = collections.Counter(transaction.outcome for transaction in recorded)
    print(f"{level}: {dict(outcomes)}, maybe stale: {sum(transaction.may_be_stale for transaction in recorded)}", flush=True)
    return recorded


def assert_clean(recorded, model):
    report = checker.check(recorded)
    violations = report.violations(model)
    assert not violations, "\n".join(str(anomaly) for anomaly in violations[:5])
    assert report.edges > sum(transaction.outcome == history.OK for transaction in recorded)
    return report


@pytest.mark.parametrize("level, model", [("SERIALIZABLE", "strict serializable"),
                                          ("REPEATABLE READ", "strong snapshot isolation")])
def test_transactions_under_faults_are_isolated(make_cluster_of, folder, level, model):
    seed = fault_seed()
    recorded = run(make_cluster_of, folder, level, seed, ROUNDS)
    assert_clean(recorded, model)

    # The same history with one read set back would not have passed.
    read_at = max((t, i) for t, transaction in enumerate(recorded) for i, (kind, _, value) in enumerate(transaction.ops)
                  if transaction.outcome == history.OK and kind == "r" and value and len(value) > 5)
    kind, key, value = recorded[read_at[0]].ops[read_at[1]]
    recorded[read_at[0]].ops[read_at[1]] = (kind, key, value[:-3])
    assert model not in checker.check(recorded).models()


def test_a_level_that_promises_less_is_told_apart(make_cluster_of, folder):
    recorded = run(make_cluster_of, folder, "READ COMMITTED", fault_seed(), 0)
    report = assert_clean(recorded, "read committed")
    assert report.violations("snapshot isolation"), "READ COMMITTED passed as snapshot isolation"
    print(sorted(report.names()))
