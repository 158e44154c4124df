"""A missing expert goes the way that takes less time on an idle machine: CPU for few tokens, link for many (Fiddler).

Each expert is weighed as if it were the only one: where link and CPU are about equally fast, all of an event's experts go one way.
"""

from simmoe.policies.pieces import piece_ps

NEEDS = ("load", "cpu")


def serve(n, resident, event, m):
    for k in range(n):
        alone_ps = piece_ps(1, m.tokens[k], m)
        if alone_ps < m.load_ps[m.obj[k]]:
            m.unit[k] = m.cpu[0]
