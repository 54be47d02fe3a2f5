"""The tour, word for word: as root and as an ordinary user, in a directory of any name.

Goal: a newcomer who types what the README shows sees what the README shows.
Method: each command's whole output against the expected text, with ids, positions and pids as patterns.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

import psycopg
import pytest

from harness import BIN, Cluster, pid_alive, wait_until

ID = r"[0-9a-f]{32}"
LSN = r"[0-9A-F]{1,8}/[0-9A-F]{1,8}"


def expect(output, pattern):
    assert re.fullmatch(pattern, output), f"\n{output}\ndoes not look like\n{pattern}"
    return re.fullmatch(pattern, output)


def tour(cluster):
    ports = cluster
    shown = re.escape(".helium")
    expect(cluster.init(),
           rf"Initializing pageserver node 1 at '127\.0\.0\.1:{ports.pageserver_port}' in \"{shown}\"\.\n")
    safekeepers = "".join(
        rf"Starting safekeeper at '127\.0\.0\.1:{ports.safekeeper_port + i - 1}' in '{shown}/safekeepers/sk{i}'\.\n"
        rf"safekeeper {i} started, pid: \d+\n" for i in (1, 2, 3))
    expect(cluster.start(),
           rf"Starting storage broker at 127\.0\.0\.1:{ports.broker_port}\.\n"
           r"storage_broker started, pid: \d+\n"
           rf"Starting pageserver node 1 at '127\.0\.0\.1:{ports.pageserver_port}' in \"{shown}\"\.\n"
           r"pageserver started, pid: \d+\n" + safekeepers)
    created = expect(cluster.helium("tenant", "create", "--set-default"),
                     rf"tenant ({ID}) successfully created on the pageserver\n"
                     rf"Created an initial timeline '({ID})' at Lsn ({LSN}) for tenant: ({ID})\n"
                     rf"Setting tenant ({ID}) as a default one\n")
    tenant, main = created.group(1), created.group(2)
    assert created.group(4) == tenant and created.group(5) == tenant

    assert cluster.helium("endpoint", "create", "main") == ""
    expect(cluster.helium("endpoint", "start", "main"),
           rf"Starting new endpoint main \(PostgreSQL v15\) on timeline {main} \.\.\.\n"
           rf"Starting postgres at 'postgresql://cloud_admin@127\.0\.0\.1:{ports.endpoint_port}/postgres'\n")
    expect(cluster.helium("endpoint", "list"),
           rf" ENDPOINT  ADDRESS          TIMELINE                          BRANCH NAME  LSN +STATUS\n"
           rf" main      127\.0\.0\.1:{ports.endpoint_port}  {main}  main         {LSN} +running\n")

    def connect(port):
        return psycopg.connect(f"host=127.0.0.1 port={port} user=cloud_admin dbname=postgres", autocommit=True)

    with connect(ports.endpoint_port) as connection:
        connection.execute("CREATE TABLE t (key int PRIMARY KEY, value text)")
        connection.execute("INSERT INTO t VALUES (1, 'from main')")
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, "from main")]

    branched = expect(cluster.helium("timeline", "branch", "--branch-name", "migration_check"),
                      rf"Created timeline '({ID})' at Lsn ({LSN}) for tenant: {tenant}\. Ancestor timeline: 'main'\n")
    branch, lsn = branched.groups()
    assert cluster.helium("timeline", "list") == (
        f"(L) main [{main}]\n"
        f"(L) ┗━ @{lsn}: migration_check [{branch}]\n")

    cluster.helium("endpoint", "create", "migration_check", "--branch-name", "migration_check")
    expect(cluster.helium("endpoint", "start", "migration_check"),
           rf"Starting new endpoint migration_check \(PostgreSQL v15\) on timeline {branch} \.\.\.\n"
           rf"Starting postgres at 'postgresql://cloud_admin@127\.0\.0\.1:{ports.endpoint_port + 2}/postgres'\n")
    with connect(ports.endpoint_port + 2) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, "from main")]
        connection.execute("INSERT INTO t VALUES (2, 'from the branch')")
    with connect(ports.endpoint_port) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, "from main")]
        connection.execute("INSERT INTO t VALUES (3, 'main again')")
    with connect(ports.endpoint_port + 2) as connection:
        assert connection.execute("SELECT key FROM t ORDER BY key").fetchall() == [(1,), (2,)]

    pids = [int(path.read_text()) for path in cluster.repo.rglob("*.pid") if path.name != "postmaster.pid"]
    assert len(pids) == 7
    cluster.helium("stop")
    for pid in pids:
        wait_until(lambda: not pid_alive(pid), 5, f"the end of process {pid}")

    # The next day.
    cluster.start()
    cluster.helium("endpoint", "start", "main")
    with connect(ports.endpoint_port) as connection:
        assert connection.execute("SELECT key FROM t ORDER BY key").fetchall() == [(1,), (3,)]
    cluster.helium("stop")


@pytest.mark.quick
def test_tour_word_for_word(make_cluster):
    tour(make_cluster(start=False))


@pytest.mark.parametrize("name", ["with a space", "żółć-日本", "quote's \"and\" $more", "-dash"])
def test_tour_in_a_directory_of_any_name(make_cluster, name):
    tour(make_cluster(name, start=False))


def test_tour_in_a_private_directory_with_a_space(make_cluster, folder):
    """0700, as homes are: a compute that dropped root cannot walk through it by name."""
    private = folder / "my home"
    private.mkdir(mode=0o700)
    tour(make_cluster("my home/clus ter", start=False))


@pytest.fixture
def ordinary_user():
    """(a command prefix that becomes an ordinary user, a folder that belongs to it, a copy of the programs)."""
    if os.geteuid() != 0:
        pytest.skip("not root: all other tests run as an ordinary user already")
    user = pwd.getpwnam("nobody")
    home = pathlib.Path(tempfile.mkdtemp(prefix="helium-user-"))
    home.chmod(0o755)
    programs = home / "bin"  # the clone may lie where only root can look
    shutil.copytree(BIN, programs)
    work = home / "work"
    work.mkdir()
    os.chown(work, user.pw_uid, user.pw_gid)
    prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "env", f"HOME={work}"]
    yield prefix, work, programs
    shutil.rmtree(home, ignore_errors=True)


def test_tour_as_an_ordinary_user(ordinary_user):
    prefix, work, programs = ordinary_user
    folder = work / "cluster"
    subprocess.run([*prefix, "mkdir", "-m", "700", folder], check=True)
    cluster = Cluster(folder, start=False, run_as=prefix, bin_dir=programs)
    try:
        tour(cluster)
        assert not cluster.unexpected_log_lines()
    finally:
        cluster.destroy()


@pytest.mark.quick
def test_state_lives_where_helium_repo_dir_says(make_cluster, folder):
    cluster = make_cluster(start=False)
    elsewhere = folder / "else where"
    env = {"HELIUM_REPO_DIR": str(elsewhere)}
    output = cluster.helium("init", *cluster.port_options(), env=env)
    assert f'in "{elsewhere}".' in output
    assert (elsewhere / "config.json").exists() and not cluster.repo.exists()
    assert "TENANT" in cluster.helium("tenant", "list", env=env)


def test_two_clusters_live_side_by_side(make_cluster):
    first, second = make_cluster("one"), make_cluster("two")
    one, two = first.endpoint(), second.endpoint()
    one.sql("CREATE TABLE t AS SELECT 1 AS x")
    two.sql("CREATE TABLE t AS SELECT 2 AS x")
    assert (one.value("SELECT x FROM t"), two.value("SELECT x FROM t")) == (1, 2)
    assert one.value("SELECT system_identifier FROM pg_control_system()") != \
        two.value("SELECT system_identifier FROM pg_control_system()")


def test_a_reused_pid_is_never_signalled(make_cluster):
    """The pid file of a dead daemon names a process of ours: stop must leave it alone."""
    cluster = make_cluster(tenant=False)
    cluster.expect_log("broker|unavailable|connect")
    cluster.kill("storage_broker")
    bystander = subprocess.Popen(["sleep", "100"])
    try:
        cluster.pid_file("storage_broker").write_text(f"{bystander.pid}\n")
        assert "storage_broker is not running" in cluster.helium("storage_broker", "stop", "-m", "immediate")
        assert bystander.poll() is None
        cluster.helium("storage_broker", "start")
        assert bystander.poll() is None
    finally:
        bystander.send_signal(signal.SIGKILL)
        bystander.wait()
