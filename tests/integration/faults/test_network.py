"""Goal: the proxies do what their modes say, and a cluster behind them works. Method: an echo server; then a cluster."""

import socket
import threading

import pytest

from harness import wait_until
from network import Network


class Echo:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        try:
            while received := connection.recv(65536):
                connection.sendall(received)
        except OSError:
            pass
        connection.close()


@pytest.fixture
def network():
    echo = Echo()
    network = Network("/nowhere", {"echo": [0, "127.0.0.1", echo.port]}, ["echo"])
    network.echo = echo
    yield network
    network.close()
    echo.listener.close()


def connect(network):
    client = socket.create_connection(("127.0.0.1", network.ports["echo"]), timeout=10)
    client.sendall(b"hello")
    assert client.recv(100) == b"hello"
    return client


def is_silent(client):
    client.settimeout(0.3)
    try:
        client.recv(100)
        return False
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def test_bytes_pass_in_order_and_ends_are_passed_on(network):
    client = connect(network)
    sent = bytes(range(256)) * 20000
    threading.Thread(target=client.sendall, args=(sent,)).start()
    received = b""
    while len(received) < len(sent):
        received += client.recv(65536)
    assert received == sent
    assert [link[:2] for link in network.links()] == [["clients", "echo"]]
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""


def test_cut(network):
    client = connect(network)
    network.set_rules([("*", "echo", "cut")])
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with pytest.raises(ConnectionResetError):
        connect(network)
    network.heal()
    connect(network)


@pytest.mark.parametrize("mode", ["hole", "hole_out", "hole_in"])
def test_hole_holds_back_and_loses_nothing(network, mode):
    client = connect(network)
    network.set_rules([("clients", "echo", mode)])
    client.sendall(b"later")
    assert is_silent(client)
    network.heal()
    assert client.recv(100) == b"later"


def test_a_connection_that_ends_in_a_hole_is_reset_when_the_network_is_back(network):
    client = connect(network)
    network.set_rules([("*", "*", "hole")])
    network.echo.accepted[0].shutdown(socket.SHUT_RDWR)
    assert is_silent(client)
    network.heal()
    client.settimeout(10)
    try:
        assert client.recv(100) == b""
    except ConnectionResetError:
        pass


def test_delay(network):
    client = connect(network)
    network.set_rules([("*", "*", "delay", 100)])
    client.sendall(b"slow")
    client.settimeout(10)
    assert client.recv(100) == b"slow"
    network.set_rules([("*", "*", "delay", 3_600_000)])
    client.sendall(b"not for an hour")
    assert is_silent(client)
    network.heal()
    assert client.recv(100) == b"not for an hour"


def test_half_open_is_noticed_by_the_one_that_sends_after_it(network):
    client = connect(network)
    network.set_rules([("clients", "echo", "half_open")])
    client.sendall(b"anybody there?")
    assert is_silent(client)
    network.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    client = connect(network)
    network.set_rules([("clients", "echo", "half_open_in")])
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_all_daemons_of_a_cluster_speak_through_their_proxies(make_proxied_cluster):
    cluster = make_proxied_cluster(endpoints=("a",))
    cluster.expect_log("connection|closed|safekeeper|stream")
    endpoint = cluster.proxied_endpoint("a", start=True)
    endpoint.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    cluster.wait_for_ingest(endpoint.lsn())

    def links():
        return {(source, target) for source, target, _, carried in cluster.network.links() if carried}
    wanted = {("a", "sk1"), ("a", "sk2"), ("a", "sk3"), ("a", "pageserver"), ("pageserver", "storage_broker"),
              *((f"sk{n}", "storage_broker") for n in (1, 2, 3))}
    wait_until(lambda: wanted <= links(), 30, f"all of {sorted(wanted)}")
    wait_until(lambda: any(source == "pageserver" and target.startswith("sk") for source, target in links()), 30,
               "the pageserver's WAL coming through a proxy")

    # Two of three safekeepers out of the compute's sight: no commit. One more is enough to go on.
    cluster.network.set_rules([("a", "sk1", "cut"), ("a", "sk3", "hole")])
    done = threading.Event()

    def insert():
        endpoint.sql("INSERT INTO t VALUES (0)")
        done.set()

    writer = threading.Thread(target=insert)
    writer.start()
    assert not done.wait(2), "acknowledged by a minority"
    cluster.network.set_rules([("a", "sk1", "cut")])
    assert done.wait(60)
    writer.join()
    assert endpoint.value("SELECT count(*) FROM t") == 1001
