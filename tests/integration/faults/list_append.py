"""The list-append workload: clients that append to lists and read them in transactions, and write down what they saw.

The history is what tests/elle checks. Keys are spread over several tables and retire after a while, so lists stay short;
a read takes the index or the whole table.
"""

import collections
import random
import threading
import time

import psycopg
from psycopg.errors import DeadlockDetected, SerializationFailure

import history
from ledger import Control

TABLES = 3
ACTIVE_KEYS = 6
APPENDS_PER_KEY = 40
OPS_MAX = 4


def create_tables(endpoint):
    for number in range(TABLES):
        endpoint.sql(f"CREATE TABLE lists_{number} (k int PRIMARY KEY, v int[] NOT NULL)")


class Generator:
    """Which transaction comes next. Elements are unique in a key. Thread safe."""

    def __init__(self, rng):
        self.rng = rng
        self.lock = threading.Lock()
        self.keys = list(range(ACTIVE_KEYS))
        self.elements = collections.Counter()

    def next(self):
        with self.lock:
            return [self._op() for _ in range(self.rng.randint(1, OPS_MAX))]

    def _op(self):
        place = self.rng.randrange(len(self.keys))
        key = self.keys[place]
        if self.rng.random() < 0.5:
            return ("r", key, None)
        self.elements[key] += 1
        if self.elements[key] == APPENDS_PER_KEY:
            self.keys[place] = max(self.keys) + 1
        return ("append", key, self.elements[key])

    def all_keys(self):
        with self.lock:
            return sorted({*self.elements, *self.keys})


class Client(threading.Thread):
    def __init__(self, number, workload):
        super().__init__(daemon=True, name=f"client {number}")
        self.workload = workload
        self.rng = random.Random(f"{workload.seed} client {number}")
        self.process = number
        self.connection = None
        self.life = None
        self.turn = 0
        self.crash = None
        self.last_error = None

    def run(self):
        try:
            while self.workload.control.may_go_on(self):
                if self.connect():
                    self.transact(self.workload.generator.next())
        except Exception as error:  # noqa: BLE001: the test must hear of it
            self.crash = error
        finally:
            self.workload.control.done(self)

    def connect(self):
        if self.connection is not None and not self.connection.closed:
            return True
        endpoints = self.workload.endpoints
        endpoint = endpoints[self.turn % len(endpoints)]
        try:
            self.connection = psycopg.connect(endpoint.dsn().replace("connect_timeout=10", "connect_timeout=3"), autocommit=True)
            started = self.connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()[0]
        except psycopg.Error as error:
            self.last_error = error
            self.turn += 1
            self.disconnect()
            self.workload.control.rest()
            return False
        self.life = (endpoint.name, started)
        return True

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def transact(self, ops):
        """Runs one attempt, and records it. Nothing is committed before COMMIT was sent."""
        done, committing, outcome = [], False, history.FAIL
        invoked = time.monotonic_ns()
        try:
            self.connection.execute(f"BEGIN ISOLATION LEVEL {self.workload.level}")
            for kind, key, element in ops:
                done.append((kind, key, self.apply(kind, key, element)))
            committing = True
            tag = self.connection.execute("COMMIT").statusmessage
            outcome = history.OK if tag == "COMMIT" else history.FAIL
        except (SerializationFailure, DeadlockDetected) as error:
            self.last_error = error
            try:
                self.connection.execute("ROLLBACK")
            except psycopg.Error:
                self.disconnect()
        except psycopg.Error as error:
            self.last_error = error
            outcome = history.INFO if committing else history.FAIL
            self.disconnect()
        completed = time.monotonic_ns()
        done += ops[len(done):]
        self.workload.record(history.Transaction(
            self.process, outcome, invoked, None if outcome == history.INFO else completed, done), self.life)
        if outcome == history.INFO:
            self.process = self.workload.new_process()

    def apply(self, kind, key, element):
        """What the operation gave: the list of a read, the element of an append."""
        table = f"lists_{key % TABLES}"
        if kind == "append":
            self.connection.execute(f"INSERT INTO {table} AS l VALUES (%s, ARRAY[%s::int]) "
                                    "ON CONFLICT (k) DO UPDATE SET v = l.v || excluded.v", [key, element])
            return element
        condition = "k = %s" if self.rng.random() < 0.7 else "k + 0 = %s"  # the second one reads the whole table
        rows = self.connection.execute(f"SELECT v FROM {table} WHERE {condition}", [key]).fetchall()
        assert len(rows) <= 1, f"key {key} twice: {rows}"
        return rows[0][0] if rows else []


class ListAppend:
    def __init__(self, endpoints, level, seed, clients=8):
        self.endpoints = endpoints
        self.level = level
        self.seed = seed
        self.control = Control()
        self.generator = Generator(random.Random(f"{seed} generator"))
        self.lock = threading.Lock()
        self.recorded = []  # (transaction, life)
        self.processes = clients
        self.acknowledged_count = 0
        self.clients = [Client(number, self) for number in range(clients)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        with self.control.changed:
            self.control.stopping = True
            self.control.changed.notify_all()
        for client in self.clients:
            client.join(60)
            assert client.crash is None, f"{client.name}: {client.crash!r}"

    def record(self, transaction, life):
        with self.lock:
            self.recorded.append((transaction, life))
            self.acknowledged_count += transaction.outcome == history.OK

    def new_process(self):
        with self.lock:
            self.processes += 1
            return self.processes

    def acknowledged(self):
        return self.acknowledged_count

    def state(self):
        return "; ".join(f"{client.name}: {client.last_error}" for client in self.clients)

    def read_everything(self, endpoint):
        """The last word: what is there when all is over."""
        reader = Client(self.new_process(), self)
        reader.connection = endpoint.connect()
        reader.life = (endpoint.name, reader.connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()[0])
        for key in self.generator.all_keys():
            reader.transact([("r", key, None)])
        reader.disconnect()

    def history(self):
        """In the order of beginnings. Marks what a replaced compute may have answered from its cache."""
        first_write, last_write = {}, {}
        for transaction, life in self.recorded:
            if transaction.outcome == history.OK and transaction.appends():
                first_write[life] = min(first_write.get(life, transaction.completed), transaction.completed)
                last_write[life] = max(last_write.get(life, transaction.completed), transaction.completed)
        for transaction, life in self.recorded:
            if transaction.outcome == history.OK and not transaction.appends():
                successors = [first for other, first in first_write.items() if other != life and first > last_write.get(life, 0)]
                transaction.may_be_stale = any(first < transaction.completed for first in successors)
        return sorted((transaction for transaction, _ in self.recorded), key=lambda each: each.invoked)
