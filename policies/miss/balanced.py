"""An event's missing experts are split so that link and CPU end together: what most tokens chose is loaded, the rest computed on the CPU.

Of the experts in falling order of their token slots, ties in request order, the first k are loaded, in request order. k minimises the
longer of two times on an idle machine: the sum of their loads, and one piece of the CPU over all others, with what the placement left to
the CPU in this event. Among equals the largest k: what is loaded may be asked for again.
"""

from simmoe.policies.pieces import piece_ps

NEEDS = ("load", "cpu")


def serve(n, resident, event, m):
    by_tokens(n, m)
    experts, slots = n + m.placed[0], m.placed[1]
    for k in range(n):
        slots += m.tokens[k]
    load_ps, loaded = 0, 0
    best_ps = piece_ps(experts, slots, m)
    for rank in range(n):
        k = m.scratch[rank]
        load_ps += m.load_ps[m.obj[k]]
        experts -= 1
        slots -= m.tokens[k]
        rest_ps = piece_ps(experts, slots, m)
        if max(load_ps, rest_ps) <= best_ps:
            best_ps = max(load_ps, rest_ps)
            loaded = rank + 1
    for rank in range(loaded, n):
        m.unit[m.scratch[rank]] = m.cpu[0]


def by_tokens(n, m):
    """Into m.scratch the missing experts in falling order of their token slots; a pass of one token is in order at once."""
    for k in range(n):
        at = k
        while at > 0 and m.tokens[m.scratch[at - 1]] < m.tokens[k]:
            m.scratch[at] = m.scratch[at - 1]
            at -= 1
        m.scratch[at] = k
