"""Writers whose book is kept outside: what was acknowledged, in a file that is synced before the next row is begun.

A row is (writer, n), with n rising; a writer is one thread with one connection at a time, to whatever endpoint takes it.
Before a row is sent its number is noted, and after that what came of it:

    begun N       no more than that: it may be there or not, but not twice
    ack N         it must be there, once
    failed N      surely not committed (the server said so, or COMMIT was never sent): it must not be there

Every third row is a transfer between two accounts, in the same transaction as the row: so half a transaction is seen in
the sums.
"""

import collections
import os
import random
import threading

import psycopg

ACCOUNTS = 20


def create_tables(endpoint):
    endpoint.sql("""CREATE TABLE ledger (writer int, n int, source int, target int, amount int, filler text);
                    CREATE INDEX ON ledger (writer, n);
                    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)""")
    endpoint.sql(f"INSERT INTO accounts SELECT id, 0 FROM generate_series(1, {ACCOUNTS}) AS id")


class Writer(threading.Thread):
    def __init__(self, number, endpoints, folder, seed, control):
        super().__init__(daemon=True, name=f"writer {number}")
        self.number = number
        self.endpoints = endpoints
        self.rng = random.Random(f"{seed} writer {number}")
        self.control = control
        self.book = open(folder / f"writer-{number}.log", "w")  # noqa: SIM115: for as long as the thread
        self.n = 0
        self.acknowledged = 0
        self.connection = None
        self.turn = 0
        self.last_error = None
        self.crash = None

    def note(self, line, durable=False):
        self.book.write(line + "\n")
        self.book.flush()
        if durable:
            os.fsync(self.book.fileno())

    def run(self):
        try:
            while self.control.may_go_on(self):
                self.write_row()
        except Exception as error:  # noqa: BLE001: the test must hear of it
            self.crash = error
        finally:
            self.control.done(self)

    def connected(self):
        if self.connection is None or self.connection.closed:
            endpoint = self.endpoints[self.turn % len(self.endpoints)]
            self.connection = psycopg.connect(endpoint.dsn().replace("connect_timeout=10", "connect_timeout=3"), autocommit=True)
        return self.connection

    def write_row(self):
        try:
            connection = self.connected()
        except psycopg.Error as error:
            self.last_error = error
            self.turn += 1  # the other endpoint may have it
            self.control.rest()
            return
        self.n += 1
        is_transfer = self.n % 3 == 0
        source, target = self.rng.sample(range(1, ACCOUNTS + 1), 2) if is_transfer else (None, None)
        amount = self.rng.randint(1, 100) if is_transfer else None
        row = [self.number, self.n, source, target, amount, "x" * self.rng.randrange(200)]
        insert = "INSERT INTO ledger VALUES (%s, %s, %s, %s, %s, %s)"
        self.note(f"begun {self.n}")
        committing = not is_transfer
        try:
            if is_transfer:
                connection.execute("BEGIN")
                for account, change in sorted([(source, -amount), (target, amount)]):
                    connection.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", [change, account])
                connection.execute(insert, row)
                committing = True
                connection.execute("COMMIT")
            else:
                connection.execute(insert, row)
        except psycopg.Error as error:
            self.last_error = error
            if not committing:
                self.note(f"failed {self.n}")
            self.drop_connection()
            return
        self.note(f"ack {self.n}", durable=True)
        self.acknowledged += 1

    def drop_connection(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Control:
    """Lets all writers pause, and go on."""

    def __init__(self):
        self.changed = threading.Condition()
        self.paused = False
        self.stopping = False
        self.at_rest = set()

    def may_go_on(self, writer):
        with self.changed:
            if self.paused and not self.stopping:
                self.at_rest.add(writer)
                self.changed.notify_all()
                self.changed.wait_for(lambda: not self.paused or self.stopping)
                self.at_rest.discard(writer)
            return not self.stopping

    def done(self, writer):
        with self.changed:
            self.at_rest.add(writer)
            self.changed.notify_all()

    def rest(self):
        with self.changed:
            self.changed.wait_for(lambda: self.stopping, 0.05)


class Ledger:
    def __init__(self, endpoints, folder, seed, writers=6):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.control = Control()
        self.writers = [Writer(number, endpoints, folder, seed, self.control) for number in range(1, writers + 1)]

    def start(self):
        for writer in self.writers:
            writer.start()

    def acknowledged(self):
        return sum(writer.acknowledged for writer in self.writers)

    def state(self):
        return "; ".join(f"{writer.name}: row {writer.n}, {writer.acknowledged} acknowledged, last error: {writer.last_error}" for writer in self.writers)

    def pause(self, patience):
        """Returns when no writer has anything under way."""
        control = self.control
        with control.changed:
            control.paused = True
            assert control.changed.wait_for(lambda: len(control.at_rest) == len(self.writers), patience), self.state()
        for writer in self.writers:
            assert writer.crash is None, f"{writer.name}: {writer.crash!r}"

    def resume(self):
        with self.control.changed:
            self.control.paused = False
            self.control.changed.notify_all()

    def stop(self):
        with self.control.changed:
            self.control.stopping = True
            self.control.changed.notify_all()
        for writer in self.writers:
            writer.join(30)

    # --- the audit

    def read_books(self):
        """{(writer, n): "begun" | "ack" | "failed"}, from the files."""
        outcomes = {}
        for writer in self.writers:
            for line in (self.folder / f"writer-{writer.number}.log").read_text().splitlines():
                word, n = line.split()
                outcomes[writer.number, int(n)] = word
        return outcomes

    def audit(self, endpoint):
        """Every row is where the books say. Returns how many were acknowledged, and how many are not known."""
        outcomes = self.read_books()
        with endpoint.connect(autocommit=False) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = connection.execute("SELECT writer, n, source, target, amount FROM ledger").fetchall()
            balances = dict(connection.execute("SELECT id, balance FROM accounts").fetchall())
            connection.execute("SET LOCAL enable_seqscan = off")
            indexed = connection.execute("SELECT count(*) FROM ledger WHERE writer > 0").fetchone()[0]
        stored = collections.Counter((writer, n) for writer, n, *_ in rows)
        doubled = sorted(row for row, count in stored.items() if count > 1)
        missing = sorted(row for row, outcome in outcomes.items() if outcome == "ack" and row not in stored)
        revived = sorted(row for row, outcome in outcomes.items() if outcome == "failed" and row in stored)
        foreign = sorted(row for row in stored if row not in outcomes)
        assert not doubled, f"(writer, n) twice: {doubled[:20]}"
        assert not missing, f"acknowledged and missing: {missing[:20]} ({len(missing)})"
        assert not revived, f"failed and there: {revived[:20]}"
        assert not foreign, f"never written and there: {foreign[:20]}"
        assert indexed == len(rows), f"the index finds {indexed} of {len(rows)} rows"
        expected = collections.Counter({account: 0 for account in range(1, ACCOUNTS + 1)})
        for _, _, source, target, amount in rows:
            if source is not None:
                expected[source] -= amount
                expected[target] += amount
        assert balances == dict(expected), f"the balances are not those of the transfers: {balances} {dict(expected)}"
        assert sum(balances.values()) == 0
        counts = collections.Counter(outcomes.values())
        return counts["ack"], counts["begun"]
