#!/usr/bin/python3
"""Records WAL of a stock PostgreSQL with wal_consistency_checking=all and checks Helium's redo against it.

    tests/redo_oracle/run.py --oracle build/bin/redo_oracle [--full-page-writes on|off] [--indexes] [--regress SOURCE_DIR]
                              [--contrib SOURCE_DIR]

Goal: zero differences, counted per record type where redo really ran.
Method: initdb, copy of the data directory, start, workload.sql plus a concurrent pgbench run (or the core regression
suite), clean stop, then redo_oracle over the whole WAL, from the copy on, and against the files that are left.
Runs the servers as user postgres when called by root; ends only what it started.
"""

import argparse
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile

CONTRIB = ["bloom", "btree_gin", "btree_gist", "citext", "cube", "hstore", "intarray", "ltree", "pageinspect", "pg_trgm",
           "pg_visibility", "seg", "amcheck"]
HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, args):
        self.bin = pathlib.Path(args.pg_bin)
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="redo_oracle_", dir="/tmp"))
        if os.getuid() == 0:
            shutil.chown(self.dir, self.user)
        self.data = self.dir / "data"
        self.base = self.dir / "base"
        self.port = free_port()
        self.args = args

    def run(self, *command, check=True, **kwargs):
        if os.getuid() == 0:
            kwargs["user"] = self.user
            kwargs["group"] = self.user
            kwargs["extra_groups"] = []
        env = dict(os.environ, PGHOST=str(self.dir), PGPORT=str(self.port), PGUSER="postgres", PGDATABASE="postgres",
                   HOME=str(self.dir))
        return subprocess.run([str(c) for c in command], check=check, cwd=kwargs.pop("cwd", self.dir), env=env, **kwargs)

    def create(self):
        options = ["--data-checksums"] if self.args.checksums else []
        self.run(self.bin / "initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C",
                 "-N", *options, stdout=subprocess.DEVNULL)
        settings = {
            "port": self.port, "listen_addresses": "''", "unix_socket_directories": f"'{self.dir}'",
            "wal_consistency_checking": "all", "full_page_writes": self.args.full_page_writes, "fsync": "off",
            "wal_keep_size": "60GB", "max_wal_size": "8GB", "checkpoint_timeout": "10min",
            "wal_compression": "off" if self.args.record_fixture else "lz4", "autovacuum": "off" if self.args.record_fixture else "on",
            "max_prepared_transactions": 64, "track_commit_timestamp": "on", "wal_level": "logical",
            "autovacuum_naptime": "5s", "shared_buffers": "256MB", "log_min_messages": "error",
            "archive_mode": "off", "synchronous_commit": "off",
        }
        with open(self.data / "postgresql.auto.conf", "a") as conf:
            conf.writelines(f"{k} = {v}\n" for k, v in settings.items())
        shutil.copytree(self.data, self.base)

    def start(self):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-l", self.dir / "log", "-w", "start", stdout=subprocess.DEVNULL)

    def stop(self):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop", stdout=subprocess.DEVNULL, check=False)

    def workload(self):
        self.run(self.bin / "psql", "-q", "-f", HERE / "workload.sql", stdout=subprocess.DEVNULL)
        self.run(self.bin / "pgbench", "-i", "-q", "-s", "2", stderr=subprocess.DEVNULL)
        self.run(self.bin / "pgbench", "-n", "-c", "4", "-t", self.args.transactions, stdout=subprocess.DEVNULL)
        self.run(self.bin / "pgbench", "-n", "-c", "6", "-t", self.args.transactions, "-f", HERE / "concurrent.sql",
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        self.run(self.bin / "psql", "-q", "-c", "VACUUM (FREEZE)", "-c", "CREATE DATABASE copied TEMPLATE postgres STRATEGY file_copy",
                 "-c", "CREATE DATABASE logged TEMPLATE postgres STRATEGY wal_log")
        for database in ("copied", "logged"):
            self.run(self.bin / "psql", "-q", "-d", database, "-c", "UPDATE t SET k = k + 2", "-c", "VACUUM")

    def indexes(self):
        """Index types, with autovacuum out of the way; then writers that meet each other's splits."""
        self.run(self.bin / "psql", "-q", "-c", "ALTER SYSTEM SET autovacuum = off", "-c", "SELECT pg_reload_conf()",
                 stdout=subprocess.DEVNULL)
        self.run(self.bin / "psql", "-q", "-f", HERE / "indexes.sql", stdout=subprocess.DEVNULL)
        self.run(self.bin / "pgbench", "-n", "-c", "6", "-t", self.args.transactions, "-f", HERE / "concurrent_indexes.sql",
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        self.run(self.bin / "psql", "-q", "-c", "VACUUM")

    def regress(self):
        """The core suite; regress.so is built when the source tree has none."""
        source = pathlib.Path(self.args.regress)
        work = self.dir / "regress"
        shutil.copytree(source, work)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", self.user, work], check=True)
        library = work / "regress.so"
        if not library.exists():
            include = subprocess.run([self.bin / "pg_config", "--includedir-server"], check=True, capture_output=True,
                                     text=True).stdout.strip()
            self.run("cc", "-shared", "-fPIC", "-O1", "-I", include, "-DDLSUFFIX=\".so\"", "-o", library,
                     work / "regress.c")
        pg_regress = self.bin.parent / "lib/pgxs/src/test/regress/pg_regress"
        self.run(pg_regress, f"--bindir={self.bin}", f"--dlpath={work}", f"--inputdir={work}", f"--outputdir={work}",
                 f"--schedule={work}/parallel_schedule", f"--host={self.dir}", f"--port={self.port}", "--user=postgres",
                 "--max-concurrent-tests=20", "--dbname=regression", cwd=work, check=False)


    def contrib(self):
        """The suites of extensions with access methods, operator classes or WAL of their own."""
        source = pathlib.Path(self.args.contrib)
        pg_regress = self.bin.parent / "lib/pgxs/src/test/regress/pg_regress"
        for module in CONTRIB:
            work = self.dir / module
            shutil.copytree(source / module, work)
            if os.getuid() == 0:
                subprocess.run(["chown", "-R", self.user, work], check=True)
            makefile = (work / "Makefile").read_text().replace("\\\n", " ")
            tests = re.search(r"^REGRESS\s*=(.*)$", makefile, re.M).group(1).split()
            result = self.run(pg_regress, f"--bindir={self.bin}", f"--inputdir={work}", f"--outputdir={work}",
                              f"--host={self.dir}", f"--port={self.port}", "--user=postgres", f"--dbname=contrib_{module}",
                              *tests, cwd=work, check=False, capture_output=True, text=True)
            print(f"{module}: {result.stdout.strip().splitlines()[-1] if result.returncode else 'passed'}")
        databases = [f"contrib_{module}" for module in CONTRIB]
        for database in databases:
            self.run(self.bin / "psql", "-q", "-d", database, "-c", "VACUUM", check=False)

    def record_fixture(self, file):
        """The whole segments of a fixture's WAL, cut at its end, as one zstd file."""
        sql = "fixture_indexes.sql" if self.args.indexes else "fixture.sql"
        psql = lambda *commands: self.run(self.bin / "psql", "-qAt", *[x for c in commands for x in ("-c", c)],
                                          stdout=subprocess.PIPE, text=True).stdout.split()
        psql("CHECKPOINT", "SELECT pg_switch_wal()", "SELECT txid_current()")
        first = psql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0]
        self.run(self.bin / "psql", "-q", "-f", HERE / sql, stdout=subprocess.DEVNULL)
        psql("CHECKPOINT")
        name, offset = psql("SELECT file_name, file_offset FROM pg_walfile_name_offset(pg_current_wal_flush_lsn())")[0].split("|")
        wal = b""
        for path in sorted((self.data / "pg_wal").glob("[0-9A-F]*")):
            if first <= path.name <= name and len(path.name) == 24:
                data = path.read_bytes()
                wal += data[:int(offset)] if path.name == name else data
        (self.dir / "fixture.wal").write_bytes(wal)
        subprocess.run(["zstd", "-q", "-f", "-19", "--long=27", self.dir / "fixture.wal", "-o", file], check=True)
        print(f"{len(wal)} bytes of WAL, {pathlib.Path(file).stat().st_size} compressed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", help="the redo_oracle program")
    parser.add_argument("--record-fixture", help="only write src/redo/testdata/NAME.wal.zst: of fixture.sql, or fixture_indexes.sql with --indexes")
    parser.add_argument("--pg-bin", default="/usr/lib/postgresql/15/bin")
    parser.add_argument("--pg-version", default="15")
    parser.add_argument("--full-page-writes", default="off", choices=["on", "off"])
    parser.add_argument("--checksums", action="store_true")
    parser.add_argument("--transactions", default="500", help="per pgbench client")
    parser.add_argument("--regress", help="src/test/regress of the PostgreSQL sources: run the core suite instead")
    parser.add_argument("--contrib", help="contrib of the PostgreSQL sources: run the suites of index extensions instead")
    parser.add_argument("--indexes", action="store_true", help="the workload for hash, GIN, GiST, SP-GiST, BRIN and bloom")
    parser.add_argument("--keep", action="store_true", help="leave the directory there")
    args = parser.parse_args()

    cluster = Cluster(args)
    try:
        cluster.create()
        cluster.start()
        try:
            if args.record_fixture:
                cluster.record_fixture(args.record_fixture)
                return 0
            if args.regress:
                cluster.regress()
            elif args.contrib:
                cluster.contrib()
            elif args.indexes:
                cluster.indexes()
            else:
                cluster.workload()
        finally:
            cluster.stop()
        return subprocess.run([args.oracle, "--wal", cluster.data / "pg_wal", "--base", cluster.base, "--final",
                               cluster.data, "--pg-version", args.pg_version]).returncode
    finally:
        if args.keep:
            print("kept", cluster.dir)
        else:
            shutil.rmtree(cluster.dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
