"""A TCP proxy in front of several daemons, told by its standard input how to treat each link.

    proxy.py CLUSTER_FOLDER '{"sk1": [15454, "127.0.0.1", 5454], …}' a,b

The routes: name: [listen here, connect there]; port 0 is any. Behind those named last are clients only. A link is (source, target). The target is what the connection was made to; the source is the program at its other end,
found through /proc: "sk1", "pageserver", "storage_broker", an endpoint's name, or "clients" for all else. So one proxy in
front of each daemon can cut between any two of them. Commands and answers are JSON lines:

    {"rules": [[SOURCE, TARGET, MODE, …], …]}     "*" is everybody; the first rule that fits a link holds
    {"links": true}                               which there are, and how many bytes they carried

    cut           connections are reset, and so are new ones
    hole          nothing passes, nothing is said; goes on when the rule is gone, as a network does that was down
    hole_out      the same from source to target only; hole_in: from target to source only
    delay MS      what is sent arrives MS later
    half_open     the target's side is reset, the source is told nothing; when the rule is gone it hears of it once it
                  sends; half_open_in: the other way round

Linux only. One thread; it ends with its standard input.
"""

import collections
import json
import os
import pathlib
import selectors
import socket
import struct
import sys
import time

CLIENTS = "clients"
CHUNK = 256 * 1024
BUFFERED_MAX = 1024 * 1024


class Programs:
    """Finds the daemon that a socket belongs to.

    A full search takes long, and all connections wait for it. So daemons found before are looked at first, and processes
    that are none and have run for a while (one that was just forked may become a daemon) are not looked at for a while.
    """

    FORGET_AFTER_S = 20
    SETTLED_AFTER_S = 10

    def __init__(self, folder):
        self.folder = os.fsencode(folder)
        self.known = {}  # pid -> name
        self.strangers = set()
        self.strangers_since = 0.0

    def owner(self, address):
        """Its name, or CLIENTS; None if the other end has gone already."""
        inode = self.inode(address)
        if inode is None:
            return None
        for pid in list(self.known):
            if self.name(pid) != self.known[pid]:
                del self.known[pid]
            elif self.has(pid, inode):
                return self.known[pid]
        if time.monotonic() > self.strangers_since + self.FORGET_AFTER_S:
            self.strangers, self.strangers_since = set(), time.monotonic()
        for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            if pid in self.known or pid in self.strangers:
                continue
            name = self.name(pid)
            if name:
                self.known[pid] = name
                if self.has(pid, inode):
                    return name
            elif self.has_settled(pid):
                self.strangers.add(pid)
        return CLIENTS

    def has_settled(self, pid):
        try:
            started = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        except OSError:
            return False
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        return uptime - started / os.sysconf("SC_CLK_TCK") > self.SETTLED_AFTER_S

    @staticmethod
    def inode(address):
        """Of the socket with this local address."""
        ending = f":{address[1]:04X}"
        for table in ("tcp", "tcp6"):  # gRPC takes IPv6 sockets for both
            for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(ending) and fields[9] != "0":
                    return fields[9]
        return None

    def name(self, pid):
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        command = [os.fsdecode(word) for word in line.split(b"\0")]
        program = command[0].rsplit("/", 1)[-1]
        if program == "storage_broker":
            return program  # its command line names no folder; only those of this cluster come here
        if self.folder not in line:
            return None
        if program == "safekeeper":
            return "sk" + command[command.index("--id") + 1]
        if program == "compute_ctl":
            return command[command.index("--endpoint-dir") + 1].rstrip("/").rsplit("/", 1)[-1]
        return program if program == "pageserver" else None

    @staticmethod
    def has(pid, inode):
        wanted = f"socket:[{inode}]"
        try:
            return any(os.readlink(entry.path) == wanted for entry in os.scandir(f"/proc/{pid}/fd"))
        except OSError:
            return False


def reset(sock):
    """Closes it so that the other end gets a RST, not an end of file."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


class Side:
    """One end of a connection, and what waits to be sent to it."""

    def __init__(self, connection, sock):
        self.connection = connection
        self.sock = sock
        self.other = None
        self.pending = collections.deque()  # (due, bytes)
        self.pending_bytes = 0
        self.ended = False  # it will send no more
        self.end_passed_on = False
        self.alive = True
        self.connecting = False


class Connection:
    def __init__(self, proxy, source, target, accepted):
        self.proxy = proxy
        self.source, self.target = source, target
        self.mode, self.delay = None, 0.0
        self.bytes = 0
        self.client, self.server = Side(self, accepted), None
        self.gone = False

    def sides(self):
        return [side for side in (self.client, self.server) if side is not None]

    def reset(self):
        if self.gone:
            return
        self.gone = True
        for side in self.sides():
            self.drop(side)
        self.proxy.connections.discard(self)

    def drop(self, side):
        if side.alive:
            side.alive = False
            self.proxy.forget(side.sock)
            reset(side.sock)

    def holds(self, side):
        """Nothing is taken from this side."""
        if self.mode == "hole" or self.mode in ("half_open", "half_open_in"):
            return True
        return self.mode == ("hole_out" if side is self.client else "hole_in")

    def apply(self, rule):
        mode = rule[2] if rule else None
        before, self.mode = self.mode, mode
        self.delay = rule[3] / 1000 if mode == "delay" else 0.0
        if before == "delay" and mode != "delay":
            for side in self.sides():
                side.pending = collections.deque((0, data) for _, data in side.pending)
        if mode == "cut":
            self.reset()
        elif mode in ("half_open", "half_open_in"):
            victim = self.server if mode == "half_open" else self.client
            if victim is not None:
                self.drop(victim)
        elif before is not None and mode is None and not all(side.alive for side in self.sides()):
            # One end is gone for good. Like its host, we answer what the other one sends with a reset.
            survivor = next((side for side in self.sides() if side.alive), None)
            if survivor is None or before.startswith("hole"):
                self.reset()
            elif survivor.pending or survivor.ended:
                self.reset()
        if not self.gone:
            for side in self.sides():
                self.proxy.watch(side)


class Proxy:
    def __init__(self, folder, routes, for_clients):
        self.daemons = set(routes) - set(for_clients)
        self.programs = Programs(folder)
        self.selector = selectors.DefaultSelector()
        self.routes = {}
        self.rules = []
        self.connections = set()
        for name, (port, host, target_port) in routes.items():
            listener = socket.create_server(("127.0.0.1", port), backlog=64)
            listener.setblocking(False)
            self.routes[name] = (listener, (host, target_port))
            self.selector.register(listener, selectors.EVENT_READ, lambda _, n=name: self.accept(n))
        self.commands = b""
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, self.on_command)
        self.events = {}

    def ports(self):
        return {name: listener.getsockname()[1] for name, (listener, _) in self.routes.items()}

    def run(self):
        print(json.dumps({"ports": self.ports()}), flush=True)
        while True:
            for key, events in self.selector.select(self.next_due()):
                key.data(events)
            self.send_due()

    # --- commands

    def on_command(self, _):
        received = os.read(0, 65536)
        if not received:
            sys.exit(0)
        *lines, self.commands = (self.commands + received).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "rules" in command:
                self.rules = command["rules"]
                for connection in list(self.connections):
                    connection.apply(self.rule_for(connection.source, connection.target))
            links = [[c.source, c.target, c.mode or "", c.bytes] for c in self.connections]
            print(json.dumps({"links": links}), flush=True)

    def rule_for(self, source, target):
        return next((rule for rule in self.rules if rule[0] in ("*", source) and rule[1] in ("*", target)), None)

    # --- connections

    def accept(self, name):
        try:
            accepted, address = self.routes[name][0].accept()
        except OSError:
            return
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = self.programs.owner(address) if name in self.daemons else CLIENTS
        if source is None:
            accepted.close()
            return
        rule = self.rule_for(source, name)
        connection = Connection(self, source, name, accepted)
        if rule and rule[2] in ("cut", "half_open", "half_open_in"):
            reset(accepted)  # a new connection cannot be half open
            return
        self.connections.add(connection)
        server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.server = Side(connection, server)
        connection.server.connecting = True
        connection.client.other, connection.server.other = connection.server, connection.client
        server.connect_ex(self.routes[name][1])
        connection.apply(rule)

    def forget(self, sock):
        if self.events.pop(sock, None):
            self.selector.unregister(sock)

    def watch(self, side):
        """Registers for what is wanted of this side now."""
        if not side.alive:
            return
        events = 0
        connection = side.connection
        if side.connecting:
            events = selectors.EVENT_WRITE
        else:
            other = side.other
            if not side.ended and not connection.holds(side) and other.pending_bytes < BUFFERED_MAX:
                events |= selectors.EVENT_READ
            if side.pending and side.pending[0][0] <= time.monotonic() and not connection.holds(other):
                events |= selectors.EVENT_WRITE
        before = self.events.get(side.sock, 0)
        if events == before:
            return
        if not events:
            self.forget(side.sock)
            return
        self.events[side.sock] = events
        if before:
            self.selector.modify(side.sock, events, lambda ready, s=side: self.on_ready(s, ready))
        else:
            self.selector.register(side.sock, events, lambda ready, s=side: self.on_ready(s, ready))

    def on_ready(self, side, ready):
        connection = side.connection
        if connection.gone or not side.alive:
            return
        try:
            if side.connecting:
                error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connect")
                side.connecting = False
                self.watch(side.other)
            else:
                if ready & selectors.EVENT_WRITE:
                    self.send(side)
                if ready & selectors.EVENT_READ and side.alive:
                    self.receive(side)
        except BlockingIOError:
            pass
        except OSError:
            if connection.mode and connection.mode.startswith("hole"):
                connection.drop(side)  # the other end must not hear of it before the network is back
            else:
                connection.reset()
            return
        if not connection.gone:
            self.watch(side)
            self.watch(side.other)

    def receive(self, side):
        received = side.sock.recv(CHUNK)
        connection = side.connection
        other = side.other
        if not received:
            side.ended = True
            self.pass_end_on(other)
            return
        if not other.alive:  # a half-open connection's other end answers with a reset
            connection.reset()
            return
        connection.bytes += len(received)
        other.pending.append((time.monotonic() + connection.delay, received))
        other.pending_bytes += len(received)
        if not connection.delay and not other.connecting:
            self.send(other)

    def send(self, side):
        now = time.monotonic()
        while side.pending and side.pending[0][0] <= now and side.alive:
            due, data = side.pending[0]
            sent = side.sock.send(data)
            side.pending_bytes -= sent
            if sent == len(data):
                side.pending.popleft()
            else:
                side.pending[0] = (due, data[sent:])
                break
        self.pass_end_on(side)

    def pass_end_on(self, side):
        if side.other.ended and not side.pending and not side.end_passed_on and side.alive and not side.connecting:
            side.end_passed_on = True
            side.sock.shutdown(socket.SHUT_WR)
        if side.ended and side.other.ended and not side.pending and not side.other.pending:
            connection = side.connection
            connection.gone = True
            for each in connection.sides():
                if each.alive:
                    each.alive = False
                    self.forget(each.sock)
                    each.sock.close()
            self.connections.discard(connection)

    # --- delays

    def next_due(self):
        if not any(connection.mode == "delay" for connection in self.connections) and not self.rules:
            return None
        now = time.monotonic()
        waits = [side.pending[0][0] - now for connection in self.connections for side in connection.sides()
                 if side.pending and side.pending[0][0] > now]
        return max(0.001, min(waits)) if waits else None

    def send_due(self):
        if any(rule[2] == "delay" for rule in self.rules):
            for connection in list(self.connections):
                for side in connection.sides():
                    if side.pending:
                        self.watch(side)


if __name__ == "__main__":
    Proxy(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split(",")).run()
