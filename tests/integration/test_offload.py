"""WAL leaves the safekeepers' disks for the object store, and is there when somebody needs it (docs/offload.md)."""

import random
import re
import subprocess
import time

from harness import PG_BIN, format_lsn, parse_lsn, wait_until
from test_vanilla_wal import SEGMENT, check_prev_links, connection_string

SEGMENT_SIZE = 16 << 20
SAFEKEEPERS = (1, 2, 3)


def local_segments(cluster, safekeeper, timeline_id=None):
    folder = cluster.repo / "safekeepers" / f"sk{safekeeper}"
    return sorted(path.name for path in folder.rglob("*")
                  if SEGMENT.fullmatch(path.name) and (timeline_id or cluster.main_id) in str(path))


def stored(cluster, timeline_id=None):
    """name -> path of the finished segments in the store."""
    folder = cluster.repo / "object_store" / "wal" / cluster.tenant_id / (timeline_id or cluster.main_id)
    return {path.name: path for path in folder.glob("*") if SEGMENT.fullmatch(path.name)}


def partials(cluster):
    return sorted(path.name for path in (cluster.repo / "object_store").rglob("*.partial"))


def segment_name(segno):
    return f"00000001{segno // 256:08X}{segno % 256:08X}"


def write(endpoint, megabytes):
    for _ in range(megabytes // 10):
        endpoint.sql("INSERT INTO t SELECT repeat(md5(i::text), 30) FROM generate_series(1, 9000) i")


def wait_until_offloaded(cluster, timeout=60):
    """All members know that all finished segments are in the store."""

    def done():
        for n in SAFEKEEPERS:
            timeline = cluster.safekeeper(n)
            if parse_lsn(timeline["backup_lsn"]) != parse_lsn(timeline["commit_lsn"]) // SEGMENT_SIZE * SEGMENT_SIZE:
                return False
        return True

    wait_until(done, timeout, "offload of all finished segments")


def receive_all(cluster, folder, upto, safekeeper=1):
    """pg_receivewal from the first segment on, until `upto` is there; the folder of segments."""
    target = folder / f"received-{safekeeper}-{time.monotonic_ns()}"
    target.mkdir()
    first = parse_lsn(cluster.initdb_lsn) // SEGMENT_SIZE
    # It begins anew with a segment that it finds half done.
    with (target / f"{segment_name(first)}.partial").open("wb") as file:
        file.truncate(SEGMENT_SIZE)
    port = cluster.safekeeper_port + safekeeper - 1
    address = connection_string(cluster, cluster.main_id).replace(f"port={cluster.safekeeper_port}", f"port={port}")
    receiver = subprocess.run([PG_BIN / "pg_receivewal", "-D", target, "-d", address, "--no-loop", "-s", "1",
                               # It ends when it has more than that.
                               "--endpos", format_lsn(parse_lsn(upto) - 1)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
    assert receiver.returncode == 0, receiver.stderr
    for path in target.glob("*.partial"):
        path.rename(path.with_suffix(""))
    return target


def check_received(cluster, target, upto):
    for name, path in stored(cluster).items():
        if (target / name).exists():
            received, kept = (target / name).read_bytes(), path.read_bytes()
            start = int(name[8:16], 16) << 32 | int(name[16:24], 16) * SEGMENT_SIZE
            known = min(parse_lsn(upto) - start, SEGMENT_SIZE)
            assert received[:known] == kept[:known], name
    dumped = subprocess.run([PG_BIN / "pg_waldump", "-p", target, "-s", cluster.initdb_lsn, "-e", upto],
                            capture_output=True, text=True, timeout=120)
    assert dumped.returncode == 0, dumped.stderr
    lines = [line for line in dumped.stdout.splitlines() if line.startswith("rmgr:")]
    assert len(lines) > 1000
    check_prev_links(lines)


def test_finished_wal_goes_to_the_store_and_every_reader_gets_it_back(make_cluster, folder):
    cluster = make_cluster(init_options=["--keep-wal-mb", "0"])
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    # A writer that goes on while safekeepers are killed, also in the midst of an upload.
    for round_number in range(4):
        write(endpoint, 30)
        victim = f"sk{random.randrange(3) + 1}"
        cluster.kill(victim)
        write(endpoint, 10)
        cluster.start_daemon(victim)
    write(endpoint, 20)
    rows = endpoint.value("SELECT count(*) FROM t")
    last = endpoint.lsn()
    wait_until(lambda: all(parse_lsn(cluster.safekeeper(n)["commit_lsn"]) >= parse_lsn(last) for n in SAFEKEEPERS), 60,
               "all safekeepers having the WAL")
    wait_until_offloaded(cluster)
    first = parse_lsn(cluster.initdb_lsn) // SEGMENT_SIZE
    finished = parse_lsn(last) // SEGMENT_SIZE - first
    assert finished >= 8
    names = sorted(stored(cluster))
    assert names[:finished] == [segment_name(first + n) for n in range(finished)], "a gap"
    # Everywhere but the last segments have left. (The one where recovery begins stays, and the next is prepared.)
    wait_until(lambda: all(len(local_segments(cluster, n)) <= 3 for n in SAFEKEEPERS), 60, "trimmed disks")
    endpoint.stop("immediate")

    check_received(cluster, receive_all(cluster, folder, last), last)
    for n in SAFEKEEPERS:
        cluster.kill(f"sk{n}")
        cluster.start_daemon(f"sk{n}")
    check_received(cluster, receive_all(cluster, folder, last, safekeeper=2), last)

    # A pageserver that begins anew asks for all WAL from the first LSN on, and a compute for what it needs.
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM t") == rows
    metrics = [cluster.safekeeper(n, path="/metrics") for n in SAFEKEEPERS]
    assert all(re.search(r"safekeeper_local_wal_bytes [1-9]", text) for text in metrics)


def test_an_idle_branch_leaves_memory_and_disk_and_wakes_by_itself(make_cluster, folder):
    cluster = make_cluster(init_options=["--keep-wal-mb", "0", "--evict-idle-after", "2"])
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    rows = 0
    for life in range(3):
        write(endpoint, 20)
        rows = endpoint.value("SELECT count(*) FROM t")
        last = endpoint.lsn()
        endpoint.stop("fast" if life == 0 else "immediate")
        wait_until(lambda: all(cluster.safekeeper(n)["residency"] == "evicted" for n in SAFEKEEPERS), 60, "sleep")
        before = [cluster.safekeeper(n) for n in SAFEKEEPERS]
        assert all(parse_lsn(timeline["commit_lsn"]) >= parse_lsn(last) for timeline in before)
        wait_until(lambda: all(local_segments(cluster, n) == [] for n in SAFEKEEPERS), 10, "empty folders")
        wait_until(lambda: len(partials(cluster)) == 3, 10, "one for each, the old ones gone")
        if life == 1:
            for n in SAFEKEEPERS:
                cluster.kill(f"sk{n}")
                cluster.start_daemon(f"sk{n}")
            after = [cluster.safekeeper(n) for n in SAFEKEEPERS]
            for one, other in zip(before, after):
                assert other["residency"] == "evicted", "a restart wakes nobody"
                for name in ("term", "log_term", "flush_lsn", "commit_lsn", "backup_lsn", "term_history"):
                    assert one[name] == other[name], name
        if life == 2:
            # A tool that reads from the first LSN on wakes one of them.
            def restores():
                return float(re.search(r"^safekeeper_restores_total (\S+)", cluster.safekeeper(3, path="/metrics"), re.M).group(1))

            restored = restores()
            check_received(cluster, receive_all(cluster, folder, last, safekeeper=3), last)
            assert restores() == restored + 1
        endpoint.start()
        assert endpoint.value("SELECT count(*) FROM t") == rows
        assert sum(cluster.safekeeper(n)["residency"] == "open" for n in SAFEKEEPERS) >= 2
    cluster.expect_log("cannot put a timeline to sleep")  # who is killed in the midst of it may say so


def test_a_store_that_is_away_stops_nothing_and_catches_up_later(make_cluster):
    cluster = make_cluster(init_options=["--keep-wal-mb", "0"])
    cluster.expect_log("cannot offload WAL", "cannot trim WAL")
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    store, away = cluster.repo / "object_store", cluster.repo / "object_store.away"
    store.rename(away)
    write(endpoint, 60)
    first = parse_lsn(cluster.initdb_lsn) // SEGMENT_SIZE
    wait_until(lambda: any("cannot offload WAL" in log.read_text(errors="replace") for log in cluster.log_files()), 30,
               "a warning")
    assert not store.exists()
    assert all(len(local_segments(cluster, n)) >= parse_lsn(endpoint.lsn()) // SEGMENT_SIZE - first for n in SAFEKEEPERS)
    away.rename(store)
    write(endpoint, 10)
    wait_until_offloaded(cluster, 90)
    assert segment_name(first) in stored(cluster)


def test_without_a_store_all_wal_stays(make_cluster):
    cluster = make_cluster(init_options=["--object-store", "none", "--evict-idle-after", "1"])
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t (x text)")
    write(endpoint, 40)
    last = endpoint.lsn()
    endpoint.stop("immediate")
    wait_until(lambda: all(cluster.safekeeper(n)["residency"] == "closed" for n in SAFEKEEPERS), 30, "closed files")
    first = parse_lsn(cluster.initdb_lsn) // SEGMENT_SIZE
    wanted = [segment_name(segno) for segno in range(first, parse_lsn(last) // SEGMENT_SIZE + 1)]
    for n in SAFEKEEPERS:
        assert local_segments(cluster, n)[:len(wanted)] == wanted
    assert not (cluster.repo / "object_store").exists()
    endpoint.start()
    assert endpoint.value("SELECT count(*) FROM t") == 36000
