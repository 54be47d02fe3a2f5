"""`helium safekeeper list|status|dump|verify`, and the same facts over HTTP and as metrics."""

import json
import re
import shutil
import subprocess
import urllib.request

import pytest

from harness import PG_BIN, http, parse_lsn, wait_until

SEGMENT_SIZE = 16 << 20


def wal_folder(cluster, number=1):
    return cluster.repo / "safekeepers" / f"sk{number}" / cluster.tenant_id / cluster.main_id


def load(cluster, rows=20000):
    endpoint = cluster.endpoint("main")
    endpoint.sql("CREATE TABLE IF NOT EXISTS t (x text)")
    endpoint.sql(f"INSERT INTO t SELECT md5(i::text) FROM generate_series(1, {rows}) i")
    return endpoint


def test_list_and_status(cluster):
    endpoint = load(cluster)
    lsn = endpoint.lsn()
    listed = json.loads(cluster.helium("safekeeper", "list", "--json"))
    assert [(each["id"], each["status"], len(each["timelines"])) for each in listed] == [(n, "running", 1) for n in (1, 2, 3)]
    assert listed[1]["pid"] == cluster.pid("sk2")
    table = cluster.helium("safekeeper", "list").splitlines()
    assert table[0].split() == ["ID", "ROLE", "ADDRESS", "HTTP", "PID", "TIMELINES", "STATUS"] and len(table) == 4

    def told():
        (timeline,) = json.loads(cluster.helium("safekeeper", "status", "2", "--json"))["timelines"]
        peers = {peer["id"]: peer for peer in timeline["peers"]}
        return (parse_lsn(timeline["flush_lsn"]) >= parse_lsn(lsn) and parse_lsn(timeline["commit_lsn"]) >= parse_lsn(lsn)
                and set(peers) == {1, 3} and all(parse_lsn(peer["flush_lsn"]) >= parse_lsn(lsn) for peer in peers.values())
                and all(0 <= peer["heard_ms_ago"] < 30000 for peer in peers.values()))
    wait_until(told, 20, "safekeeper 2 knowing its own and its peers' positions")
    (timeline,) = json.loads(cluster.helium("safekeeper", "status", "2", "--json"))["timelines"]
    assert timeline["term"] == timeline["log_term"] == 1 and timeline["generation"] >= 1
    assert timeline == {**http("GET", cluster.safekeeper_http + 1, cluster.timeline_path()),
                        "peers": timeline["peers"], "readers": timeline["readers"]} or endpoint.lsn() != lsn

    text = cluster.helium("safekeeper", "status", "1")
    assert f"safekeeper 1 is running, pid: {cluster.pid('sk1')}" in text
    assert re.search(rf"{cluster.main_id}\s+main\s+active\s+1\s+1\s+1\s", text), text
    for heading in ("PEER", "HEARD", "LOG TERM", "BACKUP LSN"):
        assert heading in text
    wait_until(lambda: any(" feed " in cluster.helium("safekeeper", "status", str(n)) for n in (1, 2, 3)), 20,
               "the pageserver being a reader")
    assert cluster.main_id in cluster.helium("safekeeper", "status", "1", "--timeline", "main")
    assert "no branch 'nope'" in cluster.refused("safekeeper", "status", "1", "--timeline", "nope")
    assert "helium safekeeper status 1" in cluster.refused("safekeeper", "status", "1", "--timeline", "0" * 31 + "1")


def test_status_of_a_stopped_safekeeper(cluster):
    load(cluster).stop()
    cluster.helium("safekeeper", "stop", "3")
    assert "not running" in cluster.refused("safekeeper", "status", "3")
    assert json.loads(cluster.helium("safekeeper", "status", "3", "--json"))["status"] == "stopped"
    assert "stopped" in cluster.helium("safekeeper", "list").splitlines()[3]


@pytest.mark.parametrize("running", [True, False])
def test_dump_explains_control_file_and_segments(cluster, running):
    endpoint = load(cluster, rows=250000)
    lsn = endpoint.lsn()
    endpoint.stop()
    if not running:
        cluster.helium("safekeeper", "stop", "1")
    text = cluster.helium("safekeeper", "dump", "1", "--timeline", "main")
    for word in ("safekeeper.control", "format version", "promised", "voted_for", "flushed_lsn", "crc32c", "page header"):
        assert word in text, word
    dump = json.loads(cluster.helium("safekeeper", "dump", "1", "--timeline", cluster.main_id, "--json"))
    assert dump["state"] == "good" and parse_lsn(dump["end_lsn"]) >= parse_lsn(lsn)
    assert dump["control_file"]["safekeeper_id"] == 1 and len(dump["control_file"]["members"]) == 3
    with_records = [segment for segment in dump["segments"] if segment["records"]]
    assert len(with_records) >= 2 and sum(segment["records"] for segment in with_records) == dump["records"]
    for segment in dump["segments"]:
        assert segment["size"] == SEGMENT_SIZE
    # PostgreSQL counts the same records in the second segment.
    second = with_records[1]
    stock = subprocess.run([PG_BIN / "pg_waldump", "-p", wal_folder(cluster), second["name"]], capture_output=True, text=True)
    lines = [line for line in stock.stdout.splitlines() if line.startswith("rmgr:")]
    assert len(lines) == second["records"], stock.stderr
    first = re.search(r"lsn: (\S+),", lines[0]).group(1)
    assert parse_lsn(first) == parse_lsn(second["first_record"])


def test_verify_finds_the_first_bad_record_where_postgresql_does(cluster):
    endpoint = load(cluster, rows=250000)
    endpoint.stop()
    assert all(": good, " in cluster.helium("safekeeper", "verify", str(n)) for n in (1, 2, 3))
    cluster.helium("safekeeper", "stop", "2")
    (good,) = json.loads(cluster.helium("safekeeper", "verify", "2", "--json"))
    assert good["state"] == "good" and good["records"] > 250000

    segment = sorted(path for path in wal_folder(cluster, 2).iterdir() if re.fullmatch("[0-9A-F]{24}", path.name))[1]
    with open(segment, "r+b") as file:
        file.seek(5 << 20 | 4000)
        before = file.read(16)  # more than the padding behind a record, which nothing protects
        file.seek(5 << 20 | 4000)
        file.write(bytes(byte ^ 0x10 for byte in before))
    result = cluster.run("safekeeper", "verify", "2", "--timeline", "main", check=False)
    assert result.returncode == 1
    found = re.search(r": BAD at (\S+), segment ([0-9A-F]{24}) offset (\d+): (.*)", result.stdout)
    assert found, result.stdout
    assert found.group(2) == segment.name and (5 << 20) < int(found.group(3)) <= (5 << 20 | 4000)
    result = cluster.run("safekeeper", "verify", "2", "--json", check=False)
    assert result.returncode == 1
    (verdict,) = json.loads(result.stdout)
    assert verdict["state"] == "damaged" and verdict["damage"]["lsn"] == found.group(1)
    stock = subprocess.run([PG_BIN / "pg_waldump", "-p", segment.parent, segment.name], capture_output=True, text=True)
    theirs = re.search(r"in record at (\S+)|record.* at (\S+)$", stock.stderr.strip().splitlines()[-1])
    assert theirs and parse_lsn((theirs.group(1) or theirs.group(2)).rstrip(",:")) == parse_lsn(found.group(1)), stock.stderr
    # The others have nothing to do with it.
    assert ": good, " in cluster.helium("safekeeper", "verify", "1")


def test_verify_beside_a_running_writer(cluster):
    endpoint = cluster.endpoint("main")
    endpoint.pgbench_init(1)
    running = endpoint.start_pgbench(20)
    for number in (1, 2, 3, 1, 2, 3):
        assert ": good, " in cluster.helium("safekeeper", "verify", str(number))
    running.abandon()


def test_verify_and_dump_say_what_is_wrong_with_the_wish(cluster):
    assert "no timelines" in cluster.helium("safekeeper", "verify", "1") or cluster.main_id in cluster.helium("safekeeper", "verify", "1")
    assert "no branch 'nope'" in cluster.refused("safekeeper", "dump", "1", "--timeline", "nope")
    assert "no such timeline" in cluster.refused("safekeeper", "dump", "1", "--timeline", "0" * 31 + "1")
    assert "this cluster has 1, 2 and 3" in cluster.refused("safekeeper", "verify", "7")
    assert "--timeline" in cluster.refused("safekeeper", "dump", "1", status=2)


def test_metrics_show_latencies_and_positions(cluster):
    endpoint = load(cluster)
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.safekeeper_http}/metrics") as answer:
        text = answer.read().decode()
    for name in ("append", "fsync", "commit"):
        count = re.search(rf"^safekeeper_{name}_seconds_count (\d+)$", text, re.M)
        assert count and int(count.group(1)) > 0, name
    labels = f'{{tenant_id="{cluster.tenant_id}",timeline_id="{cluster.main_id}"}}'
    values = dict(re.findall(rf"^(safekeeper_\w+){re.escape(labels)} (\S+)$", text, re.M))
    assert 0 < float(values["safekeeper_commit_lsn"]) <= float(values["safekeeper_flush_lsn"])
    assert float(values["safekeeper_term"]) == 1
    assert re.search(r"^safekeeper_timelines_not_shown 0$", text, re.M)
    if shutil.which("promtool"):
        result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    endpoint.stop()
