"""A Helium cluster under test: started, killed, looked at and cleaned up.

Everything is reached the way users reach it. Processes are ended by the pids in their pid files. Ports come
from a range below the kernel's ephemeral ports, a block for each cluster.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("HELIUM_TEST_BIN", ROOT / "build" / "bin"))
PG_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
USER = "cloud_admin"

# Where stock servers of other versions are: vNN/bin/postgres.
PG_DISTRIB_DIR = pathlib.Path(subprocess.run([ROOT / "scripts" / "pg_versions", "--dir"], capture_output=True, text=True,
                                             check=True).stdout.strip())

PORTS_PER_CLUSTER = 40
_port_blocks = itertools.count()


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


_reserved = {}  # first port of a block: a UDP socket there, which nothing else uses


def _reserve(first):
    """Until this process ends the block is its own: another test run that looks for ports meanwhile passes it over."""
    if first in _reserved:
        return True
    mark = socket.socket(type=socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", first))
    except OSError:
        mark.close()
        return False
    _reserved[first] = mark
    return True


def free_port_block():
    """The first of PORTS_PER_CLUSTER consecutive ports that nobody uses. Workers have ranges of their own."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "gw0")) or 0)
    # Two test runs on one machine rarely start in the same block.
    shift = os.getppid() % 20
    for block in _port_blocks:
        first = 10000 + (worker % 8) * 2600 + (block + shift) % 64 * PORTS_PER_CLUSTER
        if _reserve(first) and all(_is_free(port) for port in range(first, first + PORTS_PER_CLUSTER)):
            return first
        if block > 200:
            raise RuntimeError("no free ports for a cluster")


def wait_until(condition, timeout=30, what="the condition", interval=0.05):
    """Polls until condition() is true (its value is returned) or the timeout passed."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(interval)


def http(method, port, path, body=None, timeout=60):
    """One request; the JSON of a 2xx answer. Raises urllib.error.HTTPError otherwise."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method,
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read().decode()
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError:
        return text


def parse_lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def pid_alive(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    state, threads = fields[0], int(fields[17])
    return state not in "ZX" or threads > 1  # the first thread may be a zombie before the last one has gone


class HeliumError(Exception):
    """A `helium` command that failed: .status, .stderr."""

    def __init__(self, arguments, result):
        super().__init__(f"helium {' '.join(arguments)}: exit status {result.returncode}: {result.stderr.strip()}")
        self.status = result.returncode
        self.stderr = result.stderr
        self.stdout = result.stdout


class Cluster:
    def __init__(self, folder, start=True, tenant=True, init_options=(), tenant_options=(), run_as=None, bin_dir=BIN):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.repo = self.folder / ".helium"
        self.bin = pathlib.Path(bin_dir)
        self.run_as = list(run_as or [])  # a command prefix that changes the user
        self.expected_log = []
        self.first_port = free_port_block()
        self.pageserver_port = self.first_port
        self.pageserver_http = self.first_port + 1
        self.broker_port = self.first_port + 2
        self.broker_http = self.first_port + 3
        self.safekeeper_port = self.first_port + 4
        self.safekeeper_http = self.first_port + 10
        self.endpoint_port = self.first_port + 20
        self.endpoints = {}
        self.init_options = list(init_options)
        if start:
            self.init()
            self.start()
        if start and tenant:
            self.create_tenant(*tenant_options)

    # --- the command line

    def run(self, *arguments, check=True, timeout=180, env=None):
        environment = {key: value for key, value in os.environ.items() if key != "HELIUM_REPO_DIR"}
        environment |= env or {}
        result = subprocess.run([*self.run_as, self.bin / "helium", *arguments], cwd=self.folder, env=environment,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise HeliumError(arguments, result)
        return result

    def helium(self, *arguments, **options):
        return self.run(*arguments, **options).stdout

    def refused(self, *arguments, status=1):
        """Runs a command that must fail with one line that says why; returns that line."""
        result = self.run(*arguments, check=False)
        assert result.returncode == status, f"helium {arguments}: status {result.returncode}, {result.stderr}"
        first, *rest = result.stderr.rstrip("\n").split("\n")
        assert first.startswith("error: "), result.stderr
        assert not rest or "last lines of" in first, result.stderr
        return result.stderr

    def port_options(self):
        return ["--pageserver-port", str(self.pageserver_port), "--pageserver-http-port", str(self.pageserver_http),
                "--storage-broker-port", str(self.broker_port), "--storage-broker-http-port", str(self.broker_http),
                "--safekeeper-port", str(self.safekeeper_port), "--safekeeper-http-port", str(self.safekeeper_http),
                "--endpoint-port", str(self.endpoint_port)]

    def init(self):
        return self.helium("init", *self.port_options(), *self.init_options)

    def start(self):
        return self.helium("start")

    def stop(self, mode="fast"):
        return self.helium("stop", "-m", mode)

    def create_tenant(self, *options):
        output = self.helium("tenant", "create", "--set-default", *options)
        self.tenant_id = re.search(r"tenant ([0-9a-f]{32}) successfully created", output).group(1)
        self.main_id = re.search(r"initial timeline '([0-9a-f]{32})' at Lsn", output).group(1)
        self.initdb_lsn = re.search(r"at Lsn ([0-9A-F]+/[0-9A-F]+)", output).group(1)

    def branch(self, name, ancestor="main", lsn=None):
        """Creates a branch; returns (timeline id, LSN of the branch point)."""
        arguments = ["timeline", "branch", "--branch-name", name, "--ancestor-branch-name", ancestor]
        if lsn:
            arguments += ["--ancestor-start-lsn", lsn]
        output = self.helium(*arguments)
        found = re.search(r"Created timeline '([0-9a-f]{32})' at Lsn (\S+) for tenant", output)
        return found.group(1), found.group(2)

    def endpoint(self, name="main", branch=None, settings=None, start=True):
        """Creates (and starts) an endpoint on the branch of the same name, or on the one named."""
        endpoint = Endpoint(self, name, branch or name, settings or {})
        endpoint.create()
        self.endpoints[name] = endpoint
        if start:
            endpoint.start()
        return endpoint

    # --- daemons as processes

    def pid_file(self, daemon):
        if daemon == "pageserver":
            return self.repo / "pageserver_1" / "pageserver.pid"
        if daemon == "storage_broker":
            return self.repo / "storage_broker.pid"
        return self.repo / "safekeepers" / daemon / "safekeeper.pid"

    def pid(self, daemon):
        return int(self.pid_file(daemon).read_text())

    def kill(self, daemon):
        """kill -9 of "pageserver", "storage_broker" or "skN"."""
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not pid_alive(pid), what=f"the end of {daemon}", interval=0.01)

    def start_daemon(self, daemon):
        if daemon.startswith("sk"):
            return self.helium("safekeeper", "start", daemon.removeprefix("sk"))
        return self.helium(daemon, "start")

    def restart(self, daemon, pause=0.0):
        self.kill(daemon)
        time.sleep(pause)
        self.start_daemon(daemon)

    # --- HTTP

    def pageserver(self, method, path, body=None, **options):
        return http(method, self.pageserver_http, path, body, **options)

    def timeline_path(self, timeline_id=None):
        return f"/v1/tenant/{self.tenant_id}/timeline/{timeline_id or self.main_id}"

    def timeline(self, timeline_id=None):
        return self.pageserver("GET", self.timeline_path(timeline_id))

    def checkpoint(self, timeline_id=None):
        return self.pageserver("PUT", self.timeline_path(timeline_id) + "/checkpoint", timeout=300)

    def safekeeper(self, number, method="GET", path=None, body=None):
        return http(method, self.safekeeper_http + number - 1, path or self.timeline_path(), body)

    def wait_for_ingest(self, lsn, timeline_id=None, timeout=60):
        wait_until(lambda: parse_lsn(self.timeline(timeline_id)["last_record_lsn"]) >= parse_lsn(lsn), timeout,
                   f"ingest up to {lsn}")

    # --- logs

    def log_files(self):
        return [path for path in self.repo.rglob("*.log") if "pgdata" not in path.parts]

    def expect_log(self, *patterns):
        """Announces WARN and ERROR lines: regular expressions on the message."""
        self.expected_log += patterns

    def unexpected_log_lines(self):
        lines = []
        for path in self.log_files():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if not isinstance(record, dict) or record.get("level") not in ("WARN", "ERROR"):
                    continue
                if not any(re.search(pattern, line) for pattern in self.expected_log):
                    lines.append(f"{path.relative_to(self.repo)}: {line}")
        return lines

    # --- the end

    def destroy(self):
        """Ends every process of the cluster, whatever state a test left it in."""
        if not self.repo.exists():
            return
        with contextlib.suppress(Exception):
            self.run("stop", "-m", "immediate", check=False, timeout=60)
        for path in self.repo.rglob("*.pid"):
            if path.name == "postmaster.pid":
                continue
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                if os.fsencode(self.repo) in command:
                    os.kill(pid, signal.SIGKILL)


class Endpoint:
    def __init__(self, cluster, name, branch, settings):
        self.cluster = cluster
        self.name = name
        self.branch = branch
        self.settings = settings

    @property
    def folder(self):
        return self.cluster.repo / "endpoints" / self.name

    def create(self):
        arguments = ["endpoint", "create", self.name, "--branch-name", self.branch]
        for setting, value in self.settings.items():
            arguments += ["-c", f"{setting}={value}"]
        self.cluster.helium(*arguments)
        registration = json.loads((self.folder / "endpoint.json").read_text())
        self.pg_port = registration["pg_port"]
        self.http_port = registration["http_port"]
        self.timeline_id = registration["timeline_id"]

    def start(self):
        return self.cluster.helium("endpoint", "start", self.name)

    def stop(self, mode="fast", destroy=False):
        return self.cluster.helium("endpoint", "stop", self.name, "-m", mode, *(["--destroy"] if destroy else []))

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def forget(self):
        """Deletes everything local to the (stopped) endpoint and registers it anew."""
        shutil.rmtree(self.folder)
        self.create()

    @property
    def agent_pid(self):
        return int((self.folder / "compute_ctl.pid").read_text())

    def postgres_pids(self):
        """The postmaster and its children: processes of PostgreSQL below this agent."""
        return [pid for pid in _descendants(self.agent_pid) if pid != self.agent_pid]

    def status(self):
        return http("GET", self.http_port, "/v1/status")

    # --- SQL

    def dsn(self, database="postgres"):
        return f"host=127.0.0.1 port={self.pg_port} user={USER} dbname={database} connect_timeout=10"

    def connect(self, database="postgres", autocommit=True):
        return psycopg.connect(self.dsn(database), autocommit=autocommit)

    def sql(self, query, *parameters, database="postgres"):
        """Runs one statement; its rows, if it has any."""
        with self.connect(database) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, query, *parameters, database="postgres"):
        return self.sql(query, *parameters, database=database)[0][0]

    def lsn(self):
        """Everything up to here is acknowledged."""
        return self.value("SELECT pg_current_wal_flush_lsn()::text")

    def wait_for_sql(self, timeout=60):
        def answers():
            try:
                return self.value("SELECT 1") == 1
            except psycopg.Error:
                return False
        wait_until(answers, timeout, f"endpoint {self.name} taking connections")

    # --- PostgreSQL's own tools

    def tool(self, name, *arguments, check=True, timeout=300, database="postgres"):
        env = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(self.pg_port), "PGUSER": USER, "PGDATABASE": database}
        result = subprocess.run([PG_BIN / name, *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, timeout=timeout)
        if check:
            assert result.returncode == 0, f"{name} {arguments}: {result.stdout[-2000:]}{result.stderr[-2000:]}"
        return result

    def pgbench_init(self, scale=1, *options):
        self.tool("pgbench", "-i", "-q", "-s", str(scale), *options)

    def pgbench(self, seconds=5, clients=4, *options):
        """Runs pgbench to its end; the number of transactions."""
        result = self.tool("pgbench", "-n", "-T", str(seconds), "-c", str(clients), "-j", "2", *options,
                           timeout=seconds + 120)
        return int(re.search(r"transactions actually processed: (\d+)", result.stdout).group(1))

    def start_pgbench(self, seconds, clients=4, *options):
        return PgbenchRun(self, seconds, clients, options)

    def check_pgbench_sums(self):
        """TPC-B's invariant; returns the number of history rows."""
        with self.connect(autocommit=False) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            def scalar(query):
                return connection.execute(query).fetchone()[0]
            accounts = scalar("SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts")
            tellers = scalar("SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers")
            branches = scalar("SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches")
            history = scalar("SELECT coalesce(sum(delta), 0) FROM pgbench_history")
            assert accounts == tellers == branches == history, (accounts, tellers, branches, history)
            return scalar("SELECT count(*) FROM pgbench_history")

    def amcheck(self):
        self.sql("CREATE EXTENSION IF NOT EXISTS amcheck")
        result = self.tool("pg_amcheck", "--heapallindexed", "--parent-check", "--no-dependent-toast", "--all",
                           "--install-missing", check=False)
        assert result.returncode == 0, result.stdout + result.stderr


class PgbenchRun:
    """pgbench in the background. Its log counts the transactions that clients saw committed."""

    def __init__(self, endpoint, seconds, clients, options):
        self.endpoint = endpoint
        env = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(endpoint.pg_port), "PGUSER": USER,
                            "PGDATABASE": "postgres"}
        self.process = subprocess.Popen(
            [PG_BIN / "pgbench", "-n", "-T", str(seconds), "-c", str(clients), "-j", "2", "-P", "1", *options], env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.timeout = seconds + 120

    def finish(self):
        """Waits for the end; transactions processed. Fails when a client was aborted."""
        stdout, stderr = self.process.communicate(timeout=self.timeout)
        assert self.process.returncode == 0, stdout[-2000:] + stderr[-3000:]
        return int(re.search(r"transactions actually processed: (\d+)", stdout).group(1))

    def abandon(self):
        """Waits for the end of a run whose server went away."""
        stdout, _ = self.process.communicate(timeout=self.timeout)
        found = re.search(r"transactions actually processed: (\d+)", stdout)
        return int(found.group(1)) if found else 0


def _descendants(pid):
    children = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        found.append(current)
        todo += children.get(current, [])
    return found
