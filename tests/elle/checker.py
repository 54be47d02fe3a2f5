"""Finds the anomalies of a list-append history: check(history) -> Report.

Only what is certain is reported: a transaction whose outcome is not known counts as committed if somebody saw what it
appended, and not at all otherwise; orders of versions come from reads alone.
"""

import collections

from anomalies import (DUPLICATE_ELEMENT, G0, G1A, G1B, G1C, G2, G_NONADJACENT, G_SINGLE, INCOMPATIBLE_ORDER, INTERNAL,
                       LOST_APPEND, LOST_UPDATE, PROCESS, REALTIME, UNKNOWN_ELEMENT, Anomaly, Report)
from graph import Graph, components, path
from history import FAIL, INFO, OK

DATA = frozenset({"ww", "wr"})
# A broken history can be one big knot. Whatever is in a knot is reported as at least one cycle; these bound how long
# better (shorter, worse) ones are looked for.
SEARCHES_MAX = 300
SHORT_PATH = 3


def check(history):
    return _Analysis(history).run()


class _Analysis:
    def __init__(self, history):
        self.history = history
        self.anomalies = []
        self.graph = Graph()
        self.writer = {}  # (key, element) -> index of a transaction
        self.last_append = {}  # (index, key) -> element
        for index, transaction in enumerate(history):
            for key, element in transaction.appends():
                if (key, element) in self.writer:
                    raise ValueError(f"element {element} is appended to {key} twice: the workload is wrong")
                self.writer[key, element] = index
                self.last_append[index, key] = element
        self.reads = [(index, key, value) for index, transaction in enumerate(history) if transaction.outcome == OK
                      for key, value in transaction.reads()]
        self.order = {}  # key -> its longest read

    def run(self):
        self.check_elements()
        self.infer_orders()
        self.check_internal()
        self.check_lost_updates()
        self.check_lost_appends()
        self.add_data_edges()
        self.add_process_edges()
        self.add_realtime_edges()
        self.find_cycles()
        return Report(self.anomalies, len(self.history), sum(len(targets) for targets in self.graph.edges.values()))

    def report(self, name, text, transactions):
        self.anomalies.append(Anomaly(name, text, [self.history[index] for index in transactions]))

    def show(self, index):
        transaction = self.history[index]
        ops = ", ".join(f"append {key} {value}" if kind == "append" else f"r {key} {value}" for kind, key, value in transaction.ops)
        return f"T{index} (process {transaction.process}, {transaction.outcome}: {ops})"

    # --- single reads

    def check_elements(self):
        for index, key, value in self.reads:
            if len(set(value)) != len(value):
                twice = sorted(element for element, count in collections.Counter(value).items() if count > 1)
                self.report(DUPLICATE_ELEMENT, f"{twice} twice in key {key}: {self.show(index)}", [index])
            for position, element in enumerate(value):
                writer = self.writer.get((key, element))
                if writer is None:
                    self.report(UNKNOWN_ELEMENT, f"nobody appended {element} to key {key}: {self.show(index)}", [index])
                elif self.history[writer].outcome == FAIL:
                    self.report(G1A, f"{self.show(index)} read {element} of key {key}, which {self.show(writer)} "
                                     "appended and never committed", [index, writer])
                elif position == len(value) - 1 and writer != index and self.last_append[writer, key] != element:
                    self.report(G1B, f"{self.show(index)} read key {key} between two appends of {self.show(writer)}",
                                [index, writer])

    def infer_orders(self):
        reader = {}
        for index, key, value in self.reads:
            if len(value) > len(self.order.get(key, ())):
                self.order[key] = value
                reader[key] = index
        for index, key, value in self.reads:
            if value != self.order.get(key, [])[:len(value)]:
                self.report(INCOMPATIBLE_ORDER, f"key {key}: {self.show(index)} and {self.show(reader[key])} disagree",
                            [index, reader[key]])

    def is_prefix(self, key, value):
        return value == self.order.get(key, [])[:len(value)]

    def check_internal(self):
        for index, transaction in enumerate(self.history):
            if transaction.outcome != OK:
                continue
            known, own = {}, collections.defaultdict(list)
            for kind, key, value in transaction.ops:
                if kind == "append":
                    own[key].append(value)
                    if key in known:
                        known[key] = known[key] + [value]
                    continue
                agrees = value == known[key] if key in known else value[len(value) - len(own[key]):] == own[key]
                if not agrees:
                    self.report(INTERNAL, f"the reads of key {key} disagree with what happened before them in {self.show(index)}",
                                [index])
                known[key] = value

    def base_reads(self):
        """(index, key, what was there before the transaction's own appends), once for each key of a transaction."""
        seen = set()
        for index, key, value in self.reads:
            if (index, key) in seen:
                continue
            seen.add((index, key))
            end = len(value)
            while end > 0 and self.writer.get((key, value[end - 1])) == index:
                end -= 1
            yield index, key, value[:end]

    # --- pairs

    def committed(self):
        """Acknowledged, or seen by somebody."""
        seen = {self.writer[key, element] for key, order in self.order.items() for element in order if (key, element) in self.writer}
        return [index for index, transaction in enumerate(self.history)
                if transaction.outcome == OK or (transaction.outcome == INFO and index in seen)]

    def check_lost_updates(self):
        updates = collections.defaultdict(list)
        for index, key, base in self.base_reads():
            if (index, key) in self.last_append:
                updates[key, tuple(base)].append(index)
        for (key, base), indices in updates.items():
            if len(indices) > 1:
                who = " and ".join(self.show(index) for index in indices[:3])
                self.report(LOST_UPDATE, f"{who} all read key {key} as {list(base)[-3:]} (length {len(base)}) and appended to it", indices)

    def check_lost_appends(self):
        """Against the first read of its key that began later: a cycle would tell as well, but less plainly."""
        by_key = collections.defaultdict(list)
        for index, key, value in self.reads:
            if not self.history[index].may_be_stale:
                by_key[key].append((self.history[index].invoked, index, value))
        for reads in by_key.values():
            reads.sort(key=lambda read: read[0])
        for (key, element), writer in self.writer.items():
            transaction = self.history[writer]
            if transaction.outcome != OK:
                continue
            later = [read for read in by_key[key] if read[0] > transaction.completed]
            for _, index, value in later[-1:]:
                if element not in value:
                    self.report(LOST_APPEND, f"{self.show(writer)} was acknowledged, and {self.show(index)} began later and lacks {element}",
                                [writer, index])

    # --- dependencies

    def add_data_edges(self):
        unseen = collections.defaultdict(list)
        for (key, element), writer in self.writer.items():
            if self.history[writer].outcome == OK and key in self.order and element not in self.order[key]:
                unseen[key].append((element, writer))
        for key, order in self.order.items():
            writers = [self.writer.get((key, element)) for element in order]
            for before, after, element in zip(writers, writers[1:], order[1:]):
                if before is not None and after is not None:
                    self.graph.add(before, after, "ww", f"appended {element} to key {key} behind it")
            for element, writer in unseen[key]:  # committed, and not in the longest version: so it came behind
                if writers and writers[-1] is not None:
                    self.graph.add(writers[-1], writer, "ww", f"appended {element} to key {key} behind it")
        for index, key, base in self.base_reads():
            if not self.is_prefix(key, base):
                continue
            order = self.order.get(key, [])
            if base and (key, base[-1]) in self.writer:
                self.graph.add(self.writer[key, base[-1]], index, "wr", f"its {base[-1]} in key {key} was read")
            if len(base) < len(order):
                if (key, order[len(base)]) in self.writer:
                    self.graph.add(index, self.writer[key, order[len(base)]], "rw", f"{order[len(base)]} in key {key} was not read yet")
            else:
                for element, writer in unseen[key]:
                    self.graph.add(index, writer, "rw", f"{element} in key {key} was not read yet")

    def add_process_edges(self):
        last = {}
        for index in sorted(self.committed(), key=lambda each: self.history[each].invoked):
            transaction = self.history[index]
            if transaction.may_be_stale:
                continue
            if transaction.process in last:
                self.graph.add(last[transaction.process], index, "process", "the same session, later")
            last[transaction.process] = index

    def add_realtime_edges(self):
        """Not each pair: completions form a chain of moments, and each beginning hangs on the last moment before it."""
        events = []
        for index in self.committed():
            transaction = self.history[index]
            if not transaction.may_be_stale:
                events.append((transaction.invoked, 0, index))
            if transaction.outcome == OK:
                events.append((transaction.completed, 1, index))
        moment = None
        for position, (_, is_completion, index) in enumerate(sorted(events)):
            if not is_completion:
                if moment is not None:
                    self.graph.add(moment, index, "realtime", "it began after that was over")
                continue
            following = ("moment", position)
            if moment is not None:
                self.graph.add(moment, following, "realtime")
            self.graph.add(index, following, "realtime")
            moment = following

    # --- cycles

    def find_cycles(self):
        found = set()
        for suffix, order in (("", set()), (PROCESS, {"process"}), (REALTIME, {"process", "realtime"})):
            dependencies = DATA | order
            everything = dependencies | {"rw"}
            for component in self.graph.components(everything):
                cycles = {
                    G0: self.cycle(component, {"ww"} | order, "ww"),
                    G1C: self.cycle(component, dependencies, "wr"),
                    G_SINGLE: self.cycle(component, dependencies, "rw"),
                    G_NONADJACENT: self.cycle_without_adjacent(component, dependencies),
                    G2: self.cycle(component, everything, "rw"),
                }
                for name, nodes in cycles.items():
                    # A cycle of a worse kind explains the milder ones, and one without time those with it.
                    if nodes and not any((worse, s) in found for worse in self.implied_by(name) for s in ("", PROCESS, REALTIME)):
                        found.add((name, suffix))
                        self.report(name + suffix, self.show_cycle(nodes, everything), [n for n in nodes[:-1] if not isinstance(n, tuple)])

    @staticmethod
    def implied_by(name):
        return {G0: [G0], G1C: [G1C], G_SINGLE: [G_SINGLE], G_NONADJACENT: [G_NONADJACENT, G_SINGLE],
                G2: [G2, G_NONADJACENT, G_SINGLE]}[name]

    def cycle(self, component, kinds, needed):
        """One edge of the kind `needed` and a shortest way back over edges of `kinds`."""
        best = None
        edges = [(source, target) for source, target in self.graph.edges_of(needed) if source in component and target in component]
        for source, target in edges[:SEARCHES_MAX]:
            back = self.graph.path(target, source, kinds, component)
            if back and (best is None or len(back) + 1 < len(best)):
                best = [source, *back]
                if len(back) <= SHORT_PATH:
                    break
        return best

    def cycle_without_adjacent(self, component, dependencies):
        """No rw follows a rw: nodes are doubled, the second half is where a rw leads to."""
        def successors(node):
            place, after_rw = node
            steps = [(n, False) for n in self.graph.successors(place, dependencies) if n in component]
            if not after_rw:
                steps += [(n, True) for n in self.graph.successors(place, {"rw"}) if n in component]
            return steps

        for doubled in components([(node, False) for node in component], successors):
            start = next((node for node in doubled if node[1]), None)
            if start is None:
                continue  # dependencies alone: G0 or G1c
            for following in successors(start):
                if following in doubled:
                    back = path(following, start, lambda node: [n for n in successors(node) if n in doubled])
                    return [start[0], *(node for node, _ in back)]
        return None

    def show_cycle(self, nodes, kinds):
        lines = []
        for source, target in zip(nodes, nodes[1:]):
            why = self.graph.edges[source][target]
            kind = next(k for k in ("ww", "wr", "rw", "process", "realtime") if k in why and k in kinds)
            if not isinstance(source, tuple):
                lines.append(f"\n  {self.show(source)}")
            if not isinstance(target, tuple):
                lines.append(f" -{kind}-> {why[kind]}")
        return "".join(lines)
