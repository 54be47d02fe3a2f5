"""The command line: lists as JSON, help everywhere, errors in one line that say what to do."""

import json
import re

import pytest

from harness import PORTS_PER_CLUSTER  # noqa: F401  (the harness is on the path)

COMMANDS = ["", "init", "start", "stop", "tenant", "tenant create", "tenant list", "tenant set-default", "timeline",
            "timeline create", "timeline branch", "timeline list", "endpoint", "endpoint create", "endpoint start",
            "endpoint stop", "endpoint list", "pageserver", "pageserver start", "pageserver stop", "pageserver status",
            "safekeeper", "safekeeper start", "safekeeper stop", "safekeeper status", "safekeeper list", "safekeeper dump",
            "safekeeper verify", "storage_broker", "verify",
            "storage_broker start", "storage_broker stop", "storage_broker status"]


@pytest.mark.quick
def test_every_command_has_help(make_cluster):
    cluster = make_cluster(start=False)
    for command in COMMANDS:
        output = cluster.helium(*command.split(), "--help")
        assert "Usage: helium" in output and "--help" in output, command
    assert not cluster.repo.exists()


@pytest.mark.quick
def test_wrong_usage_ends_with_status_2(make_cluster):
    cluster = make_cluster(start=False)
    for arguments in (["frobnicate"], [], ["endpoint", "start"], ["stop", "-m", "slow"], ["init", "--bogus"],
                      ["timeline", "branch"], ["init", "--pageserver-port", "70000"], ["safekeeper", "start", "one"]):
        error = cluster.refused(*arguments, status=2)
        assert "--help" in error, error


@pytest.mark.quick
def test_without_a_cluster_every_command_says_how_to_get_one(make_cluster):
    cluster = make_cluster(start=False)
    for command in ("start", "stop", "tenant list", "tenant create", "timeline list", "endpoint list", "endpoint start x",
                    "pageserver status", "safekeeper stop 1", "storage_broker start"):
        assert "helium init" in cluster.refused(*command.split()), command


@pytest.mark.quick
def test_init_touches_nothing_where_a_cluster_exists(make_cluster):
    cluster = make_cluster(start=False)
    cluster.init()
    before = {path: path.read_bytes() for path in cluster.repo.rglob("*") if path.is_file()}
    assert "exists already" in cluster.refused("init", "--num-safekeepers", "5")
    assert before == {path: path.read_bytes() for path in cluster.repo.rglob("*") if path.is_file()}


@pytest.mark.quick
def test_init_leaves_foreign_folders_alone(make_cluster):
    cluster = make_cluster(start=False)
    cluster.repo.mkdir()
    (cluster.repo / "diary.txt").write_text("dear diary")
    assert "diary.txt" in cluster.refused("init")
    assert sorted(path.name for path in cluster.repo.iterdir()) == ["diary.txt"]


@pytest.mark.quick
def test_init_refuses_ports_that_collide_and_a_distribution_without_postgres(make_cluster, folder):
    cluster = make_cluster(start=False)
    assert "port 7000" in cluster.refused("init", "--pageserver-port", "7000", "--storage-broker-port", "7000")
    assert "v15/bin" in cluster.refused("init", "--pg-distrib-dir", str(folder))
    assert "--num-safekeepers" in cluster.refused("init", "--num-safekeepers", "0")
    assert not cluster.repo.exists()


def test_a_distribution_directory_is_used(make_cluster, folder):
    distribution = folder / "dist"
    (distribution / "v15").mkdir(parents=True)
    (distribution / "v15" / "bin").symlink_to("/usr/lib/postgresql/15/bin")
    cluster = make_cluster(init_options=["--pg-distrib-dir", str(distribution)])
    endpoint = cluster.endpoint()
    registration = json.loads((endpoint.folder / "endpoint.json").read_text())
    assert registration["pg_bin_dir"] == str(distribution / "v15" / "bin")
    assert endpoint.value("SELECT 1") == 1


@pytest.mark.quick
def test_lists_as_json(cluster):
    endpoint = cluster.endpoint()
    branch_id, lsn = cluster.branch("dev")
    tenants = json.loads(cluster.helium("tenant", "list", "--json"))
    assert tenants == [{"tenant_id": cluster.tenant_id, "timelines": 2, "pg_versions": [15], "is_default": True}]
    timelines = json.loads(cluster.helium("timeline", "list", "--json"))
    assert [timeline["branch_name"] for timeline in timelines] == ["main", "dev"]
    assert timelines[1]["ancestor_timeline_id"] == cluster.main_id
    assert timelines[1]["timeline_id"] == branch_id and timelines[1]["start_lsn"] == lsn
    (listed,) = json.loads(cluster.helium("endpoint", "list", "--json"))
    assert listed["name"] == "main" and listed["status"] == "running"
    assert listed["address"] == f"127.0.0.1:{endpoint.pg_port}"
    endpoint.stop()
    assert json.loads(cluster.helium("endpoint", "list", "--json"))[0]["status"] == "stopped"


def test_names_that_do_not_exist_or_exist_already(cluster):
    endpoint = cluster.endpoint()
    refused = cluster.refused
    assert "main" in refused("endpoint", "start", "nope")
    assert "exists already" in refused("endpoint", "create", "main")
    assert "branches: main" in refused("endpoint", "create", "other", "--branch-name", "nope")
    assert "'/'" in refused("endpoint", "create", "../evil")
    assert "has a branch 'main' already" in refused("timeline", "branch", "--branch-name", "main")
    assert "no branch 'nope'" in refused("timeline", "branch", "--branch-name", "x", "--ancestor-branch-name", "nope")
    assert "LSN" in refused("timeline", "branch", "--branch-name", "x", "--ancestor-start-lsn", "zero")
    assert "ahead" in refused("timeline", "branch", "--branch-name", "x", "--ancestor-start-lsn", "FF/0")
    refused("timeline", "branch", "--branch-name", "x", "--ancestor-start-lsn", "0/28")
    assert "tenant id" in refused("timeline", "list", "--tenant-id", "abc")
    assert "there is no tenant" in refused("timeline", "list", "--tenant-id", "0" * 31 + "1")
    assert "exists already" in refused("tenant", "create", "--tenant-id", cluster.tenant_id)
    assert "not supported" in refused("tenant", "create", "--pg-version", "9")
    assert "this cluster has 1, 2 and 3" in refused("safekeeper", "start", "4")
    assert "not a setting" in refused("endpoint", "create", "x", "-c", "work_mem")
    assert "running already" in refused("endpoint", "start", "main")
    assert json.loads(cluster.helium("timeline", "list", "--json"))[-1]["branch_name"] == "main"
    endpoint.stop()
    assert "is not running" in cluster.helium("endpoint", "stop", "main")


def test_tenants_are_apart_and_the_default_one_can_change(cluster):
    first = cluster.endpoint()
    first.sql("CREATE TABLE only_here ()")
    output = cluster.helium("tenant", "create")
    other = re.search(r"tenant ([0-9a-f]{32}) success", output).group(1)
    assert "Setting tenant" not in output
    cluster.helium("endpoint", "create", "other", "--tenant-id", other)
    cluster.helium("tenant", "set-default", other)
    assert json.loads(cluster.helium("timeline", "list", "--json"))[0]["tenant_id"] == other
    cluster.helium("endpoint", "start", "other")
    listed = {each["name"]: each for each in json.loads(cluster.helium("endpoint", "list", "--json"))}
    assert listed["other"]["tenant_id"] == other and listed["main"]["tenant_id"] == cluster.tenant_id


def test_settings_stay_with_the_endpoint(cluster):
    endpoint = cluster.endpoint(settings={"work_mem": "7MB", "application_name": "it's \\ here"})
    for _ in range(2):
        assert endpoint.value("SHOW work_mem") == "7MB"
        endpoint.restart()
    error_endpoint = cluster.endpoint("second", branch="main", settings={"shared_buffers": "lots"}, start=False)
    cluster.expect_log("second|shared_buffers|postgres|exit|start")
    message = cluster.refused("endpoint", "start", error_endpoint.name)
    assert "shared_buffers" in message, message
    # It was found before the branch was taken over: the first endpoint goes on.
    endpoint.sql("CREATE TABLE goes_on AS SELECT 1 AS x")
    unknown = cluster.endpoint("third", branch="main", settings={"no_such_setting": "1"}, start=False)
    assert "no_such_setting" in cluster.refused("endpoint", "start", unknown.name)
    assert endpoint.value("SELECT x FROM goes_on") == 1


def test_destroy_removes_the_registration_and_keeps_the_branch(cluster):
    endpoint = cluster.endpoint()
    endpoint.sql("CREATE TABLE t AS SELECT 42 AS x")
    endpoint.stop(destroy=True)
    assert not endpoint.folder.exists()
    again = cluster.endpoint("again", branch="main")
    assert again.value("SELECT x FROM t") == 42


def test_daemon_commands(make_cluster):
    cluster = make_cluster(tenant=False)
    cluster.expect_log("broker|unavailable|connect")
    assert f"pid: {cluster.pid('pageserver')}" in cluster.helium("pageserver", "status")
    assert "running" in cluster.helium("safekeeper", "status", "2")
    for group, which in (("pageserver", []), ("safekeeper", ["2"]), ("storage_broker", [])):
        for mode in ("fast", "immediate"):
            assert "stopped" in cluster.helium(group, "stop", *which, "-m", mode)
            assert "not running" in cluster.helium(group, "stop", *which)
            assert "not running" in cluster.refused(group, "status", *which)
            assert "started, pid:" in cluster.helium(group, "start", *which)
            assert "already running" in cluster.helium(group, "start", *which)
