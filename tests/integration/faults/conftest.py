import pytest

from network import ProxiedCluster


@pytest.fixture
def make_proxied_cluster(make_cluster_of):
    return lambda **options: make_cluster_of(ProxiedCluster, **options)
