"""Goal: each anomaly is found, and what is no anomaly is not reported.

Method: histories by hand, a line for each transaction: "ok: a x 1, r y [2]" (a: append, r: read). Lines run at the same
time as all others, unless a history says when. Then random histories from a model database, serializable by
construction, which must pass, also when their outcomes are forgotten, and must fail when one read is doctored.
"""

import random
import re

import pytest

import checker
from history import FAIL, INFO, OK, Transaction, from_line, to_line


def parse(line, number):
    head, ops = line.split(":", 1)
    outcome, *options = head.split()
    options = dict(option.split("=") for option in options)
    invoked, completed = map(int, options.get("at", "0-1000").split("-"))
    parsed = []
    for op in re.findall(r"a \w+ \d+|r \w+ \[[\d ]*\]|r \w+ \?", ops):
        kind, key, value = op.split(" ", 2)
        if kind == "a":
            parsed.append(("append", key, int(value)))
        else:
            parsed.append(("r", key, None if value == "?" else [int(each) for each in value.strip("[]").split()]))
    return Transaction(int(options.get("process", number)), outcome, invoked, None if outcome == INFO else completed, parsed,
                       may_be_stale="stale" in options)


def check(text):
    lines = [line.strip() for line in text.strip().splitlines()]
    return checker.check([parse(line, number) for number, line in enumerate(lines)])


# name, model that forbids it, strongest model that allows it (None: none does), history
ANOMALIES = [
    ("unknown-element", "read committed", None, "ok: r x [1]"),
    ("duplicate-element", "read committed", None, """ok: a x 1
                                                     ok: r x [1 1]"""),
    ("incompatible-order", "read committed", None, """ok: a x 1
                                                      ok: a x 2
                                                      ok: r x [1 2]
                                                      ok: r x [2]"""),
    ("G1a", "read committed", None, """fail: a x 1
                                       ok: r x [1]"""),
    ("G1b", "read committed", None, """ok: a x 1, a x 2
                                       ok: r x [1]
                                       ok: r x [1 2]"""),
    ("G0", "read committed", None, """ok: a x 1, a y 1
                                      ok: a x 2, a y 2
                                      ok: r x [1 2], r y [2 1]"""),
    ("G1c", "read committed", None, """ok: a x 1, r y [1]
                                       ok: a y 1, r x [1]"""),
    ("internal", "snapshot isolation", "read committed", """ok: a x 1
                                                            ok: r x [], r x [1]"""),
    ("internal", "snapshot isolation", "read committed", """ok: a x 1, r x []"""),
    ("lost-update", "snapshot isolation", "read committed", """ok: r x [], a x 1
                                                               ok: r x [], a x 2
                                                               ok: r x [1 2]"""),
    # A skewed read: the second one saw y's new version and x's old one.
    ("G-single", "snapshot isolation", "read committed", """ok: a x 1, a y 1
                                                            ok: r x [], r y [1]
                                                            ok: r x [1]"""),
    # Two observers see two independent appends in opposite orders: a long fork.
    ("G-nonadjacent", "snapshot isolation", "read committed", """ok: a x 1
                                                                 ok: a y 1
                                                                 ok: r x [1], r y []
                                                                 ok: r x [], r y [1]"""),
    # Write skew.
    ("G2-item", "serializable", "strong snapshot isolation", """ok: r x [], a y 1
                                                                ok: r y [], a x 1
                                                                ok: r x [1], r y [1]"""),
    # Fekete, O'Neil, O'Neil, "A read-only transaction anomaly under snapshot isolation".
    ("G2-item", "serializable", "strong snapshot isolation", """ok: r x [], r y [], a x 1
                                                                ok: r y [], a y 1
                                                                ok: r x [], r y [1]
                                                                ok: r x [1], r y [1]"""),
    ("lost-append", "strong snapshot isolation", "serializable", """ok at=0-1: a x 1
                                                                    ok at=2-3: r x []"""),
    ("G-single-realtime", "strong snapshot isolation", "serializable", """ok at=0-1: a x 1
                                                                          ok at=2-3: r x []
                                                                          ok at=4-5: r x [1]"""),
    ("G-single-process", "strong snapshot isolation", "serializable", """ok process=7 at=0-9: a x 1
                                                                         ok process=7 at=9-10: r x []
                                                                         ok at=0-9: r x [1]"""),
    ("G1c-realtime", "strong snapshot isolation", "serializable", """ok at=0-1: r x [1]
                                                                     ok at=2-3: a x 1"""),
    ("G0-realtime", "strong snapshot isolation", "serializable", """ok at=0-1: a x 1
                                                                    ok at=2-3: a x 2
                                                                    ok at=4-5: r x [2 1]"""),
    # x was appended to before y, in time; a reader that ran all the while saw y alone.
    ("G-single-realtime", "strong snapshot isolation", "serializable", """ok at=0-1: a x 1
                                                                          ok at=2-3: a y 1
                                                                          ok at=0-9: r x [], r y [1]
                                                                          ok at=0-9: r x [1]"""),
    # An acknowledged append that nobody ever sees again.
    ("lost-append", "strict serializable", "serializable", """ok at=0-1: a x 1
                                                              ok at=2-3: a x 2
                                                              ok at=4-5: r x [1]"""),
    # The outcome is not known, but somebody saw it: so it was committed, as a whole.
    ("G-single", "snapshot isolation", "read committed", """info: a x 1, a y 1
                                                            ok: r x [], r y [1]
                                                            ok: r x [1]"""),
]

CLEAN = {
    "nothing": "ok: r x []",
    "a chain": """ok at=0-1: a x 1
                  ok at=2-3: r x [1], a x 2, r x [1 2]
                  ok at=4-5: r x [1 2], a y 1
                  ok at=6-7: r y [1], r x [1 2]""",
    "one at a time, twice to one key": """ok at=0-1: a x 1, a x 2, r x [1 2]
                                          ok at=2-3: r x [1 2]""",
    "an unknown outcome that was not committed": """ok at=0-1: a x 1
                                                    info at=2-0: r x [1], a x 2
                                                    ok at=4-5: r x [1]""",
    "an unknown outcome that was committed late": """info at=0-0: a x 1
                                                     ok at=4-5: r x []
                                                     ok at=6-7: r x [1]""",
    "a failure that nobody saw": """fail at=0-1: r x ?, a x 1
                                    ok at=2-3: r x []""",
    "a stale read-only transaction of a server that was replaced": """ok at=0-1: a x 1
                                                                      ok stale=yes at=2-3: r x [], r y []
                                                                      ok at=4-5: r x [1], a y 1
                                                                      ok at=6-7: r y [1]""",
    "concurrent transactions, ordered against their ends": """ok at=0-9: a x 1
                                                              ok at=1-2: a x 2
                                                              ok at=3-4: r x [2]
                                                              ok at=10-11: r x [2 1]""",
}


@pytest.mark.parametrize("name, forbidden_by, allowed_by, text", ANOMALIES, ids=[f"{a[0]}-{i}" for i, a in enumerate(ANOMALIES)])
def test_each_anomaly_is_found(name, forbidden_by, allowed_by, text):
    report = check(text)
    assert name in report.names(), [str(anomaly) for anomaly in report.anomalies]
    assert forbidden_by not in report.models()
    if allowed_by:
        assert allowed_by in report.models(), [str(anomaly) for anomaly in report.anomalies]
    else:
        assert "read committed" not in report.models()
    assert all(anomaly.text and anomaly.transactions for anomaly in report.anomalies)


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_no_anomaly_is_not_reported(name):
    report = check(CLEAN[name])
    assert not report.anomalies, [str(anomaly) for anomaly in report.anomalies]


def test_a_stale_read_is_stale_and_nothing_else():
    """What a replaced server may do: serve an old state. Not a mix of states."""
    report = check("""ok at=0-1: a x 1, a y 1
                      ok stale=yes at=2-3: r x [], r y [1]
                      ok at=4-5: r x [1]""")
    assert "snapshot isolation" not in report.models()


def random_history(seed, transactions=400, clients=8):
    """A database that runs one transaction at a time, at a moment within the time that its client waited."""
    rng = random.Random(seed)
    lists, history, element, now = {}, [], 0, 0
    free_at = [0] * clients
    processes = list(range(clients))
    for _ in range(transactions):
        now += rng.randint(1, 20)  # the moment of the transaction
        client = rng.choice([c for c in range(clients) if free_at[c] < now] or [0])
        now = max(now, free_at[client] + 1)
        invoked = rng.randint(free_at[client], now - 1)
        completed = now + rng.randint(1, 60)
        outcome = rng.choices([OK, FAIL, INFO], [90, 5, 5])[0]
        is_done = outcome == OK or (outcome == INFO and rng.random() < 0.5)
        after, ops = {key: list(value) for key, value in lists.items()}, []
        for _ in range(rng.randint(1, 5)):
            key = rng.randint(1, 4) + len(history) // 100 * 4
            if rng.random() < 0.5:
                element += 1
                after.setdefault(key, []).append(element)
                ops.append(("append", key, element))
            else:
                ops.append(("r", key, list(after.get(key, [])) if outcome == OK else None))
        if is_done:
            lists = after
        history.append(Transaction(processes[client], outcome, invoked, None if outcome == INFO else completed, ops))
        if outcome == INFO:
            processes[client] = clients + len(history)
        free_at[client] = completed
    return history


def test_random_serial_histories_are_clean():
    for seed in range(30):
        report = checker.check(random_history(seed))
        assert not report.anomalies, (seed, [str(anomaly) for anomaly in report.anomalies[:3]])
        assert report.edges > 200


def test_a_doctored_read_is_found():
    """One read of a clean history loses its last element, or goes back to a state of long ago."""
    found = 0
    for seed in range(30):
        history = random_history(seed)
        rng = random.Random(seed)
        places = [(t, i) for t, transaction in enumerate(history) for i, (kind, _, value) in enumerate(transaction.ops)
                  if transaction.outcome == OK and kind == "r" and value and t > 20]
        t, i = rng.choice(places)
        kind, key, value = history[t].ops[i]
        history[t].ops[i] = (kind, key, value[:rng.randrange(len(value))])
        found += "strict serializable" not in checker.check(history).models()
    # Not each one is an anomaly: a read that overlapped the append may well have come before it.
    assert found >= 25, found


def test_two_swapped_elements_are_found():
    for seed in range(30):
        history = random_history(seed)
        t, i = max(((t, i) for t, transaction in enumerate(history) for i, (kind, _, value) in enumerate(transaction.ops)
                    if transaction.outcome == OK and kind == "r"), key=lambda place: len(history[place[0]].ops[place[1]][2]))
        kind, key, value = history[t].ops[i]
        history[t].ops[i] = (kind, key, [value[1], value[0], *value[2:]])
        assert "read committed" not in checker.check(history).models(), seed


def test_a_history_survives_its_file():
    for transaction in random_history(1, 50):
        assert from_line(to_line(transaction)) == transaction


def test_an_element_appended_twice_is_the_workloads_fault():
    with pytest.raises(ValueError):
        check("""ok: a x 1
                 ok: a x 1""")
