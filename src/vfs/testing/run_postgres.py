#!/usr/bin/python3
"""Stock PostgreSQL on a lazily filled data directory.

Goal: PostgreSQL cannot tell the cache from a data directory, and what it leaves behind is in order.
Method: a cluster is made and stopped; vfs_dir_agent runs PostgreSQL on a directory that is filled from it block by
block. SQL that touches every kind of file runs there. Then cache and storage are written out as one data directory,
which PostgreSQL without our library must find consistent. Last, a backend is killed: everything must end.

usage: run_postgres.py DIR_AGENT LIBRARY [PG_BIN_DIR]
PG_BIN_DIR may hold a server of any version and no tools: then Debian's are used. As root, everything runs as user postgres. Exit code 0 or 1; 77 when PostgreSQL is not installed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

AGENT, LIBRARY = (os.path.abspath(path) for path in sys.argv[1:3])
DEBIAN_BIN = "/usr/lib/postgresql/15/bin"
PG_BIN = sys.argv[3] if len(sys.argv) > 3 else DEBIAN_BIN
AS_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def tool(name):
    return next(f"{place}/{name}" for place in (PG_BIN, DEBIAN_BIN) if os.path.exists(f"{place}/{name}"))


def run(*command, check=True):
    done = subprocess.run([*AS_USER, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}")
    return done.stdout


class Cluster:
    """PostgreSQL on a port, by whatever command."""

    def __init__(self, root, command, name):
        self.port = free_port()
        self.log_path = f"{root}/{name}.log"
        settings = [f"port={self.port}", f"unix_socket_directories={root}", "listen_addresses=", "full_page_writes=off",
                    "restart_after_crash=off", "wal_init_zero=off", "wal_recycle=off", "shared_buffers=4MB",
                    "log_checkpoints=off", "autovacuum_naptime=1s"]
        self.root = root
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [*AS_USER, *command, *(f"-c{item}" for item in settings)], stdout=log, stderr=log, cwd="/")
        for _ in range(300):
            if run(tool("pg_isready"), "-h", root, "-p", str(self.port), check=False).endswith("accepting connections\n"):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{name} does not start: {self.log()}")

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def psql(self, *statements, db="postgres", check=True):
        options = [item for statement in statements for item in ("-c", statement)]
        return run(tool("psql"), "-X", "-At", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.root, "-p", str(self.port),
                   "-U", "postgres", "-d", db, *options, check=check).strip()

    def tool(self, name, *arguments):
        return run(tool(name), "-h", self.root, "-p", str(self.port), "-U", "postgres", *arguments)

    def version(self):
        return int(self.psql("show server_version_num")) // 10000

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, f"exit code {self.process.returncode}: {self.log()}"


def expect(what, got, wanted):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"
    print(f"ok: {what}")


def check_consistent(cluster, databases):
    sums = cluster.psql("select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)"
                        " and (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches)")
    expect("balances agree", sums, "t")
    for database in databases:
        cluster.psql("create extension if not exists amcheck", db=database)
    cluster.tool("pg_amcheck", "--heapallindexed", *(item for database in databases for item in ("-d", database)))
    print("ok: pg_amcheck")


def agent_command(root, name, *options):
    os.makedirs(f"{root}/{name}")
    shutil.chown(f"{root}/{name}", "postgres" if AS_USER else None) if AS_USER else None
    return [AGENT, f"{root}/remote", f"{root}/{name}", LIBRARY, *options, "--", f"{PG_BIN}/postgres",
            "-D", f"{root}/{name}/pgdata"]


def make_remote(root):
    run(f"{PG_BIN}/initdb", "-D", f"{root}/remote", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    cluster = Cluster(root, [f"{PG_BIN}/postgres", "-F", "-D", f"{root}/remote"], "remote_server")
    cluster.tool("pgbench", "-i", "-q", "-s", "2", "postgres")
    cluster.psql("create unlogged table volatile(a int primary key)", "insert into volatile select generate_series(1, 5000)",
                 "create table kept as select i, repeat('x', 500) t from generate_series(1, 20000) i",
                 "create index on kept(i)", "create table doomed as select generate_series(1, 100000) a",
                 "create sequence counter", "select nextval('counter')")
    cluster.stop()


def run_workload(cluster):
    expect("an unlogged table starts empty", cluster.psql("select count(*) from volatile"), "0")
    cluster.psql("insert into volatile select generate_series(1, 3000)")
    expect("its index works", cluster.psql("set enable_seqscan=off", "select a from volatile where a = 77"), "77")
    cluster.tool("pgbench", "-c", "4", "-j", "2", "-t", "400", "-n", "postgres")
    cluster.psql("create temp table t as select generate_series(1, 50000) a", "select count(*) from t")
    if cluster.version() == 14:  # always copies files, and knows no word for it
        cluster.psql("create database by_log", "create database by_copy", "create database short_lived")
    else:
        cluster.psql("create database by_log strategy wal_log", "create database by_copy strategy file_copy",
                     "create database short_lived")
    for database in ("by_log", "by_copy"):
        expect(f"rows in database {database}", cluster.psql("create table x as select generate_series(1, 30000) a",
                                                            "select count(*) from x", db=database), "30000")
    cluster.psql("drop database short_lived")
    cluster.psql("vacuum full pgbench_accounts")
    cluster.psql("truncate doomed", "insert into doomed select generate_series(1, 10)")
    expect("a truncated table holds what came later", cluster.psql("select count(*) from doomed"), "10")
    cluster.psql("delete from kept where i > 10000", "vacuum kept")
    expect("a table cut by vacuum", cluster.psql("select count(*), max(i) from kept"), "10000|10000")
    cluster.psql("insert into kept select i, 'y' from generate_series(20001, 30000) i")
    expect("grows again", cluster.psql("select count(*), max(i) from kept"), "20000|30000")
    cluster.psql("begin", "create table gone(a int)", "insert into gone values (1)", "rollback")
    expect("a rolled back table", cluster.psql("select to_regclass('gone') is null"), "t")
    expect("a sequence goes on", cluster.psql("select nextval('counter') > 1"), "t")
    expect("sizes are known", cluster.psql("select pg_database_size('postgres') > 30000000"), "t")
    expect("files are readable by SQL",
           cluster.psql("select length(pg_read_binary_file(pg_relation_filepath('pgbench_branches'))) % 8192"), "0")
    use_tablespaces(cluster)
    cluster.psql("checkpoint")


def use_tablespaces(cluster):
    location = f"{cluster.root}/location"
    run("mkdir", location)
    cluster.psql(f"create tablespace far location '{location}'")
    cluster.psql("set allow_in_place_tablespaces = on", "create tablespace near location ''")
    for name in ("far", "near"):
        cluster.psql(f"create table in_{name} tablespace {name} as select generate_series(1, 30000) a",
                     f"create index on in_{name} (a) tablespace {name}")
        expect(f"rows in tablespace {name}", cluster.psql(f"select count(*), pg_tablespace_size('{name}') > 1000000 from in_{name}"),
               "30000|t")
    cluster.psql("create database there tablespace far strategy file_copy")
    cluster.psql("alter database there set tablespace near")
    expect("a database that moved", cluster.psql("select count(*) > 100 from pg_class", db="there"), "t")
    expect("a location that is known", cluster.psql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'"),
           location)
    expect("a location that is empty", os.listdir(location), [])
    cluster.psql("drop database there", "drop table in_far", "drop table in_near", "drop tablespace far", "drop tablespace near")
    expect("tablespaces that are gone", os.listdir(f"{cluster.root}/work/pgdata/pg_tblspc"), [])


def cancel_a_read(root, cluster):
    """A query whose block does not come can be canceled, and the backend lives on."""
    cluster.psql("explain select count(*) from kept")  # the catalogs are here now
    hold = f"{root}/work/hold"
    open(hold, "w").close()
    started = time.monotonic()
    answer = cluster.psql("set statement_timeout = 300", "select count(*) from kept", check=False)
    took = time.monotonic() - started
    os.unlink(hold)
    # From 18 on an I/O worker reads, and the backend waits for it as it waits for any condition.
    assert ("Operation canceled" if cluster.version() < 18 else "canceling statement") in answer, answer
    assert took < 10, took
    expect("a read that storage does not answer is canceled, and works later",
           cluster.psql("select count(*) from kept"), "20000")


def kill_the_agent(root):
    cluster = Cluster(root, agent_command(root, "orphan"), "orphan")
    pids = [int(pid) for pid in cluster.psql("select pid from pg_stat_activity").split()[:-1]]
    with open(f"{root}/orphan/pgdata/postmaster.pid") as file:
        pids.append(int(file.readline()))
    cluster.process.kill()
    cluster.process.wait()
    for _ in range(100):
        left = [pid for pid in pids if os.path.exists(f"/proc/{pid}/stat") and
                open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"]
        if not left:
            break
        time.sleep(0.1)
    expect(f"{len(pids)} processes end with their agent", left, [])


def kill_a_backend(root):
    cluster = Cluster(root, agent_command(root, "crash"), "crash")
    cluster.tool("pgbench", "-c", "2", "-t", "50", "-n", "postgres")
    pid = int(cluster.psql("select pid from pg_stat_activity where backend_type = 'checkpointer'"))
    os.kill(pid, signal.SIGKILL)
    cluster.process.wait(20)
    assert '"left":0' in cluster.log(), cluster.log()
    print("ok: a killed process ends all of them")


def main():
    if not os.path.exists(f"{PG_BIN}/postgres"):
        return 77
    root = tempfile.mkdtemp(prefix="helium_vfs_pg_")
    try:
        os.chmod(root, 0o755)
        if AS_USER:
            shutil.chown(root, "postgres")
        make_remote(root)
        cluster = Cluster(root, agent_command(root, "work", "--export", f"{root}/out"), "work")
        cancel_a_read(root, cluster)
        run_workload(cluster)
        check_consistent(cluster, ["postgres", "by_log", "by_copy"])
        rows = cluster.psql("select count(*), sum(abalance) from pgbench_accounts")
        cluster.stop()
        print("ok: clean stop;", cluster.log().strip().splitlines()[-1])

        stock = Cluster(root, [f"{PG_BIN}/postgres", "-F", "-D", f"{root}/out"], "out")
        expect("stock PostgreSQL finds the rows", stock.psql("select count(*), sum(abalance) from pgbench_accounts"), rows)
        check_consistent(stock, ["postgres", "by_log", "by_copy"])
        stock.stop()
        kill_a_backend(root)
        kill_the_agent(root)
        return 0
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
