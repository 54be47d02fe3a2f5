"""A cluster under fire: processes that are killed and frozen, links that fail, computes that take each other's place.

Everything that a fault did is undone by heal(), which also proves that no daemon ended by itself. Processes are known by
the pids of their pid files.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import psycopg

from harness import HeliumError, http, pid_alive
from network import ProxiedCluster

ENDPOINTS = ("a", "b")

# How long nothing at all may happen before a test gives up. On an idle machine everything here takes a second or two.
PATIENCE_S = 120


def fault_seed():
    """The seed of this run: HELIUM_FAULT_SEED, or a new one. Print it: it is what a failure is replayed with."""
    seed = int(os.environ.get("HELIUM_FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"HELIUM_FAULT_SEED={seed}", flush=True)
    return seed


def wait_for_progress(count, wanted, what, stuck=None):
    """Waits until count() has risen by `wanted`. Gives up when it has not risen at all for PATIENCE_S."""
    first = last = count()
    deadline = time.monotonic() + PATIENCE_S
    while last - first < wanted:
        time.sleep(0.01)
        present = count()
        if present > last:
            last, deadline = present, time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: nothing for {PATIENCE_S} s, {last - first} of {wanted}" + (f"; {stuck()}" if stuck else ""))


class System:
    def __init__(self, make_cluster_of, settings=None):
        self.cluster = make_cluster_of(ProxiedCluster, endpoints=ENDPOINTS)
        self.cluster.expect_log(".")  # whoever loses somebody says so
        self.network = self.cluster.network
        self.endpoints = [self.cluster.proxied_endpoint(name, settings=settings) for name in ENDPOINTS]
        self.endpoints[0].start()
        self.killed = set()
        self.frozen = []  # pids
        self.starting = []  # (endpoint, process of `helium endpoint start`)
        self.replacing = None  # (arguments, process) of `helium safekeeper replace`

    # --- what there is

    def safekeepers(self):
        """The names of those that are members; replaced ones are not."""
        config = json.loads((self.cluster.repo / "config.json").read_text())
        return [f"sk{each['id']}" for each in config["safekeepers"] if each.get("role", "active") == "active"]

    def daemons(self):
        return [*self.safekeepers(), "pageserver", "storage_broker"]

    # --- processes

    def pid_of(self, name):
        """None if it does not run."""
        with contextlib.suppress(OSError, ValueError):
            pid = self.cluster.endpoints[name].agent_pid if name in ENDPOINTS else self.cluster.pid(name)
            return pid if pid_alive(pid) else None
        return None

    def kill(self, name):
        """kill -9. Of an endpoint: its agent, which takes PostgreSQL along."""
        self.killed.add(name)
        if pid := self.pid_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_postmaster(self, name):
        """kill -9 of PostgreSQL's first process: the agent starts the compute anew."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.kill(self.cluster.endpoints[name].status()["postgres_pid"], signal.SIGKILL)

    def freeze(self, name):
        """SIGSTOP: it is there, and does nothing. Of an endpoint: agent and PostgreSQL."""
        pid = self.pid_of(name)
        if pid is None:
            return
        pids = [pid, *(self.cluster.endpoints[name].postgres_pids() if name in self.cluster.endpoints else [])]
        for each in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
                self.frozen.append(each)

    def freeze_agent(self, name):
        """SIGSTOP of an endpoint's agent alone: PostgreSQL runs on, with nobody to ask."""
        if pid := self.pid_of(name):
            os.kill(pid, signal.SIGSTOP)
            self.frozen.append(pid)

    def thaw(self):
        # Backends first: whatever they may do before their agent hears that it was replaced, they get to do.
        for pid in reversed(self.frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.frozen.clear()

    # --- computes

    def begin_start(self, name):
        """Starts an endpoint in the background; whichever holds the branch loses it. May fail while faults last."""
        self.starting.append((name, self.in_background("endpoint", "start", name)))

    def in_background(self, *arguments):
        return subprocess.Popen([self.cluster.bin / "helium", *arguments], cwd=self.cluster.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={key: value for key, value in os.environ.items() if key != "HELIUM_REPO_DIR"})

    def finish_starts(self):
        """Returns what failed: (endpoint, message)."""
        failed = []
        for name, process in self.starting:
            _, stderr = process.communicate(timeout=2 * PATIENCE_S)
            if process.returncode != 0:
                failed.append((name, stderr))
        self.starting.clear()
        return failed

    def running_endpoints(self):
        running = []
        for endpoint in self.endpoints:
            with contextlib.suppress(OSError, ValueError):
                status = http("GET", endpoint.http_port, "/v1/status", timeout=5)
                if status["status"] == "running":
                    running.append((status["term"], endpoint))
        return [endpoint for _, endpoint in sorted(running, key=lambda each: each[0])]

    def writable_endpoint(self, rng):
        """One that commits; starts one if none does. The highest term is asked first."""
        deadline = time.monotonic() + PATIENCE_S
        reasons = []
        while time.monotonic() < deadline:
            for endpoint in reversed(self.running_endpoints()):
                try:
                    endpoint.sql("CREATE TABLE IF NOT EXISTS probes (at timestamptz); INSERT INTO probes VALUES (now())")
                    return endpoint
                except psycopg.Error as error:
                    reasons.append(f"{endpoint.name}: {error}")
            alive = [endpoint for endpoint in self.endpoints if self.pid_of(endpoint.name)]
            if not alive:
                with contextlib.suppress(HeliumError):  # a predecessor may just be dying
                    rng.choice(self.endpoints).start()
            time.sleep(0.05)
        raise AssertionError(f"no endpoint commits: {reasons[-3:]}")

    # --- safekeepers

    def begin_replacement(self, old):
        """Another safekeeper, with an empty disk, takes the place of this one, while faults last."""
        config = json.loads((self.cluster.repo / "config.json").read_text())
        new = max(each["id"] for each in config["safekeepers"]) + 1
        arguments = ("safekeeper", "replace", old.removeprefix("sk"), str(new))
        self.replacing = (arguments, self.in_background(*arguments))
        return f"sk{new}"

    def finish_replacement(self, rng):
        """The command may have failed, or is killed; then another one goes on from where it was."""
        if self.replacing is None:
            return
        arguments, process = self.replacing
        self.replacing = None
        if rng.random() < 0.5:
            process.kill()
        _, message = process.communicate(timeout=2 * PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while process.returncode != 0:
            process = self.in_background(*arguments)
            _, message = process.communicate(timeout=2 * PATIENCE_S)
            assert time.monotonic() < deadline or process.returncode == 0, f"{' '.join(arguments)}: {message}"

    # --- the end of a round

    def heal(self):
        """Network, frozen processes, killed ones: all as it was, but for who runs the branch."""
        self.thaw()
        self.network.heal()
        gone = {name for name in self.daemons() if self.pid_of(name) is None}
        assert gone <= self.killed, f"ended by themselves: {sorted(gone - self.killed)}"
        self.killed.clear()
        if gone:
            self.cluster.start()
        return self.finish_starts()
