"""A cluster whose daemons reach each other through proxies only, and the faults of that network.

Each daemon advertises its proxy (config.json, `advertised`), so that links can be cut, silenced, delayed and half-closed;
`helium` itself and what a test asks over HTTP go past them. Modes: proxy.py.
"""

import json
import pathlib
import subprocess
import sys
import threading

from harness import Cluster, Endpoint

# Of the cluster's block of ports, behind those of the endpoints. Those of endpoints' proxies are chosen freely: only the
# test connects there.
FIRST_PROXY_PORT = 30
SAFEKEEPERS = ("sk1", "sk2", "sk3")


class Network:
    """The proxies of one cluster: a process of its own."""

    def __init__(self, folder, routes, for_clients):
        program = pathlib.Path(__file__).with_name("proxy.py")
        self.process = subprocess.Popen([sys.executable, str(program), str(folder), json.dumps(routes), ",".join(for_clients)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lock = threading.Lock()
        self.ports = json.loads(self.process.stdout.readline())["ports"]

    def tell(self, command):
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def set_rules(self, rules):
        """From now on these hold, and no others. A rule: (source, target, mode, …)."""
        return self.tell({"rules": [list(rule) for rule in rules]})["links"]

    def links(self):
        """(source, target, mode, bytes) of each connection."""
        return self.tell({"links": True})["links"]

    def heal(self):
        self.set_rules([])

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def around(name, mode, *arguments):
    """Rules for all links from and to one daemon."""
    return [("*", name, mode, *arguments), (name, "*", mode, *arguments)]


class ProxiedEndpoint(Endpoint):
    def dsn(self, database="postgres"):
        port = self.cluster.network.ports[self.name]
        return f"host=127.0.0.1 port={port} user=cloud_admin dbname={database} connect_timeout=10"


class ProxiedCluster(Cluster):
    """Endpoints are named beforehand, since each has a proxy for its clients."""

    def __init__(self, folder, endpoints=("a", "b"), **options):
        self.network = None
        self.endpoint_names = endpoints
        super().__init__(folder, **options)

    def init(self):
        super().init()
        base = self.first_port + FIRST_PROXY_PORT
        routes = {}
        for i, name in enumerate(SAFEKEEPERS):
            routes[name] = [base + i, "127.0.0.1", self.safekeeper_port + i]
            routes[f"{name}-http"] = [base + 3 + i, "127.0.0.1", self.safekeeper_http + i]
        routes["pageserver"] = [base + 6, "127.0.0.1", self.pageserver_port]
        routes["storage_broker"] = [base + 7, "127.0.0.1", self.broker_port]
        for i, name in enumerate(self.endpoint_names):
            routes[name] = [0, "127.0.0.1", self.endpoint_port + 2 * i]
        self.network = Network(self.repo, routes, self.endpoint_names)
        config_file = self.repo / "config.json"
        config = json.loads(config_file.read_text())
        for i, name in enumerate(SAFEKEEPERS):
            config["safekeepers"][i]["advertised"] = {"host": "127.0.0.1", "pg_port": routes[name][0],
                                                      "http_port": routes[f"{name}-http"][0]}
        for name in ("pageserver", "storage_broker"):
            config[name]["advertised"] = {"host": "127.0.0.1", "port": routes[name][0]}
        config_file.write_text(json.dumps(config, indent=2))

    def proxied_endpoint(self, name, branch="main", settings=None, start=False):
        endpoint = ProxiedEndpoint(self, name, branch, settings or {})
        endpoint.create()
        assert endpoint.pg_port == self.endpoint_port + 2 * self.endpoint_names.index(name)
        self.endpoints[name] = endpoint
        if start:
            endpoint.start()
        return endpoint

    def destroy(self):
        if self.network:
            self.network.heal()
        super().destroy()
        if self.network:
            self.network.close()
