"""What clients did: one Transaction for each attempt, as a client saw it. Plain values; stored as JSON lines.

Outcomes: `ok`: acknowledged; `fail`: surely not committed; `info`: the answer never came, so it may have been committed.
Times are nanoseconds of one monotonic clock. Operations are ("append", key, element) and ("r", key, list); the list of a
read that was never answered is None. An element is appended to a key once in a whole history.
"""

import dataclasses
import json

OK, FAIL, INFO = "ok", "fail", "info"


@dataclasses.dataclass
class Transaction:
    process: int  # one session; a client whose outcome is not known goes on as another process
    outcome: str
    invoked: int
    completed: int | None
    ops: list
    # Read-only, answered by a server that did not know yet that another one had replaced it: what it saw is a state of
    # the past. Orders in time and in its session are not demanded of it.
    may_be_stale: bool = False
    note: str = ""

    def appends(self):
        return [(key, element) for kind, key, element in self.ops if kind == "append"]

    def reads(self):
        return [(key, value) for kind, key, value in self.ops if kind == "r" and value is not None]


def to_line(transaction):
    return json.dumps(dataclasses.asdict(transaction))


def from_line(line):
    fields = json.loads(line)
    fields["ops"] = [tuple(op) for op in fields["ops"]]
    return Transaction(**fields)


def load(path):
    with open(path) as lines:
        return [from_line(line) for line in lines if line.strip()]


def store(path, history):
    with open(path, "w") as out:
        out.writelines(to_line(transaction) + "\n" for transaction in history)
