"""A stock PostgreSQL standby of a branch: made by pg_basebackup from an endpoint, fed by a safekeeper."""

import os
import pathlib
import re
import subprocess

import psycopg

from harness import PG_BIN, USER, parse_lsn, wait_until

AS_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


def connection_string(cluster, timeline_id, safekeeper=1, application_name=None, **settings):
    """For tools and for primary_conninfo: which timeline is meant travels in the options."""
    options = {"tenant_id": cluster.tenant_id, "timeline_id": timeline_id} | settings
    text = (f"host=127.0.0.1 port={cluster.safekeeper_port + safekeeper - 1} user={USER} "
            "options='" + " ".join(f"-c {name}={value}" for name, value in options.items()) + "'")
    return text + (f" application_name={application_name}" if application_name else "")


class StockStandby:
    """Its data directory lies in `folder`; PostgreSQL runs as an ordinary user, as it must."""

    def __init__(self, endpoint, folder, port):
        self.endpoint = endpoint
        self.cluster = endpoint.cluster
        self.data = pathlib.Path(folder)
        self.port = port
        self.log = self.data.with_suffix(".log")

    def run(self, name, *arguments, timeout=120, check=True):
        environment = os.environ | {"PGHOST": "127.0.0.1", "PGUSER": USER, "PGDATABASE": "postgres", "LC_ALL": "C"}
        environment.setdefault("PGPORT", str(self.port))
        result = subprocess.run([*AS_USER, PG_BIN / name, *arguments], env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, cwd="/")
        assert not check or result.returncode == 0, f"{name}: {result.stdout[-2000:]}{result.stderr[-3000:]}"
        return result

    def backup(self, *options):
        """pg_basebackup from the endpoint, checked by pg_verifybackup."""
        self.data.parent.chmod(0o777)
        self.run("pg_basebackup", "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.endpoint.pg_port), "-U", USER,
                 "-c", "fast", *options)
        self.run("pg_verifybackup", *(["-n"] if "none" in options else []), str(self.data))

    def follow(self, safekeeper=1, name="stock_standby"):
        """Makes it a standby of the branch at that safekeeper."""
        conninfo = connection_string(self.cluster, self.endpoint.timeline_id, safekeeper, name).replace("'", "''")
        with open(self.data / "postgresql.auto.conf", "a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                           f"shared_buffers = 16MB\nfsync = off\nhot_standby_feedback = on\n"
                           f"wal_receiver_status_interval = 1s\nprimary_conninfo = '{conninfo}'\n")
        signal = self.data / "standby.signal"
        signal.touch()
        if AS_USER:
            subprocess.run(["chown", "postgres:postgres", signal], check=True)

    def start(self):
        self.log.touch()
        self.log.chmod(0o666)
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "60", "start")

    def stop(self, mode="fast"):
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop", check=False)

    def sql(self, query, database="postgres"):
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user={USER} dbname={database} connect_timeout=10") as it:
            return it.execute(query).fetchall()

    def value(self, query, database="postgres"):
        return self.sql(query, database)[0][0]

    def wait_for_replay(self, lsn, timeout=60):
        wait_until(lambda: parse_lsn(self.value("SELECT pg_last_wal_replay_lsn()::text")) >= parse_lsn(lsn), timeout,
                   f"the standby's replay of WAL up to {lsn}")

    def system_id(self):
        return re.search(r"system identifier:\s+(\d+)", self.run("pg_controldata", str(self.data)).stdout).group(1)

    def amcheck(self):
        """As far as it goes without locks: every B-tree, and that each heap tuple is in its index."""
        result = self.run("pg_amcheck", "-h", "127.0.0.1", "-p", str(self.port), "--heapallindexed", "--all", check=False)
        assert result.returncode == 0, result.stdout + result.stderr

    def complaints(self):
        """Lines of its log that speak of damage."""
        return [line for line in self.log.read_text(errors="replace").splitlines()
                if re.search(r"PANIC|WARNING|inconsistent|checksum|corrupt", line)]
