#!/usr/bin/python3
"""Records WAL of a stock PostgreSQL with wal_consistency_checking=all and checks Helium's redo against it.

    tests/redo_oracle/run.py --oracle build/bin/redo_oracle [--pg-dir DIR] [--full-page-writes on|off] [--checksums]
                             [--base-backup] [--indexes | --regress DIR | --isolation DIR | --contrib DIR | --module DIR]

Goal: zero differences, counted per record type where redo really ran.
Method: initdb, copy of the data directory, start, workload.sql plus concurrent pgbench runs (or the index workload, or
PostgreSQL's own suites), clean stop, then redo_oracle over the whole WAL, from the copy on, and against the files that
are left. Servers of 14 to 18: --pg-dir names a folder with bin, lib and share. Runs the servers as user postgres when
called by root; ends only what it started.
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys

import suites
from cluster import Cluster

HERE = pathlib.Path(__file__).resolve().parent


def workload(cluster):
    transactions = cluster.args.transactions
    cluster.psql(file=HERE / "workload.sql")
    cluster.pgbench("-i", "-q", "-s", "2")
    cluster.pgbench("-n", "-c", "4", "-t", transactions)
    cluster.pgbench("-n", "-c", "6", "-t", transactions, "-f", HERE / "concurrent.sql", check=False)
    cluster.psql("VACUUM (FREEZE)")
    copies = {"copied": " STRATEGY file_copy", "logged": " STRATEGY wal_log"} if cluster.version >= 15 else {"copied": ""}
    for database, strategy in copies.items():
        cluster.psql(f"CREATE DATABASE {database} TEMPLATE postgres{strategy}")
        cluster.psql("UPDATE t SET k = k + 2", "VACUUM", database=database)


def indexes(cluster):
    """Index types, with autovacuum out of the way; then writers that meet each other's splits."""
    cluster.psql("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
    cluster.psql(file=HERE / "indexes.sql")
    cluster.pgbench("-n", "-c", "6", "-t", cluster.args.transactions, "-f", HERE / "concurrent_indexes.sql", check=False)
    cluster.psql("VACUUM")


def record_fixture(cluster, file):
    """The whole segments of a fixture's WAL, cut at its end, as one zstd file."""
    cluster.psql("CHECKPOINT", "SELECT pg_switch_wal()", "SELECT txid_current()")
    first = cluster.psql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0]
    cluster.psql(file=HERE / ("fixture_indexes.sql" if cluster.args.indexes else "fixture_maps.sql" if cluster.args.maps
                              else "fixture.sql"))
    cluster.psql("CHECKPOINT")
    name, offset = cluster.psql("SELECT file_name, file_offset FROM pg_walfile_name_offset(pg_current_wal_flush_lsn())")[0].split("|")
    wal = b""
    for path in sorted((cluster.data / "pg_wal").glob("[0-9A-F]*")):
        if first <= path.name <= name and len(path.name) == 24:
            data = path.read_bytes()
            wal += data[:int(offset)] if path.name == name else data
    (cluster.dir / "fixture.wal").write_bytes(wal)
    subprocess.run(["zstd", "-q", "-f", "-19", "--long=27", cluster.dir / "fixture.wal", "-o", file], check=True)
    print(f"{len(wal)} bytes of WAL, {pathlib.Path(file).stat().st_size} compressed")


def produce_wal(cluster):
    args = cluster.args
    named = {suites.core: args.regress, suites.isolation: args.isolation, suites.contrib: args.contrib}
    for suite, source in named.items():
        if source:
            suite(cluster, source)
    for module in args.module:
        suites.contrib(cluster, pathlib.Path(module).parent, [pathlib.Path(module).name])
    if args.indexes:
        indexes(cluster)
    elif not args.module and not any(named.values()):
        workload(cluster)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", help="the redo_oracle program")
    parser.add_argument("--record-fixture", help="only write src/redo/testdata/NAME.wal.zst: of fixture.sql, fixture_indexes.sql with --indexes, "
                        "fixture_maps.sql with --maps")
    parser.add_argument("--maps", action="store_true", help="see --record-fixture")
    parser.add_argument("--pg-dir", help="a PostgreSQL with bin, lib and share; initdb, pg_ctl and postgres are enough")
    parser.add_argument("--pg-bin", default="/usr/lib/postgresql/15/bin")
    parser.add_argument("--client-bin", default="/usr/lib/postgresql/15/bin", help="psql, pgbench; pg_regress beside it")
    parser.add_argument("--pg-include", action="append", help="server headers of that version, for regress.so")
    parser.add_argument("--full-page-writes", default="off", choices=["on", "off"])
    parser.add_argument("--wal-compression", default="on", help="pglz by default")
    parser.add_argument("--checksums", action="store_true")
    parser.add_argument("--base-backup", action="store_true", help="let a base backup run the whole time")
    parser.add_argument("--transactions", default="500", help="per pgbench client")
    parser.add_argument("--regress", help="src/test/regress of PostgreSQL's sources: run the core suite instead")
    parser.add_argument("--isolation", help="src/test/isolation of PostgreSQL's sources: run the isolation suite instead")
    parser.add_argument("--contrib", help="contrib of PostgreSQL's sources: run the suites of index extensions instead")
    parser.add_argument("--module", action="append", default=[], help="sources of one extension, installed in the server: run its suite")
    parser.add_argument("--indexes", action="store_true", help="the workload for hash, GIN, GiST, SP-GiST, BRIN and bloom")
    parser.add_argument("--keep", action="store_true", help="leave the directory there")
    args = parser.parse_args()

    cluster = Cluster(args)
    try:
        cluster.create()
        cluster.start()
        try:
            if args.record_fixture:
                record_fixture(cluster, args.record_fixture)
                return 0
            with cluster.base_backup() if args.base_backup else contextlib.nullcontext():
                produce_wal(cluster)
        finally:
            cluster.stop()
        print(f"PostgreSQL {cluster.full_version}", flush=True)
        return subprocess.run([args.oracle, "--wal", cluster.data / "pg_wal", "--base", cluster.base, "--final",
                               cluster.data, "--pg-version", str(cluster.version)]).returncode
    finally:
        if args.keep:
            print("kept", cluster.dir)
        else:
            cluster.remove()


if __name__ == "__main__":
    sys.exit(main())
