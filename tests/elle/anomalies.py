"""Names of anomalies, and which model forbids which."""

import dataclasses

# Seen in single reads and writes.
UNKNOWN_ELEMENT = "unknown-element"        # read, though nobody appended it
DUPLICATE_ELEMENT = "duplicate-element"    # twice in one list
INCOMPATIBLE_ORDER = "incompatible-order"  # two reads of a key, neither the beginning of the other
LOST_APPEND = "lost-append"                # acknowledged, and missing in what was read later
G1A = "G1a"                                # read of what an aborted transaction appended
G1B = "G1b"                                # read of what was not the last append of a transaction to that key
INTERNAL = "internal"                      # a transaction's read disagrees with what it read or appended before
LOST_UPDATE = "lost-update"                # two transactions read one version of a key, and both appended to it
# Cycles.
G0 = "G0"                      # of ww
G1C = "G1c"                    # of ww and wr
G_SINGLE = "G-single"          # with one rw
G_NONADJACENT = "G-nonadjacent"  # with several rw, no two of them in a row
G2 = "G2-item"                 # with several rw

PROCESS, REALTIME = "-process", "-realtime"  # the cycle needs the order in a session, or that in time

_READ_COMMITTED = {UNKNOWN_ELEMENT, DUPLICATE_ELEMENT, INCOMPATIBLE_ORDER, G1A, G1B, G0, G1C}
_SNAPSHOT = _READ_COMMITTED | {INTERNAL, LOST_UPDATE, G_SINGLE, G_NONADJACENT}
_SERIALIZABLE = _SNAPSHOT | {G2}


def _in_time(names):
    return names | {LOST_APPEND} | {name + order for name in names for order in (PROCESS, REALTIME)}


FORBIDDEN = {
    "read committed": _READ_COMMITTED,
    "snapshot isolation": _SNAPSHOT,
    "serializable": _SERIALIZABLE,
    "strong snapshot isolation": _in_time(_SNAPSHOT),  # a snapshot holds all that was acknowledged before
    "strict serializable": _in_time(_SERIALIZABLE),    # the serial order agrees with time
}


@dataclasses.dataclass
class Anomaly:
    name: str
    text: str  # for people: what was seen, transaction by transaction
    transactions: list

    def __str__(self):
        return f"{self.name}: {self.text}"


class Report:
    def __init__(self, anomalies, transactions, edges):
        self.anomalies = anomalies
        self.transactions = transactions
        self.edges = edges

    def names(self):
        return {anomaly.name for anomaly in self.anomalies}

    def violations(self, model):
        return [anomaly for anomaly in self.anomalies if anomaly.name in FORBIDDEN[model]]

    def models(self):
        """The models that this history is in keeping with."""
        return [model for model in FORBIDDEN if not self.violations(model)]
