"""A missing expert is replaced by a resident one of its layer and never waited for, as far as one is resident. It changes the output.

After SwapMoE (Kong et al., "SwapMoE: Serving Off-the-shelf MoE-based Large Language Models with Tunable Memory Budget", ACL 2024), whose
router sees only the resident experts. In its place stands the resident with the largest gate weight, each once: first those that the event
does not request, then the first of all again. A trace knows the weight of an expert from the latest event that chose it. Only where
nothing of the layer may stand in is it loaded, so what is resident then changes by prefetches alone.
"""

from simmoe.policies.answers import SUBSTITUTE, best_beside

NEEDS = ("gate", "resident")


def serve(n, resident, event, m):
    for k in range(n):
        best = best_beside(k, m)
        if best < 0:
            for j in range(m.n_here[0]):
                if best < 0 or m.gate[m.here[j]] > m.gate[best]:
                    best = m.here[j]
        if best >= 0:
            m.unit[k] = SUBSTITUTE + best
