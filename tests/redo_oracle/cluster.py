"""A stock PostgreSQL cluster of any major version that logs check images of every record, and clients for it.

The server comes from --pg-dir (a folder with bin, lib and share: initdb, pg_ctl and postgres are enough) or --pg-bin;
psql, pgbench, pg_regress and isolationtester come from --client-bin, which may be of another version.
"""

import contextlib
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile

SETTINGS = {
    "listen_addresses": "''", "wal_consistency_checking": "all", "fsync": "off", "wal_keep_size": "60GB",
    "max_wal_size": "8GB", "checkpoint_timeout": "10min", "max_prepared_transactions": 64,
    "track_commit_timestamp": "on", "wal_level": "logical", "autovacuum_naptime": "5s", "shared_buffers": "256MB",
    "log_min_messages": "error", "archive_mode": "off", "synchronous_commit": "off",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, args):
        self.args = args
        self.bin = pathlib.Path(args.pg_dir) / "bin" if args.pg_dir else pathlib.Path(args.pg_bin)
        self.client = pathlib.Path(args.client_bin)
        self.pgxs = self.client.parent / "lib/pgxs/src"
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="redo_oracle_", dir=os.environ.get("TMPDIR", "/tmp")))
        if os.getuid() == 0:
            shutil.chown(self.dir, self.user)
        self.data = self.dir / "data"
        self.base = self.dir / "base"
        self.port = free_port()
        text = self.run(self.bin / "postgres", "--version", stdout=subprocess.PIPE, text=True).stdout
        self.full_version = re.search(r"(\d+)\.(\d+)", text).group(0)
        self.version = int(self.full_version.split(".")[0])

    def command(self, command, kwargs):
        """What subprocess needs to run it as the server's user, with the server's libraries and address."""
        if os.getuid() == 0:
            kwargs.update(user=self.user, group=self.user, extra_groups=[])
        env = dict(os.environ, PGHOST=str(self.dir), PGPORT=str(self.port), PGUSER="postgres", HOME=str(self.dir))
        env.setdefault("PGDATABASE", "postgres")
        if self.args.pg_dir and pathlib.Path(command[0]).parent == self.bin:
            env["LD_LIBRARY_PATH"] = str(self.bin.parent / "lib")
        kwargs.update(cwd=kwargs.pop("cwd", self.dir), env=dict(env, **kwargs.pop("env", {})))
        return [str(c) for c in command], kwargs

    def run(self, *command, check=True, **kwargs):
        command, kwargs = self.command(command, kwargs)
        return subprocess.run(command, check=check, **kwargs)

    def psql(self, *commands, database="postgres", file=None, check=True):
        arguments = [x for c in commands for x in ("-c", c)] + (["-f", file] if file else [])
        return self.run(self.client / "psql", "-qAt", "-d", database, *arguments, stdout=subprocess.PIPE, text=True,
                        check=check).stdout.split()

    def pgbench(self, *arguments, check=True):
        self.run(self.client / "pgbench", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=check)

    def create(self):
        args = self.args
        checksums = ["--data-checksums"] if args.checksums else ["--no-data-checksums"] if self.version >= 18 else []
        self.run(self.bin / "initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N",
                 *checksums, stdout=subprocess.DEVNULL)
        settings = dict(SETTINGS, port=self.port, unix_socket_directories=f"'{self.dir}'",
                        full_page_writes=args.full_page_writes, autovacuum="off" if args.record_fixture else "on",
                        wal_compression="off" if args.record_fixture else args.wal_compression)
        with open(self.data / "postgresql.auto.conf", "a") as conf:
            conf.writelines(f"{k} = {v}\n" for k, v in settings.items())
        shutil.copytree(self.data, self.base)

    def start(self):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-l", self.dir / "log", "-w", "start", stdout=subprocess.DEVNULL)

    def stop(self):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop", stdout=subprocess.DEVNULL, check=False)

    @contextlib.contextmanager
    def base_backup(self):
        """A base backup by the replication protocol, slow enough to last as long as the block: full-page images come
        though full_page_writes is off."""
        backup = "BASE_BACKUP (CHECKPOINT 'fast', MAX_RATE 32)" if self.version >= 15 else "BASE_BACKUP FAST MAX_RATE 32"
        command, kwargs = self.command([self.client / "psql", "replication=true", "-c", backup], {})
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kwargs)
        running = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase LIKE 'streaming database%'"
        try:
            while self.psql(running) != ["1"]:
                if process.poll() is not None:
                    raise RuntimeError("the base backup did not start")
            yield
            if self.psql(running) != ["1"]:
                raise RuntimeError("the base backup ended before the workload")
        finally:
            process.terminate()
            process.wait()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
