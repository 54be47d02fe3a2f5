"""Two computes want one branch: clients that note when each answer came and whose it was, and the rules for it.

Terms order computes. From the first commit of a later term that was acknowledged on, an earlier one acknowledges nothing
that was begun after it, nor does it read pages from storage. What it has in its own memory it may go on to serve until it
hears of its end (there are no leases); it has heard of it when it logged "fenced", and is dead from then on.
"""

import dataclasses
import json
import os
import pathlib
import threading
import time

import psycopg

SYNC, ASYNC, HOT, COLD = "commit", "asynchronous commit", "read from memory", "read from storage"
COLD_TABLES = 80
COLD_PACE_S = 0.1  # so that a life has tables left that it never read when its successor comes


def create_tables(endpoint):
    endpoint.sql("CREATE TABLE fight (life text, kind text, client int, n int, filler text)")
    for number in range(COLD_TABLES):
        endpoint.sql(f"CREATE TABLE cold_{number} AS SELECT i, repeat('x', 500) AS filler FROM generate_series(1, 300) AS i")


@dataclasses.dataclass
class Event:
    """Something that a client was given an answer to. Times are of time.time(), as in the logs."""

    kind: str
    life: tuple  # (endpoint, pid of the postmaster)
    invoked: float
    completed: float
    seen: object = None  # of a read: the lives whose rows it saw


def lives_in_logs(endpoints):
    """{life: term}, {life: when its end was logged}."""
    terms, ends = {}, {}
    for endpoint in endpoints:
        for line in (endpoint.folder / "compute.log").read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record["msg"] == "PostgreSQL accepts connections":
                life = (endpoint.name, record["pid"])
                terms[life] = record["term"]
            elif record["msg"].startswith("fenced: another compute") and "term" in record:
                for life, term in terms.items():
                    if life[0] == endpoint.name and term == record["term"]:
                        ends[life] = parse_time(record["ts"])
    return terms, ends


def parse_time(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def violations(events, terms, ends):
    """What the rules above forbid, in words."""
    found = []
    first_commit = {}  # term -> when its first commit was acknowledged
    for event in events:
        if event.kind == SYNC:
            term = terms[event.life]
            first_commit[term] = min(first_commit.get(term, event.completed), event.completed)
    for event in events:
        term = terms.get(event.life)
        if term is None:
            found.append(f"{event}: its compute never said that it was ready")
            continue
        if event.kind in (SYNC, COLD):
            later = [t for t, at in first_commit.items() if t > term and at < event.invoked]
            if later:
                found.append(f"term {term}: {event.kind} {event.invoked:.6f}..{event.completed:.6f} of {event.life}, after term "
                             f"{later[0]} had committed at {first_commit[later[0]]:.6f}")
        if event.invoked > ends.get(event.life, float("inf")):
            found.append(f"term {term}: {event.kind} at {event.invoked:.6f} after its end at {ends[event.life]:.6f}")
        for other in event.seen or ():
            if terms.get(other, 0) > term:
                found.append(f"term {term}: {event.kind} saw rows of term {terms[other]}")
    return found


class Fighter(threading.Thread):
    """One client. It keeps to its endpoint, and comes back when that one does, until told to stop."""

    def __init__(self, arena, endpoint, kind, number):
        super().__init__(daemon=True, name=f"{kind} on {endpoint.name}")
        self.arena, self.endpoint, self.kind, self.number = arena, endpoint, kind, number
        self.n = 0
        self.acknowledged = 0
        self.crash = None
        self.last_error = None
        self.connection = None

    def run(self):
        try:
            while not self.arena.stopping.is_set():
                try:
                    life = self.connect()
                    while not self.arena.stopping.is_set():
                        self.act(life)
                except psycopg.Error as error:
                    self.last_error = error
                    if self.connection is not None:
                        self.connection.close()
                    self.arena.stopping.wait(0.02)
        except Exception as error:  # noqa: BLE001: the test must hear of it
            self.crash = error

    def connect(self):
        self.connection = None
        self.connection = psycopg.connect(self.endpoint.dsn().replace("connect_timeout=10", "connect_timeout=3"), autocommit=True)
        backend = self.connection.info.backend_pid
        if self.kind == ASYNC:
            self.connection.execute("SET synchronous_commit = off")
        try:
            parent = int(pathlib.Path(f"/proc/{backend}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError as error:
            raise psycopg.OperationalError(f"the backend is gone: {error}") from error
        if parent == 1:
            raise psycopg.OperationalError("the postmaster is gone")
        return (self.endpoint.name, parent)

    def act(self, life):
        seen = None
        invoked = time.time()
        if self.kind in (SYNC, ASYNC):
            self.n += 1
            self.arena.note(life, self.kind, self.number, self.n, "begun")
            self.connection.execute("INSERT INTO fight VALUES (%s, %s, %s, %s, %s)",
                                    [json.dumps(life), self.kind, self.number, self.n, "x" * (self.n % 300)])
            self.arena.note(life, self.kind, self.number, self.n, "ack")
        elif self.kind == HOT:
            rows = self.connection.execute("SELECT DISTINCT life FROM fight").fetchall()
            seen = [tuple(json.loads(row[0])) for row in rows]
        else:
            table = self.arena.next_cold_table(life)
            if table is None:
                self.arena.stopping.wait(COLD_PACE_S)
                return
            invoked = time.time()
            self.arena.attempts.append((life, invoked))
            rows = self.connection.execute(f"SELECT count(*) FROM cold_{table} WHERE i > 0").fetchone()[0]
            assert rows == 300, rows
            self.arena.stopping.wait(COLD_PACE_S)
        self.acknowledged += 1
        self.arena.events.append(Event(self.kind, life, invoked, time.time(), seen))


class Arena:
    """All clients of both endpoints. Their answers are in `events`; acknowledged rows are also in a synced file."""

    def __init__(self, endpoints, folder):
        self.endpoints = endpoints
        self.stopping = threading.Event()
        self.events = []
        self.attempts = []  # (life, when) of reads from storage, answered or not
        self.rows = {}  # (life, kind, client, n) -> "begun" | "ack"
        self.lock = threading.Lock()
        self.cold = {}
        self.reading_held_back = False
        self.book = open(folder / "fight.log", "w")  # noqa: SIM115: for as long as the clients
        self.fighters = [Fighter(self, endpoint, kind, number) for endpoint in endpoints
                         for number, kind in enumerate([SYNC, SYNC, ASYNC, HOT, COLD])]

    def start(self):
        for fighter in self.fighters:
            fighter.start()

    def stop(self):
        self.stopping.set()
        for fighter in self.fighters:
            fighter.join(60)
            assert fighter.crash is None, f"{fighter.name}: {fighter.crash!r}"

    def note(self, life, kind, client, n, outcome):
        with self.lock:
            self.rows[life, kind, client, n] = outcome
            if outcome == "ack" and kind == SYNC:
                self.book.write(f"{json.dumps([life, kind, client, n])}\n")
                self.book.flush()
                os.fsync(self.book.fileno())

    def next_cold_table(self, life):
        """One that this life has not read before; None for now if there is none, or reading is held back."""
        with self.lock:
            if self.reading_held_back:
                return None
            number = self.cold.get(life, 0)
            self.cold[life] = number + 1
            return number if number < COLD_TABLES else None

    def commits(self, name):
        """Acknowledged on this endpoint so far."""
        return sum(fighter.acknowledged for fighter in self.fighters if fighter.endpoint.name == name and fighter.kind == SYNC)

    def state(self):
        return "; ".join(f"{fighter.name}: {fighter.acknowledged}, {fighter.last_error}" for fighter in self.fighters)

    def audit(self, endpoint):
        """Every acknowledged row once; of asynchronous ones, of each life, a beginning."""
        with self.lock:  # clients go on meanwhile: what was acknowledged before the query must be in it
            rows = dict(self.rows)
        stored = {}
        for life, kind, client, n in endpoint.sql("SELECT life, kind, client, n FROM fight"):
            key = (tuple(json.loads(life)), kind, client, n)
            stored[key] = stored.get(key, 0) + 1
        assert not [key for key, count in stored.items() if count > 1]
        with self.lock:
            assert stored.keys() <= self.rows.keys(), [key for key in stored if key not in self.rows][:5]
        missing = [key for key, outcome in rows.items() if outcome == "ack" and key[1] == SYNC and key not in stored]
        assert not missing, f"acknowledged and missing: {missing[:10]}"
        last = {}
        for life, kind, client, n in stored:
            last[life, kind, client] = max(last.get((life, kind, client), 0), n)
        gaps = [key for key, outcome in rows.items() if outcome == "ack" and key[1] == ASYNC and key not in stored
                and key[3] < last.get(key[:3], 0)]
        assert not gaps, f"an asynchronous commit is missing, and later ones are there: {gaps[:10]}"
        return len(stored)
