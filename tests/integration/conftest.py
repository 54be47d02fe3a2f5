"""Fixtures: a cluster per test, in a folder of its own, taken down afterwards; its logs are read."""

import os
import pathlib
import shutil
import tempfile

import pytest

from harness import Cluster


@pytest.fixture
def folder():
    """A place for one cluster. Not pytest's own: that one is private to root, and computes drop root."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="helium-test-"))
    path.chmod(0o755)
    yield path
    if os.environ.get("HELIUM_TEST_KEEP"):
        print(f"kept: {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_cluster(make_cluster_of):
    return lambda name="cluster", **options: make_cluster_of(Cluster, name, **options)


@pytest.fixture
def make_cluster_of(folder, request):
    """Makes clusters of a class derived from Cluster."""
    clusters = []

    def make(kind, name="cluster", **options):
        cluster = kind.__new__(kind)
        clusters.append(cluster)  # before it starts: a half-started cluster is taken down as well
        cluster.__init__(folder / name, **options)
        return cluster

    yield make
    failed = getattr(request.node, "failed", False)
    for cluster in clusters:
        if not hasattr(cluster, "repo"):
            continue
        cluster.destroy()
        if failed:
            _print_logs(cluster)
        else:
            unexpected = cluster.unexpected_log_lines()
            assert not unexpected, "log lines that nobody announced:\n" + "\n".join(unexpected[:20])


@pytest.fixture
def cluster(make_cluster):
    """Running storage with a default tenant."""
    return make_cluster()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().when == "call" and outcome.get_result().failed:
        item.failed = True


def _print_logs(cluster):
    for path in cluster.log_files():
        lines = path.read_text(errors="replace").splitlines()
        print(f"--- {path.relative_to(cluster.repo)}, last lines")
        print("\n".join(lines[-25:]))
