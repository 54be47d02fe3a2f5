"""Bad input and bad luck: a clear error, and nothing lost."""

import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from harness import wait_until
from test_vanilla_wal import wal_folder


class Taken:
    """Something else listens on a port."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@pytest.mark.quick
def test_a_taken_port_is_named_before_anything_starts(make_cluster):
    cluster = make_cluster(start=False)
    cluster.init()
    for port, what in ((cluster.pageserver_port, "pageserver"), (cluster.safekeeper_http + 1, "safekeeper 2"),
                       (cluster.broker_port, "broker")):
        with Taken(port):
            message = cluster.refused("start")
            assert str(port) in message and what in message and str(os.getpid()) in message, message
        assert not list(cluster.repo.rglob("*.pid"))
    cluster.start()


def test_a_taken_endpoint_port_is_passed_over_or_named(cluster):
    with Taken(cluster.endpoint_port):
        endpoint = cluster.endpoint()
        assert endpoint.pg_port == cluster.endpoint_port + 2
    endpoint.stop()
    with Taken(endpoint.pg_port):
        assert str(endpoint.pg_port) in cluster.refused("endpoint", "start", "main")
    endpoint.start()
    assert endpoint.value("SELECT 1") == 1


def test_a_port_that_speaks_something_else(cluster):
    """A foreign HTTP server where the pageserver should be, and a mute socket where a safekeeper should be."""
    cluster.expect_log(".")
    cluster.kill("pageserver")
    cluster.pid_file("pageserver").unlink()
    server = http.server.HTTPServer(("127.0.0.1", cluster.pageserver_http), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert str(cluster.pageserver_http) in cluster.refused("pageserver", "start")
        assert cluster.refused("timeline", "branch", "--branch-name", "b")
        assert cluster.refused("tenant", "create")
    finally:
        server.shutdown()
        server.server_close()
    cluster.start_daemon("pageserver")
    cluster.kill("sk2")
    with Taken(cluster.safekeeper_port + 1), Taken(cluster.safekeeper_http + 1):
        endpoint = cluster.endpoint()
        endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
        cluster.branch("b")
    cluster.start_daemon("sk2")
    assert endpoint.value("SELECT x FROM t") == 1


def test_garbage_on_every_port_harms_nobody(cluster):
    cluster.expect_log(".")
    endpoint = cluster.endpoint()
    ports = [cluster.pageserver_port, cluster.pageserver_http, cluster.broker_port, cluster.broker_http,
             cluster.safekeeper_port, cluster.safekeeper_http, endpoint.http_port]
    garbage = [b"", b"\0" * 64, b"\xff" * 4096, os.urandom(65536), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
               b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"\x7f\xff\xff\xff\x00\x03\x00\x00user\0x\0\0"]
    for port in ports:
        for payload in garbage:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                try:
                    connection.sendall(payload)
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(0.2)
                    connection.recv(1000)
                except OSError:
                    pass
    endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
    endpoint.restart()
    assert endpoint.value("SELECT x FROM t") == 1
    for daemon in ("pageserver", "safekeeper", "storage_broker"):
        assert "running" in cluster.helium(daemon, "status")


def test_a_damaged_layer_file_is_told_and_confined(cluster):
    cluster.expect_log(".")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT i, md5(i::text) AS x FROM generate_series(1, 20000) i")
    cluster.wait_for_ingest(endpoint.lsn())
    cluster.checkpoint()
    other = re.search(r"tenant ([0-9a-f]{32}) success", cluster.helium("tenant", "create")).group(1)
    endpoint.stop()
    layers = [path for path in (cluster.repo / "pageserver_1").rglob("layers/*")
              if cluster.main_id in str(path) and path.is_file()]
    assert layers
    damaged = max(layers, key=lambda path: path.stat().st_mtime)
    cluster.helium("pageserver", "stop")
    intact = damaged.read_bytes()
    body = bytearray(intact)
    for offset in range(len(body) // 4, len(body) - 200, 997):
        body[offset] ^= 0xFF
    damaged.write_bytes(body)
    cluster.start_daemon("pageserver")

    # Whatever needs it fails with its name; what does not, works.
    try:
        endpoint.start()
        with pytest.raises(psycopg.Error):
            with endpoint.connect() as connection:
                connection.execute("SET statement_timeout = '20s'")
                connection.execute("SELECT count(x) FROM t")
    except Exception as error:
        assert "HeliumError" in type(error).__name__, error
    log = "".join(path.read_text(errors="replace") for path in cluster.log_files())
    assert damaged.name in log, "no log names the damaged file"
    cluster.run("endpoint", "stop", "main", "-m", "immediate", check=False)
    cluster.helium("endpoint", "create", "other", "--tenant-id", other)
    cluster.helium("endpoint", "start", "other")

    # Repaired from a backup: all is back.
    cluster.helium("pageserver", "stop")
    damaged.write_bytes(intact)
    cluster.start_daemon("pageserver")
    endpoint.start()
    assert endpoint.value("SELECT count(DISTINCT x) FROM t") == 20000


def test_a_damaged_wal_segment_at_one_safekeeper_loses_nothing(cluster):
    cluster.expect_log(".")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT i, md5(i::text) AS x FROM generate_series(1, 20000) i")
    endpoint.stop("immediate")
    cluster.helium("safekeeper", "stop", "1")
    segments = sorted(path for path in wal_folder(cluster, cluster.main_id, 1).iterdir() if re.fullmatch("[0-9A-F]{24}", path.name))
    position = int(cluster.safekeeper(2)["flush_lsn"].split("/")[1], 16) % (16 << 20)
    with segments[-1].open("r+b") as file:
        file.seek(max(position - 300_000, 0))
        file.write(os.urandom(4096))
    # It may refuse to serve, or serve less; it must not take anybody along.
    result = cluster.run("safekeeper", "start", "1", check=False)
    assert result.returncode in (0, 1)
    endpoint.start()
    assert endpoint.value("SELECT count(DISTINCT x) FROM t") == 20000
    endpoint.sql("INSERT INTO t VALUES (0, 'more')")
    endpoint.stop("immediate")
    endpoint.forget()
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM t") == 20001
    log = (cluster.repo / "safekeepers" / "sk1" / "safekeeper.log").read_text(errors="replace")
    assert re.search("corrupt|damage|checksum|CRC|invalid|mismatch", log, re.IGNORECASE), "sk1 says nothing about it"


@pytest.fixture
def small_disk(folder):
    """A file system of 72 MB; needs root. A test names it before make_cluster, so that the cluster ends before its disk goes."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount_point = folder / "small"
    mount_point.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72m", "tmpfs", mount_point], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield mount_point
    subprocess.run(["umount", "-l", mount_point], check=False)


def put_on(cluster, number, mount_point):
    """Moves a stopped safekeeper's folder to another disk."""
    folder = cluster.repo / "safekeepers" / f"sk{number}"
    target = mount_point / f"sk{number}"
    shutil.move(folder, target)
    folder.symlink_to(target)


def test_a_full_disk_at_one_safekeeper_is_no_outage(small_disk, make_cluster):
    cluster = make_cluster(start=False, init_options=["--object-store", "none"])
    cluster.expect_log(".")
    cluster.init()
    put_on(cluster, 1, small_disk)
    cluster.start()
    cluster.create_tenant()
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    for _ in range(4):  # four times 30 MB of WAL
        endpoint.sql("INSERT INTO t SELECT repeat(md5(i::text), 30) FROM generate_series(1, 25000) i")
    assert endpoint.value("SELECT count(*) FROM t") == 100000
    log = (cluster.repo / "safekeepers" / "sk1" / "safekeeper.log").read_text(errors="replace")
    assert re.search("space|full", log, re.IGNORECASE), "sk1 says nothing about its full disk"
    endpoint.restart("immediate")
    assert endpoint.value("SELECT count(*) FROM t") == 100000


def test_commits_wait_while_two_disks_are_full_and_go_on_when_there_is_room(small_disk, make_cluster):
    cluster = make_cluster(start=False)
    cluster.expect_log(".")
    cluster.init()
    for number in (1, 2):
        put_on(cluster, number, small_disk)
    cluster.start()
    cluster.create_tenant()
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    done = threading.Event()

    def write():
        for _ in range(3):
            endpoint.sql("INSERT INTO t SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(8), "32 MB of WAL were acknowledged on full disks"
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    assert done.wait(60), "commits did not go on after there was room"
    writer.join()
    assert endpoint.value("SELECT count(*) FROM t") == 24000
    endpoint.restart("immediate")
    assert endpoint.value("SELECT count(*) FROM t") == 24000


def test_a_lost_safekeeper_folder_is_no_vote_for_an_empty_log(cluster):
    """No amnesia: a safekeeper that lost its state does not come back as itself."""
    cluster.expect_log(".")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 5000) AS x")
    cluster.kill("sk3")
    endpoint.sql("INSERT INTO t SELECT generate_series(5001, 6000)")
    endpoint.stop("immediate")
    cluster.start_daemon("sk3")
    cluster.kill("sk1")
    shutil.rmtree(cluster.repo / "safekeepers" / "sk1")
    cluster.run("safekeeper", "start", "1", check=False)
    # Safekeepers 2 and 3 are a majority and hold all of it; 1 must not get in between.
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM t") == 6000
    with pytest.raises(Exception):
        cluster.safekeeper(1)


def test_a_damaged_registration_costs_only_itself(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT 1 AS x")
    endpoint.stop()
    (endpoint.folder / "endpoint.json").write_text('{"name": "main", ')
    assert "endpoint.json" in cluster.refused("endpoint", "start", "main")
    shutil.rmtree(endpoint.folder)
    endpoint.create()
    endpoint.start()
    assert endpoint.value("SELECT x FROM t") == 1


@pytest.mark.quick
def test_a_damaged_configuration_is_told(make_cluster):
    cluster = make_cluster(start=False)
    cluster.init()
    config = cluster.repo / "config.json"
    config.write_text(config.read_text()[:100])
    assert "config.json" in cluster.refused("start")
    config.write_text('{"format_version": 99}')
    assert "update helium" in cluster.refused("start")


def test_forbidden_settings_are_refused_with_a_reason(cluster):
    cluster.expect_log("setting|refused|archive_mode|compute")
    endpoint = cluster.endpoint("bad", branch="main", settings={"archive_mode": "on"}, start=False)
    message = cluster.refused("endpoint", "start", endpoint.name)
    assert "archive_mode" in message, message
    good = cluster.endpoint("good", branch="main", settings={"fsync": "off"}, start=False)
    result = cluster.run("endpoint", "start", good.name, check=False)
    if result.returncode == 0:
        assert good.value("SHOW fsync") == "on"
    else:
        assert "fsync" in result.stderr
