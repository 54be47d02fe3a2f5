"""Random faults. Each is a name, for the log of a run, and something that begins it; System.heal() ends them all.

A menu is a list of functions of (system, rng) that begin one fault and return what it was, in words. All choices come
from the given rng, so that a seed names a whole schedule; what processes do at the same time is theirs.
"""

from network import around
from system import ENDPOINTS

LINK_MODES = ["cut", "hole", "hole_out", "hole_in", "half_open", "half_open_in"]


class Nemesis:
    def __init__(self, system, rng, replacements=3):
        self.system = system
        self.replacements_left = replacements if "replace" in system.cluster.helium("safekeeper", "--help") else 0
        self.rng = rng
        self.rules = []

    def begin(self):
        """One to three faults at once; what they are."""
        menu = [self.kill, self.kill, self.freeze, self.freeze, self.cut_link, self.cut_link, self.isolate, self.delay,
                self.take_over, self.cut_clients, self.kill_postmaster, self.replace_safekeeper]
        return [fault() for fault in self.rng.sample(menu, self.rng.randint(1, 3))]

    def duration_s(self):
        """How long they last is a part of the schedule. The long ones outlast the daemons' own timeouts."""
        return self.rng.uniform(4, 9) if self.rng.random() < 0.1 else self.rng.uniform(0.2, 2)

    def end(self):
        self.rules = []
        failed_starts = self.system.heal()
        self.system.finish_replacement(self.rng)
        return failed_starts

    def add_rules(self, rules):
        self.rules = [*rules, *self.rules]
        self.system.network.set_rules(self.rules)

    # --- what there is

    def victims(self):
        """A minority of safekeepers, or a majority, or another daemon, or a compute."""
        rng = self.rng
        kind = rng.choice(["one", "one", "two", "three", "pageserver", "storage_broker", "compute", "compute"])
        count = {"one": 1, "two": 2, "three": 3}.get(kind)
        if count:
            return rng.sample(self.system.safekeepers(), count)
        if kind == "compute":
            running = self.system.running_endpoints()
            return [running[-1].name] if running else [rng.choice(ENDPOINTS)]
        return [kind]

    def kill(self):
        victims = self.victims()
        for name in victims:
            self.system.kill(name)
        return f"kill -9 {' '.join(victims)}"

    def kill_postmaster(self):
        for name in ENDPOINTS:
            if self.system.pid_of(name):
                self.system.kill_postmaster(name)
                return f"kill -9 postmaster of {name}"
        return "no postmaster to kill"

    def freeze(self):
        victims = self.victims()
        for name in victims:
            self.system.freeze(name)
        return f"SIGSTOP {' '.join(victims)}"

    def cut_link(self):
        """Between two daemons, as the source sees it."""
        safekeepers = self.system.safekeepers()
        source = self.rng.choice(["pageserver", *safekeepers, *ENDPOINTS, *ENDPOINTS])
        others = "pageserver" if source in ENDPOINTS else "storage_broker"
        target = self.rng.choice([name for name in [*safekeepers, others] if name != source])
        mode = self.rng.choice(LINK_MODES)
        self.add_rules([(source, target, mode)])
        return f"{mode} {source} -> {target}"

    def isolate(self):
        """All links of one daemon, clients' excepted."""
        name = self.rng.choice([*self.system.daemons(), *ENDPOINTS, *ENDPOINTS])
        mode = self.rng.choice(LINK_MODES)
        self.add_rules([(source, target, mode) for source, target, _ in around(name, mode) if source != "*" or name not in ENDPOINTS])
        return f"{mode} around {name}"

    def delay(self):
        name = self.rng.choice([*self.system.daemons(), *ENDPOINTS])
        milliseconds = self.rng.choice([2, 10, 50])
        self.add_rules(around(name, "delay", milliseconds))
        return f"{milliseconds} ms around {name}"

    def cut_clients(self):
        """Whatever was on its way has an outcome that nobody knows."""
        name = self.rng.choice(ENDPOINTS)
        self.add_rules([("clients", name, self.rng.choice(["cut", "hole", "hole_in"]))])
        return f"{self.rules[0][2]} clients -> {name}"

    def take_over(self):
        idle = [name for name in ENDPOINTS if self.system.pid_of(name) is None]
        if not idle:
            return "both endpoints run"
        name = self.rng.choice(idle)
        self.system.begin_start(name)
        return f"start {name}"

    def replace_safekeeper(self):
        if self.replacements_left == 0 or self.system.replacing is not None:
            return self.kill()
        self.replacements_left -= 1
        old = self.rng.choice(self.system.safekeepers())
        new = self.system.begin_replacement(old)
        return f"replace {old} by {new}"
