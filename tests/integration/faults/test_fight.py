"""Goal: two computes on one branch never both acknowledge, also while the first one cannot know of the second.

Method: each in turn takes the branch over from the other, which is healthy, frozen, or cut off in one of several ways;
clients of both note every answer; the rules are in fight.py. Then both are started at the same time, again and again.
"""

import os
import random

import pytest

from fight import ASYNC, COLD, HOT, SYNC, Arena, Event, create_tables, lives_in_logs, violations
from harness import wait_until
from network import SAFEKEEPERS
from system import PATIENCE_S, System, fault_seed, wait_for_progress


def to_safekeepers(name, mode):
    return [(name, safekeeper, mode) for safekeeper in SAFEKEEPERS]


# What befalls the one that holds the branch, before the other one comes.
TROUBLES = {
    "nothing": lambda system, name: None,
    "all of it is frozen": lambda system, name: system.freeze(name),
    "its agent is frozen, PostgreSQL runs on": lambda system, name: system.freeze_agent(name),
    "cut off from everybody": lambda system, name: system.network.set_rules([(name, "*", "cut")]),
    "silently cut off from everybody": lambda system, name: system.network.set_rules([(name, "*", "hole")]),
    "cut off from the safekeepers only": lambda system, name: system.network.set_rules(to_safekeepers(name, "cut")),
    "silently cut off from the safekeepers only": lambda system, name: system.network.set_rules(to_safekeepers(name, "hole")),
    "hears nothing from the safekeepers": lambda system, name: system.network.set_rules(to_safekeepers(name, "hole_in")),
    "reaches one safekeeper only": lambda system, name: system.network.set_rules(to_safekeepers(name, "hole")[:2]),
}


@pytest.fixture
def arena(make_cluster_of, folder):
    system = System(make_cluster_of, settings={"shared_buffers": "16MB"})
    create_tables(system.endpoints[0])
    # The life that made the tables has all of them in its memory.
    system.endpoints[0].stop()
    system.endpoints[0].start()
    arena = Arena(system.endpoints, folder)
    arena.system = system
    arena.start()
    yield arena
    arena.stopping.set()
    system.thaw()
    system.network.heal()


def assert_rules_hold(arena, kinds):
    events = list(arena.events)
    terms, ends = lives_in_logs(arena.endpoints)
    found = violations(events, terms, ends)
    assert not found, "\n".join(found[:10])
    for kind in kinds:
        assert any(event.kind == kind for event in events), f"no {kind} at all"
    return terms, ends


def test_a_replaced_compute_acknowledges_nothing_more(arena):
    rng = random.Random(fault_seed())
    system, network = arena.system, arena.system.network
    holder, rival = system.endpoints
    wait_for_progress(lambda: arena.commits(holder.name), 20, "the first commits", arena.state)
    for trouble in rng.sample(list(TROUBLES), len(TROUBLES)):
        agent, postgres = holder.agent_pid, holder.postgres_pids()
        # A read from storage would tell the holder of its end. It shall not hear of it before the other one has committed.
        arena.reading_held_back = True
        TROUBLES[trouble](system, holder.name)
        system.begin_start(rival.name)
        wait_for_progress(lambda: arena.commits(rival.name), 20, f"{rival.name}'s commits, {holder.name}: {trouble}", arena.state)
        arena.reading_held_back = False
        system.thaw()
        wait_for_progress(lambda: arena.commits(rival.name), 5, "more of them, with the other one awake", arena.state)
        network.heal()
        assert system.finish_starts() == []
        # Now it can hear of its end, and all of it ends.
        for pid in [agent, *postgres]:
            wait_until(lambda pid=pid: not alive(pid), PATIENCE_S, f"the end of {holder.name}'s process {pid} ({trouble})")
        wait_for_progress(lambda: arena.commits(rival.name), 5, "still more of them", arena.state)
        terms, ends = assert_rules_hold(arena, [SYNC, ASYNC, HOT, COLD])
        print(f"{trouble}: term {max(terms.values())}, {len(arena.events)} answers, {arena.audit(rival)} rows", flush=True)
        holder, rival = rival, holder
    assert ends, "nobody was ever fenced"
    commits = [(terms[event.life], event.completed) for event in arena.events if event.kind == SYNC]
    assert any(terms.get(life, term) < term and at < when for life, when in arena.attempts for term, at in commits), \
        "no replaced compute ever asked storage for a page"


def test_computes_that_start_at_the_same_time_never_both_acknowledge(arena):
    rng = random.Random(fault_seed())
    system = arena.system
    names = [endpoint.name for endpoint in system.endpoints]
    for round_number in range(6):
        for name in rng.sample(names, 2):
            if system.pid_of(name) is None:
                system.begin_start(name)
        system.finish_starts()  # one of them may have failed: fenced by the other
        endpoint = system.writable_endpoint(rng)
        wait_for_progress(lambda: arena.commits(endpoint.name), 10, f"round {round_number}, {endpoint.name}'s commits", arena.state)
        if rng.random() < 0.5:
            endpoint.stop("immediate")  # both start from nothing
    endpoint = system.writable_endpoint(rng)
    arena.stop()
    terms, _ = assert_rules_hold(arena, [SYNC, ASYNC, HOT, COLD])
    arena.audit(endpoint)
    print(f"{len(terms)} lives, {len(arena.events)} answers")


def alive(pid):
    try:
        return os.stat(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_rules_tell_wrong_answers_from_right_ones():
    terms = {("a", 1): 1, ("b", 2): 2}
    ends = {("a", 1): 30.0}
    right = [Event(SYNC, ("a", 1), 1, 2), Event(SYNC, ("b", 2), 10, 11), Event(SYNC, ("a", 1), 10.5, 12),
             Event(ASYNC, ("a", 1), 20, 21), Event(HOT, ("a", 1), 20, 21, [("a", 1)]), Event(HOT, ("b", 2), 20, 21, [("a", 1), ("b", 2)])]
    assert violations(right, terms, ends) == []
    for wrong in [Event(SYNC, ("a", 1), 12, 13), Event(COLD, ("a", 1), 12, 13), Event(ASYNC, ("a", 1), 31, 32),
                  Event(HOT, ("a", 1), 31, 32, []), Event(HOT, ("a", 1), 12, 13, [("b", 2)]), Event(HOT, ("c", 3), 1, 2)]:
        assert len(violations([*right, wrong], terms, ends)) == 1, wrong
