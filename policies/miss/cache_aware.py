"""A missing expert is replaced by a resident one that the router likes nearly as much, or else loaded. It changes the output.

After cache-aware routing (Skliar et al., "Mixture of Cache-Conditional Experts for Efficient Mobile Device Inference", TMLR 2025), which
lets the router choose among resident experts unless it would lose much. Nearly as much: its gate weight is at most `margin` below that of
the missing one. What stands in is not requested by the event, and stands in once; the expert that the event's tokens gave most is never
replaced. A trace holds the weights of the chosen experts alone, so that of a resident one is from the latest event that chose it.
"""

from simmoe.policies.answers import SUBSTITUTE, best_beside

NEEDS = ("argument", "gate", "resident")
ARGUMENTS = {"margin": (0.5, 0.0, 1.0)}  # of the missing expert's gate weight


def serve(n, resident, event, m):
    most, top = -1, -1
    for j in range(m.n_here[0]):
        if m.busy[j]:
            most = max(most, m.gate[m.here[j]])
    for k in range(n):
        if m.gate[m.obj[k]] > most:
            most = m.gate[m.obj[k]]
            top = k
    for k in range(n):
        wanted = m.gate[m.obj[k]]
        best = best_beside(k, m)
        if k != top and best >= 0 and m.gate[best] * 1000000 >= wanted * (1000000 - m.argument[0]):
            m.unit[k] = SUBSTITUTE + best
