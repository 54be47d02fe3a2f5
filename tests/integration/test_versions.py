"""Every supported major version of PostgreSQL through the whole stack.

The servers are what scripts/pg_versions put into its directory, and Debian's 15. They have no client tools: Debian's 15
works against all of them. HELIUM_VERSIONS_LONG=1 also runs the load whose figures stand in docs/versions.md (-s shows them).
"""

import json
import os
import re
import subprocess

import pytest

from harness import BIN, PG_DISTRIB_DIR, http

SUPPORTED = (14, 15, 16, 17, 18)
INSTALLED = [version for version in SUPPORTED if os.access(PG_DISTRIB_DIR / f"v{version}" / "bin" / "postgres", os.X_OK)]
LONG = bool(os.environ.get("HELIUM_VERSIONS_LONG"))
SUBTRANSACTIONS = 70  # more than a backend's cache of 64
ABORTED_AT = "0/600"  # progress of a replication origin that the abort of a prepared transaction brings

each_version = pytest.mark.parametrize("version", INSTALLED)
# 15 is what all other tests run.
each_other_version = pytest.mark.parametrize("version", [version for version in INSTALLED if LONG or version != 15])


@pytest.fixture
def make_cluster_with(make_cluster):
    """A cluster whose tenant is of that version."""
    def make(version, *tenant_options, init_options=(), **options):
        return make_cluster(init_options=["--pg-distrib-dir", str(PG_DISTRIB_DIR), *init_options],
                            tenant_options=["--pg-version", str(version), *tenant_options], **options)
    return make


def test_all_versions_are_there():
    if "HELIUM_PG_DISTRIB_DIR" in os.environ:
        pytest.skip("versions were chosen by HELIUM_PG_DISTRIB_DIR")
    assert INSTALLED == list(SUPPORTED), f"in {PG_DISTRIB_DIR}; scripts/pg_versions installs them"


def write_in_every_way(endpoint):
    """Leaves open what a restart must bring back: a prepared transaction and rows locked by several."""
    endpoint.sql("CREATE TABLE t (id int PRIMARY KEY, tags int[], p point, s text)")
    for access_method in ("hash (id)", "gin (tags)", "gist (p)", "spgist (p)", "brin (id)", "btree (s)"):
        endpoint.sql(f"CREATE INDEX ON t USING {access_method}")
    endpoint.sql("INSERT INTO t SELECT i, ARRAY[i % 50, 100 + i % 7], point(i % 100, i / 100), repeat('word' || i % 9, i % 40)"
                 " FROM generate_series(1, 1500) i")
    endpoint.sql("UPDATE t SET s = 'changed' WHERE id % 10 = 0")
    endpoint.sql("DELETE FROM t WHERE id > 1000")
    endpoint.sql("VACUUM (FREEZE) t")
    endpoint.sql("INSERT INTO t SELECT i, ARRAY[i], point(i, i), '' FROM generate_series(1001, 1200) i")
    endpoint.sql("CREATE TABLE big AS SELECT i AS id, string_agg(md5((i * 100 + j)::text), '') AS body"
                 " FROM generate_series(1, 30) i, generate_series(1, 200) j GROUP BY i")
    endpoint.sql("CREATE SEQUENCE s")
    endpoint.sql("SELECT nextval('s') FROM generate_series(1, 100)")
    endpoint.sql("CREATE TABLE subs (x int)")
    with endpoint.connect(autocommit=False) as connection:
        for n in range(SUBTRANSACTIONS):
            connection.execute(f"SAVEPOINT s{n}")
            connection.execute("INSERT INTO subs VALUES (%s)", [n])
            connection.execute(f"ROLLBACK TO s{n}" if n % 2 else f"RELEASE s{n}")
    with endpoint.connect(autocommit=False) as connection:
        connection.execute("SAVEPOINT inner_one")
        connection.execute("INSERT INTO subs VALUES (1000)")
        connection.execute("PREPARE TRANSACTION 'waits'")
    with endpoint.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_replication_origin_create('far')")
        connection.execute("SELECT pg_replication_origin_session_setup('far')")
        for lsn, command in (("0/500", "PREPARE TRANSACTION 'from_far'"), (ABORTED_AT, "ROLLBACK PREPARED 'from_far'")):
            connection.execute("BEGIN")
            connection.execute("INSERT INTO subs VALUES (2000)")
            connection.execute("SELECT pg_replication_origin_xact_setup(%s, now())", [lsn])
            if command.startswith("ROLLBACK"):
                connection.execute("ROLLBACK")
            connection.execute(command)
    endpoint.sql("CREATE TABLE locked (id int PRIMARY KEY, x int)")
    endpoint.sql("INSERT INTO locked SELECT i, 0 FROM generate_series(1, 100) i")
    one, two = endpoint.connect(autocommit=False), endpoint.connect(autocommit=False)
    one.execute("SELECT * FROM locked FOR KEY SHARE")
    two.execute("SELECT * FROM locked FOR KEY SHARE")
    two.execute("UPDATE locked SET x = 1 WHERE id <= 50")
    two.commit()
    return one, two  # kept open: the end of the server ends them


def what_must_survive(endpoint):
    return {query: endpoint.sql(query) for query in (
        "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id)) FROM t",
        "SELECT md5(string_agg(body, '' ORDER BY id)) FROM big",
        "SELECT count(*), sum(x) FROM subs",
        "SELECT sum(x) FROM locked",
        "SELECT sum(hashtext(abalance::text)) FROM pgbench_accounts",
        "SELECT gid FROM pg_prepared_xacts",
        "SELECT count(*), md5(string_agg(relname, ',' ORDER BY relname)) FROM pg_class",
    )}


def verify_pages(endpoint):
    report = http("POST", endpoint.http_port, "/v1/verify", {}, timeout=300)
    assert report["differences"] == 0, report
    assert report["blocks_compared"] > 1000, report
    return report


def oracle(cluster, timeline_id=None):
    report = cluster.pageserver("GET", cluster.timeline_path(timeline_id) + "/oracle")
    different = {name: each for name, each in report["records"].items() if each["differences"]}
    assert not different, f"redo differs from PostgreSQL: {different}"
    return report


@each_other_version
def test_the_life_of_a_cluster(make_cluster_with, version):
    """Load, every kind of record under the oracle, a branch, death, and a new life from nothing."""
    cluster = make_cluster_with(version, init_options=["--check-redo"])
    assert cluster.timeline()["pg_version"] == version
    settings = {"wal_consistency_checking": "all", "max_prepared_transactions": "10", "autovacuum_naptime": "1s"}
    endpoint = cluster.endpoint(settings=settings)
    assert endpoint.value("SHOW server_version_num")[:2] == str(version)
    assert endpoint.tool("psql", "-XAtc", "SELECT 40 + 2").stdout == "42\n"

    endpoint.pgbench_init(1)
    transactions = endpoint.pgbench(1, 4)
    assert endpoint.check_pgbench_sums() == transactions
    sessions = write_in_every_way(endpoint)
    endpoint.sql("CHECKPOINT")
    verified = verify_pages(endpoint)
    before = what_must_survive(endpoint)

    branch_id, _ = cluster.branch("side")
    assert cluster.timeline(branch_id)["pg_version"] == version

    endpoint.stop("immediate")
    for session in sessions:
        session.close()
    endpoint.forget()
    endpoint.start()
    assert what_must_survive(endpoint) == before
    assert endpoint.sql("SELECT external_id, remote_lsn::text FROM pg_replication_origin_status") == [("far", ABORTED_AT)]
    endpoint.sql("COMMIT PREPARED 'waits'")
    assert endpoint.value("SELECT count(*) FROM subs WHERE x = 1000") == 1
    endpoint.sql("UPDATE locked SET x = x + 1")
    assert endpoint.value("SELECT sum(x) FROM locked") == 150
    assert endpoint.value("SELECT nextval('s')") > 100
    transactions += endpoint.pgbench(1, 4)
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()
    verify_pages(endpoint)
    cluster.wait_for_ingest(endpoint.lsn(), timeout=120)
    report = oracle(cluster)
    seen = {name.split("/")[0] for name, each in report["records"].items() if each["compared"]}
    assert {"HEAP", "HEAP2", "BTREE", "HASH", "GIN", "GIST", "SPGIST", "BRIN", "SEQ"} <= seen, seen

    branch = cluster.endpoint("side", settings=settings)
    assert branch.value("SHOW server_version_num")[:2] == str(version)
    assert what_must_survive(branch) == before
    branch.sql("ROLLBACK PREPARED 'waits'")
    assert branch.value("SELECT count(*) FROM subs WHERE x = 1000") == 0
    branch.sql("UPDATE t SET s = 'on the branch'")
    branch.sql("VACUUM t")
    cluster.wait_for_ingest(branch.lsn(), branch_id, timeout=120)
    oracle(cluster, branch_id)
    assert endpoint.value("SELECT count(*) FROM t WHERE s = 'on the branch'") == 0
    print(f"\n{endpoint.value('SHOW server_version')}: the oracle compared {report['compared']} pages after records of"
          f" {sum(1 for each in report['records'].values() if each['compared'])} types; {verified['blocks_compared']} blocks verified")
    cluster.stop()


@pytest.mark.skipif(not LONG, reason="HELIUM_VERSIONS_LONG=1 runs it")
@each_version
def test_load(make_cluster_with, version):
    cluster = make_cluster_with(version)
    endpoint = cluster.endpoint(settings={"shared_buffers": "64MB"})
    endpoint.pgbench_init(10)
    transactions = endpoint.pgbench(30, 8)
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.sql("CHECKPOINT")
    verified = verify_pages(endpoint)
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.check_pgbench_sums() == transactions
    endpoint.amcheck()
    print(f"\n{endpoint.value('SHOW server_version')}: {transactions} transactions, {verified['blocks_compared']} blocks verified")


@pytest.mark.parametrize("version, options, expected", [
    (15, ["--data-checksums"], "on"),
    pytest.param(18, [], "on"),
    pytest.param(18, ["--no-data-checksums"], "off", marks=pytest.mark.skipif(not LONG, reason="HELIUM_VERSIONS_LONG=1 runs it")),
])
def test_pages_have_right_checksums(make_cluster_with, version, options, expected):
    if version not in INSTALLED:
        pytest.skip(f"PostgreSQL {version} is not there")
    cluster = make_cluster_with(version, *options)
    assert cluster.timeline()["data_checksums"] == (expected == "on")
    endpoint = cluster.endpoint(settings={"shared_buffers": "1MB"})
    assert endpoint.value("SHOW data_checksums") == expected
    endpoint.sql("CREATE TABLE t (id int PRIMARY KEY, x text)")
    endpoint.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 15000) i")
    endpoint.sql("VACUUM t")
    endpoint.sql("UPDATE t SET x = '' WHERE id % 3 = 0")
    endpoint.sql("CREATE EXTENSION pageinspect")

    # The next compute reads pages that redo made: PostgreSQL checks each when it reads it, and so do we.
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    stored, right, none = endpoint.sql(
        "SELECT count(*), count(*) FILTER (WHERE checksum = page_checksum(page, n)), count(*) FILTER (WHERE checksum = 0)"
        " FROM (SELECT n, page, (page_header(page)).checksum FROM (SELECT n::int, get_raw_page('t', n::int) AS page"
        " FROM generate_series(0, pg_relation_size('t') / 8192 - 1) n) pages) headers")[0]
    assert stored > 100
    assert (right, none) == ((stored, 0) if expected == "on" else (0, stored))
    assert endpoint.value("SELECT count(*) FROM t") == 15000
    if expected == "on":
        assert endpoint.value("SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database") == 0
    endpoint.amcheck()
    verify_pages(endpoint)


def test_versions_live_side_by_side(make_cluster_with):
    """Tenants and branches of several versions in one cluster; lists name them, branches inherit theirs."""
    if len(INSTALLED) < 2:
        pytest.skip("only one version is there")
    oldest, newest = INSTALLED[0], INSTALLED[-1]
    cluster = make_cluster_with(oldest)
    cluster.helium("timeline", "create", "--branch-name", "new", "--pg-version", str(newest))
    cluster.branch("copy", "new")
    old, new, copy = cluster.endpoint("main"), cluster.endpoint("new"), cluster.endpoint("copy")
    for endpoint, version in ((old, oldest), (new, newest), (copy, newest)):
        assert endpoint.value("SHOW server_version_num")[:2] == str(version)
    assert f"{oldest}, {newest}" in cluster.helium("tenant", "list")
    assert [timeline["pg_version"] for timeline in json_of(cluster, "timeline", "list")] == [oldest, newest, newest]
    assert {each["name"]: each["pg_version"] for each in json_of(cluster, "endpoint", "list")} == {
        "main": oldest, "new": newest, "copy": newest}
    assert f"is of PostgreSQL {newest}, not {oldest}" in cluster.refused(
        "endpoint", "create", "other", "--branch-name", "copy", "--pg-version", str(oldest))


def json_of(cluster, *command):
    return json.loads(cluster.helium(*command, "--json"))


def test_a_version_that_is_not_there_is_refused_with_those_that_are(make_cluster, folder):
    (folder / "dist").mkdir()
    (folder / "dist" / "v15").symlink_to("/usr/lib/postgresql/15")
    cluster = make_cluster(init_options=["--pg-distrib-dir", str(folder / "dist")], tenant=False)
    told = cluster.refused("tenant", "create", "--pg-version", "17")
    assert "there is no PostgreSQL 17" in told and "(found: 15)" in told and "v17" in told, told
    assert "14 to 18" in cluster.refused("tenant", "create", "--pg-version", "13")
    cluster.create_tenant()
    assert "(found: 15)" in cluster.refused("timeline", "create", "--branch-name", "b", "--pg-version", "18")


# What touches files by path or descriptor in libc, with its 64-bit twins and the names of older libcs.
FILE_CALLS = re.compile(
    r"(__)?([lf]?x?stat(at|x)?(64)?|open(at|at2)?(64)?(_2)?|creat(64)?|p?readv?(64)?(v2|v64v2)?(_chk)?|p?writev?(64)?(v2|v64v2)?"
    r"|f?truncate(64)?|fallocate(64)?|posix_f\w+|fdatasync|fsync|syncfs|sync|sync_file_range|copy_file_range|sendfile(64)?"
    r"|splice|tee|vmsplice|mmap(64)?|mremap|unlink(at)?|rename(at|at2)?|link(at)?|symlink(at)?|mkdir(at)?|rmdir|remove"
    r"|opendir|fdopendir|readdir(64)?(_r)?|closedir|rewinddir|seekdir|telldir|scandir(at)?(64)?|n?ftw(64)?|fts_\w+|glob(64)?"
    r"|f?access(at)?|eaccess|euidaccess|f?chmod(at)?|f?chown(at)?|lchown|utimes?|futimens|utimensat|dup[23]?|fcntl(64)?"
    r"|v?fork|clone3?|close|close_range|fopen(64)?|freopen(64)?|fdopen|io_uring_\w+|lio_listio(64)?|aio_\w+|process_vm_\w+"
    r"|_?exit|_Exit|prctl|syscall|readlink(at)?|posix_spawnp?|popen|mkstemps?(64)?|mkdtemp)")
# What may pass by: it moves no block and no name of a block's file.
HARMLESS = {
    "__fxstat", "fstat",                # of an open file: the cache's file has the right size
    "freopen", "fdopen", "popen",       # the log; descriptors; another program, which gets no LD_PRELOAD
    "readlink", "chown", "utime",       # links and lock files
    "exit",                             # runs the library's destructor
    "syscall",                          # numbers without a function of their own; io_uring is looked for below
}


@each_version
def test_every_file_call_of_the_server_is_intercepted(version):
    """Names of libc that a new version begins to use would go around the file layer."""
    def symbols(path, which):
        listing = subprocess.run(["nm", "-D", which, str(path)], capture_output=True, text=True, check=True).stdout
        return {line.split()[-1].split("@")[0] for line in listing.splitlines() if line.split()}
    library = next(path for path in (BIN.parent / "lib" / "libhelium_vfs.so", BIN / "libhelium_vfs.so") if path.exists())
    hooked = symbols(library, "--defined-only")
    imported = symbols(PG_DISTRIB_DIR / f"v{version}" / "bin" / "postgres", "--undefined-only")
    touching = {name for name in imported if FILE_CALLS.fullmatch(name)}
    assert {"open", "close", "pread", "pwrite", "ftruncate", "fdatasync", "unlink", "opendir"} <= touching
    assert touching - hooked - HARMLESS == set()
    assert version >= 18 or not any(name.startswith("io_uring") for name in imported)
