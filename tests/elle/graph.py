"""A graph whose edges have kinds; its strongly connected components, and short cycles in them. Pure."""

import collections


class Graph:
    def __init__(self):
        self.edges = collections.defaultdict(dict)  # from -> to -> {kind: why}

    def add(self, source, target, kind, why=""):
        if source != target:
            self.edges[source].setdefault(target, {}).setdefault(kind, why)

    def successors(self, node, kinds):
        return [target for target, found in self.edges.get(node, {}).items() if not kinds.isdisjoint(found)]

    def edges_of(self, kind):
        for source, targets in self.edges.items():
            for target, found in targets.items():
                if kind in found:
                    yield source, target

    def components(self, kinds):
        """Those with more than one node, as sets."""
        return components(list(self.edges), lambda node: self.successors(node, kinds))

    def path(self, start, end, kinds, within):
        """A shortest one, as a list of nodes from start to end; None if there is none."""
        return path(start, end, lambda node: [n for n in self.successors(node, kinds) if n in within])


def components(nodes, successors):
    """Tarjan's algorithm with a stack of its own: histories are deeper than Python's recursion."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(successors(root)))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for following in rest:
                if following not in index:
                    index[following] = low[following] = len(index)
                    stack.append(following)
                    on_stack.add(following)
                    work.append((following, iter(successors(following))))
                    break
                if following in on_stack:
                    low[node] = min(low[node], index[following])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = set()
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.add(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        found.append(component)
    return found


def path(start, end, successors):
    came_from = {start: None}
    queue = collections.deque([start])
    while queue:
        node = queue.popleft()
        if node == end:
            nodes = []
            while node is not None:
                nodes.append(node)
                node = came_from[node]
            return nodes[::-1]
        for following in successors(node):
            if following not in came_from:
                came_from[following] = node
                queue.append(following)
    return None
