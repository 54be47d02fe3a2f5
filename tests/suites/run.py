#!/usr/bin/python3
"""PostgreSQL's test suites on a Helium endpoint, with every WAL record's check image against our redo.

    tests/suites/run.py --source postgresql-15.18 --include INCLUDE_SERVER [--pgvector pgvector-0.8.0]
                        [--suites regress,isolation,contrib,pgvector] [--full-page-writes on|off] [--base-backups]
                        [--work DIR] [--json FILE]

A cluster with --check-redo, an endpoint with wal_consistency_checking=all. After the suites: no record's page differs,
no page of the compute differs from storage's, visibility maps hold, and a compute that begins with nothing gives the same
pg_dumpall and passes pg_amcheck. Tests whose output is not PostgreSQL's are listed; their diffs stay below DIR.
Exit status 1 when a page differs, a dump differs or a check fails; a test's output alone is no failure here.
See docs/testing.md. Ends only what it started.
"""

import argparse
import collections
import contextlib
import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import harness  # noqa: E402
import record_types  # noqa: E402
import suites  # noqa: E402

SETTINGS = {"wal_consistency_checking": "all", "max_prepared_transactions": "64", "track_commit_timestamp": "on",
            "shared_buffers": "256MB", "autovacuum_naptime": "5s", "max_wal_size": "4GB"}


class BaseBackups:
    """pg_basebackup of the endpoint, again and again, which makes PostgreSQL log full pages meanwhile."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.done = self.failed = 0
        self.last_error = ""
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.loop)

    def loop(self):
        while not self.stopping.is_set():
            target = self.folder / "backup"
            result = self.server.tool("pg_basebackup", "-D", target, "-c", "fast", "-X", "none", "--no-manifest", "--no-sync")
            self.done += result.returncode == 0
            if result.returncode != 0:
                self.failed += 1
                self.last_error = result.stderr.strip()[-500:]
                self.stopping.wait(1)
            shutil.rmtree(target, ignore_errors=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


class Run:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.problems = []
        self.report = {"suites": {}}

    def say(self, text):
        print(time.strftime("%H:%M:%S"), text, flush=True)

    def problem(self, text):
        self.problems.append(text)
        self.say(f"PROBLEM: {text}")

    # --- the cluster

    def start(self):
        bin_dir = pathlib.Path(self.args.pg_bin)
        init = ["--check-redo"]
        if self.args.pg_distrib_dir:
            init += ["--pg-distrib-dir", self.args.pg_distrib_dir]
        elif self.args.pgvector:
            bin_dir = suites.copy_with_pgvector(bin_dir, self.args.pgvector, suites.headers(self.args.source, self.args.include),
                                                self.work / "postgresql")
            distrib = self.work / "distrib"
            distrib.mkdir()
            (distrib / f"v{self.args.pg_version}").symlink_to(bin_dir.parent)
            init += ["--pg-distrib-dir", str(distrib)]
        self.installation = suites.Installation(bin_dir, self.args.drivers)
        self.cluster = harness.Cluster(self.work / "cluster", init_options=init, tenant=False)
        self.cluster.create_tenant("--pg-version", str(self.args.pg_version))
        self.endpoint = self.cluster.endpoint(settings=SETTINGS | {"full_page_writes": self.args.full_page_writes,
                                                                    "wal_compression": self.args.wal_compression})
        self.server = suites.Server(self.installation, self.endpoint.pg_port, harness.USER)
        self.say(f"PostgreSQL {self.server.rows('SHOW server_version')[0][0]}, full_page_writes="
                 f"{self.args.full_page_writes}, base backups: {'yes' if self.args.base_backups else 'no'}")

    # --- the suites

    def run_suites(self):
        for suite in suites.chosen(self.args.suites, self.args.source, self.args.pgvector):
            files = []
            if suite.name == "regression":
                files = self.installation_libraries("autoinc", "refint")
                if self.args.include:
                    files.append(suites.build_regress_library(self.args.source, self.args.include, self.work))
            begin = time.monotonic()
            ran, different = suite.run(self.server, self.work / suite.name, files)
            self.report["suites"][suite.name] = {"tests": ran, "different": different}
            self.say(f"{suite.name}: {ran} tests in {time.monotonic() - begin:.0f} s, output differs: "
                     f"{' '.join(different) or 'none'}")
            self.check_redo()

    def installation_libraries(self, *names):
        root = self.installation.bin.parent
        if self.args.pg_distrib_dir:
            root = pathlib.Path(self.args.pg_distrib_dir) / f"v{self.args.pg_version}"
        places = [root / "lib", root / "lib/postgresql"]
        return [place / f"{name}.so" for name in names for place in places if (place / f"{name}.so").exists()]

    # --- the oracle

    def check_redo(self):
        self.cluster.wait_for_ingest(self.endpoint.lsn(), timeout=3600)
        report = self.cluster.pageserver("GET", self.cluster.timeline_path() + "/oracle")
        for name, each in report["records"].items():
            if each["differences"]:
                self.problem(f"{name}: {each['differences']} of {each['compared']} differ: {each['first_difference']}")
        self.records = {name: each["compared"] for name, each in report["records"].items()}
        self.say(f"records: {report['compared']} pages compared, {report['differences']} differ")
        return report

    def check_pages(self, when):
        result = self.cluster.run("verify", "main", "--pages", "--json", check=False, timeout=7200)
        if not result.stdout:
            self.problem(f"helium verify: {result.stderr.strip()}")
            return
        report = json.loads(result.stdout)
        self.report[f"pages {when}"] = report
        stored, compute = report["storage"]["pages"], report["compute"]
        self.say(f"pages {when}: {sum(stored['by_fork'].values())} stored ones of {stored['forks']} forks looked at, with "
                 f"{stored['map_bits']} map bits; of the compute {compute['blocks_compared']} blocks, "
                 f"{compute['slru_pages_compared']} SLRU pages and {compute['fork_sizes_compared']} sizes compared; "
                 f"{report['differences']} differ")
        for difference in report["storage"]["first_differences"] + compute["first_differences"]:
            self.problem(f"{when}: {difference['what']}: {difference.get('kind', '')}: {difference['detail']}")

    def check_maps(self):
        tables = 0
        for database in self.server.databases():
            if database == "template0":
                continue
            self.server.tool("psql", "-qX", "-c", "CREATE EXTENSION IF NOT EXISTS pg_visibility", database=database)
            found = self.server.rows(
                "SELECT c.oid::regclass, (SELECT count(*) FROM pg_check_visible(c.oid)) + (SELECT count(*) FROM pg_check_frozen(c.oid)) "
                "FROM pg_class c WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relam = 2", database)
            tables += len(found)
            for name, wrong in found:
                if wrong != "0":
                    self.problem(f"{database}: {wrong} rows of {name} do not fit its visibility map")
        self.say(f"visibility maps: {tables} tables checked")

    # --- a compute that begins with nothing

    def dump(self, name):
        if self.args.pg_version > self.installation.version():
            return self.sums(name)
        result = self.server.tool("pg_dumpall", "--no-unlogged-table-data")
        (self.work / name).write_text(result.stdout)
        if result.returncode != 0:
            self.problem(f"pg_dumpall: {result.stderr.strip()[-1000:]}")
        return result.stdout

    def sums(self, name):
        """Instead of a dump, which must not be of a later version than pg_dump: rows of each table, and a sum over them."""
        lines = []
        for database in self.server.databases():
            queries = [row[0] for row in self.server.rows(
                "SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)::numeric) FROM %s t', c.oid::regclass, "
                "c.oid::regclass) FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' ORDER BY c.oid", database)]
            for first in range(0, len(queries), 100):
                rows = self.server.rows(" UNION ALL ".join(queries[first:first + 100]), database)
                lines += [f"{database} {' '.join(row)}" for row in rows]
        # In an order of its own: the branches of a UNION ALL may run in parallel.
        (self.work / name).write_text("\n".join(sorted(lines)))
        return "\n".join(sorted(lines))

    @staticmethod
    def without_keys(dump):
        """Its lines but for those with a key that each call of pg_dump draws anew."""
        return [line for line in dump.splitlines() if not line.startswith(("\\restrict ", "\\unrestrict "))]

    def begin_with_nothing(self):
        self.check_counters()
        before = self.dump("before.sql")
        self.endpoint.stop("fast")
        self.endpoint.forget()
        self.endpoint.start()
        self.server.port = self.endpoint.pg_port
        after = self.dump("after.sql")
        ahead = 0
        before, after = (self.without_keys(dump) for dump in (before, after))
        lines = [line for line in difflib.unified_diff(before, after, lineterm="", n=0)
                 if line[:1] in "+-" and not line.startswith(("---", "+++"))]
        # A sequence's place within the 32 values that it logs ahead is not in WAL: it goes on behind them.
        setval = re.compile(r"^[+-]SELECT pg_catalog\.setval\('(.*)', (-?\d+), (?:true|false)\);$")
        values = collections.defaultdict(dict)
        for line in list(lines):
            if match := setval.match(line):
                values[match.group(1)][line[0]] = int(match.group(2))
                lines.remove(line)
        for name, value in values.items():
            if len(value) == 2:
                ahead += 1
            else:
                lines.append(f"setval of {name}: {value}")
        for line in lines[:20]:
            self.problem(f"pg_dumpall differs: {line[:200]}")
        self.report["dump"] = {"lines": len(before), "differ": len(lines), "sequences_ahead": ahead}
        self.say(f"pg_dumpall: {len(before)} lines, {len(lines)} differ, {ahead} sequences stand ahead")

    def check_counters(self):
        """A crash with open writing transactions: the next counters lie behind all that was handed out."""
        def counters():
            (row,) = self.server.rows("SELECT split_part(next_xid, ':', 2), next_multixact_id, next_multi_offset, "
                                      "oldest_xid, oldest_multi_xid, next_oid FROM pg_control_checkpoint()")
            return [int(value) for value in row]
        self.endpoint.sql("CREATE TABLE IF NOT EXISTS suites_open (id int)")
        self.endpoint.sql("CHECKPOINT")
        before = counters()
        connection = self.endpoint.connect(autocommit=False)
        connection.execute("INSERT INTO suites_open VALUES (1)")
        connection.execute("SAVEPOINT s")
        connection.execute("INSERT INTO suites_open VALUES (2)")
        xid = connection.execute("SELECT max(xmin::text::bigint) FROM suites_open").fetchone()[0]
        self.endpoint.sql("SELECT pg_switch_wal()")
        self.endpoint.stop("immediate")
        with contextlib.suppress(Exception):
            connection.close()
        self.endpoint.start()
        self.endpoint.sql("CHECKPOINT")
        after = counters()
        self.say(f"counters before and after a crash: {before} {after}, open xid {xid}")
        if after[0] <= xid or any(now < then for then, now in zip(before, after)):
            self.problem(f"counters fell: {before}, then {after}, with {xid} in use")
        if self.endpoint.value("SELECT count(*) FROM suites_open") != 0:
            self.problem("rows of a transaction that never committed are there")

    def amcheck(self):
        result = self.server.tool("pg_amcheck", "--all", "--heapallindexed", "--parent-check", "--rootdescend",
                                  "--install-missing", "--jobs=2")
        (self.work / "amcheck").write_text(result.stdout + result.stderr)
        # That amcheck is installed already is no finding.
        lines = [line for line in (result.stdout + result.stderr).strip().splitlines() if not line.startswith("NOTICE:")]
        for line in lines[:20]:
            self.problem(f"pg_amcheck: {line}")
        if result.returncode != 0 and not lines:
            self.problem(f"pg_amcheck: exit status {result.returncode}")
        self.report["amcheck"] = {"status": result.returncode, "lines": len(lines)}
        self.say(f"pg_amcheck: exit status {result.returncode}, {len(lines)} lines")

    # --- all of it

    def run(self):
        self.start()
        with contextlib.ExitStack() as stack:
            backups = None
            if self.args.base_backups:
                folder = self.work / "backups"
                folder.mkdir()
                folder.chmod(0o777)
                backups = stack.enter_context(BaseBackups(self.server, folder))
            self.run_suites()
        if backups:
            self.report["base_backups"] = {"done": backups.done, "failed": backups.failed}
            self.say(f"base backups: {backups.done} done, {backups.failed} failed {backups.last_error}")
            if not backups.done:
                self.problem(f"no base backup succeeded: {backups.last_error}")
        self.check_maps()
        self.check_pages("before")
        self.begin_with_nothing()
        self.amcheck()
        self.check_maps()
        self.check_pages("after")
        report = self.check_redo()
        self.report |= {"compared": report["compared"], "differences": report["differences"], "records": self.records}
        print(record_types.table(self.records, self.args.pg_version))
        for path in self.cluster.unexpected_log_lines():
            self.say(f"log: {path[:300]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="a source tree of PostgreSQL: the suites' files")
    parser.add_argument("--include", help="server headers (pg_config --includedir-server), to build regress.so and pgvector; "
                        "without them the tests that need regress.so differ")
    parser.add_argument("--pgvector", type=pathlib.Path, help="a source tree of pgvector")
    parser.add_argument("--suites", default=",".join(suites.NAMES), type=lambda text: text.split(","))
    parser.add_argument("--full-page-writes", default="off", choices=["on", "off"])
    parser.add_argument("--wal-compression", default="lz4", help="of the check images; a server may lack lz4")
    parser.add_argument("--base-backups", action="store_true", help="pg_basebackup in a loop during the suites")
    parser.add_argument("--pg-bin", default="/usr/lib/postgresql/15/bin", help="psql, pg_dumpall, pg_amcheck")
    parser.add_argument("--drivers", help="holds regress/pg_regress and isolation/; default: the installation's pgxs")
    parser.add_argument("--pg-version", type=int, default=15)
    parser.add_argument("--pg-distrib-dir", help="servers, as of helium init; default: that of --pg-bin")
    parser.add_argument("--work", type=pathlib.Path, help="folder for everything; kept if given")
    parser.add_argument("--json", type=pathlib.Path, help="figures go here")
    args = parser.parse_args()
    unknown = set(args.suites) - set(suites.NAMES)
    if unknown:
        parser.error(f"--suites: {' '.join(unknown)} is not among {' '.join(suites.NAMES)}")
    if args.pgvector and args.pg_distrib_dir:
        parser.error("--pgvector goes into a copy of the installation of --pg-bin: leave --pg-distrib-dir out")
    args.source = args.source.resolve()

    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="suites_"))
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)
    run = Run(args, work)
    try:
        run.run()
    finally:
        if hasattr(run, "cluster"):
            run.cluster.destroy()
        if args.json:
            args.json.write_text(json.dumps(run.report | {"problems": run.problems}, indent=1))
        if not args.work:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{len(run.problems)} problems")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
