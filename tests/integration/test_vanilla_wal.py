"""The WAL that safekeepers keep is PostgreSQL's: stock pg_receivewal and pg_waldump read it."""

import os
import re
import shutil
import subprocess
import time

from harness import PG_BIN, parse_lsn, wait_until

SEGMENT = re.compile(r"[0-9A-F]{24}")


def wal_folder(cluster, timeline_id, safekeeper=1):
    """A folder of links to all WAL of a timeline: what is in the object store, and what the safekeeper has on its disk."""
    linked = cluster.folder / f"wal-{timeline_id}-sk{safekeeper}"
    linked.mkdir(exist_ok=True)
    for folder in (cluster.repo / "object_store" / "wal", cluster.repo / "safekeepers" / f"sk{safekeeper}"):
        for path in folder.rglob("*"):
            if SEGMENT.fullmatch(path.name) and timeline_id in str(path):
                (linked / path.name).unlink(missing_ok=True)
                (linked / path.name).symlink_to(path)
    assert any(linked.iterdir()), f"no WAL segments of {timeline_id} at safekeeper {safekeeper}"
    return linked


def waldump(folder, start, end=None):
    """Records from `start` to the end of WAL. Any complaint other than reaching the end is an error."""
    segments = sorted(path.name for path in folder.iterdir() if SEGMENT.fullmatch(path.name))
    command = [PG_BIN / "pg_waldump", "-p", folder, "-s", start]
    command += ["-e", end, segments[0]] if end else [segments[0], segments[-1]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    complaints = [line for line in result.stderr.splitlines()
                  if "first record is after" not in line and "invalid record length at" not in line
                  and "invalid magic number 0000" not in line]
    assert not complaints, complaints
    if end:
        assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith("rmgr:")]


def lsn_of(line):
    return parse_lsn(re.search(r"lsn: ([0-9A-F]+/[0-9A-F]+)", line).group(1))


def check_prev_links(lines):
    previous = None
    for line in lines:
        lsn = lsn_of(line)
        if previous is not None:
            link = parse_lsn(re.search(r"prev ([0-9A-F]+/[0-9A-F]+)", line).group(1))
            assert link == previous, line
        previous = lsn


def connection_string(cluster, timeline_id):
    return (f"host=127.0.0.1 port={cluster.safekeeper_port} user=cloud_admin "
            f"options='-c tenant_id={cluster.tenant_id} -c timeline_id={timeline_id}'")


def test_waldump_reads_the_segments_across_endpoint_restarts(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    restarts = 4
    for n in range(restarts):
        endpoint.sql("INSERT INTO t SELECT md5(i::text) FROM generate_series(1, 30000) i")
        endpoint.restart("immediate" if n % 2 else "fast")
    last = endpoint.lsn()
    endpoint.stop("immediate")
    wait_until(lambda: all(parse_lsn(cluster.safekeeper(n)["flush_lsn"]) >= parse_lsn(last) for n in (1, 2, 3)), 20,
               "all safekeepers having the WAL")
    for safekeeper in (1, 2, 3):
        lines = waldump(wal_folder(cluster, cluster.main_id, safekeeper), cluster.initdb_lsn, last)
        assert len(lines) > 4 * 30000
        check_prev_links(lines)
        # Each start shows as a shutdown checkpoint at the end of what was acknowledged.
        assert sum("CHECKPOINT_SHUTDOWN" in line for line in lines) >= restarts + 1
    sizes = {path.stat().st_size for path in wal_folder(cluster, cluster.main_id).iterdir() if SEGMENT.fullmatch(path.name)}
    assert sizes == {16 * 1024 * 1024}


def test_receivewal_reads_a_timeline_and_its_files_are_the_same(cluster, folder):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    target = folder / "received"
    target.mkdir()
    last = None
    environment = os.environ | {"PGCONNECT_TIMEOUT": "10"}
    receiver = subprocess.Popen([PG_BIN / "pg_receivewal", "-D", target, "-d", connection_string(cluster, cluster.main_id),
                                 "--no-loop", "-s", "1"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(3):
            endpoint.sql("INSERT INTO t SELECT md5(i::text) FROM generate_series(1, 40000) i")
            endpoint.restart("immediate")
        last = endpoint.lsn()
        endpoint.stop("immediate")
        deadline = time.monotonic() + 30
        want = parse_lsn(last)
        while time.monotonic() < deadline:
            assert receiver.poll() is None, receiver.stderr.read()
            files = sorted(target.iterdir())
            if files and int(files[-1].name[16:24], 16) >= want // (16 << 20):
                time.sleep(1.0)
                break
            time.sleep(0.1)
    finally:
        receiver.terminate()
        receiver.wait(20)

    kept = wal_folder(cluster, cluster.main_id)
    files = sorted(target.iterdir())
    assert files
    for path in files:
        name = path.name.removesuffix(".partial")
        ours = (kept / name).read_bytes()
        theirs = path.read_bytes()
        segment_start = int(name[8:16], 16) << 32 | int(name[16:24], 16) * (16 << 20)
        upto = min(max(want - segment_start, 0), 16 << 20)
        assert theirs[:upto] == ours[:upto], name
        if path.suffix == ".partial":
            shutil.copy(path, target / name)
    first = int(files[0].name[8:16], 16) << 32 | int(files[0].name[16:24], 16) * (16 << 20)
    start = max(first, parse_lsn(cluster.initdb_lsn))
    lines = waldump(target, f"{start >> 32:X}/{start & 0xFFFFFFFF:X}", last)
    assert len(lines) > 1000
    check_prev_links(lines)


def test_a_branch_in_the_middle_of_a_segment_is_readable(cluster, folder):
    main = cluster.endpoint()
    main.sql("CREATE TABLE t (x text)")
    main.sql("INSERT INTO t SELECT md5(i::text) FROM generate_series(1, 5000) i")
    branch_id, lsn = cluster.branch("b")
    branch = cluster.endpoint("b")
    branch.sql("INSERT INTO t SELECT md5(i::text) FROM generate_series(1, 120000) i")
    branch.restart("immediate")
    last = branch.lsn()
    branch.stop("immediate")
    lines = waldump(wal_folder(cluster, branch_id), lsn, last)
    check_prev_links(lines)
    assert sum("CHECKPOINT_SHUTDOWN" in line for line in lines) >= 2
    # The first record names the ancestor's last one.
    assert lsn_of(lines[0]) >= parse_lsn(lsn)
    prev = parse_lsn(re.search(r"prev ([0-9A-F]+/[0-9A-F]+)", lines[0]).group(1))
    assert prev < parse_lsn(lsn)
    main_lines = waldump(wal_folder(cluster, cluster.main_id), cluster.initdb_lsn)
    assert prev in {lsn_of(line) for line in main_lines}


def test_a_replication_connection_without_a_timeline_is_refused(cluster, folder):
    target = folder / "received"
    target.mkdir()
    result = subprocess.run([PG_BIN / "pg_receivewal", "-D", target, "--no-loop", "-d",
                             f"host=127.0.0.1 port={cluster.safekeeper_port} user=x"], capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "timeline" in result.stderr, result.stderr
