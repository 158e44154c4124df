"""Answers of a miss rule that change what the model says; a rule that gives one imports its name from here."""

from simmoe.simulator.decide.missing import DROP as DROP
from simmoe.simulator.decide.missing import LOW as LOW
from simmoe.simulator.decide.missing import SUBSTITUTE as SUBSTITUTE
from simmoe.simulator.decide.missing import VERSION as VERSION


def best_beside(k, m):
    """The resident of the layer with the largest gate weight that the event does not request and that stands in for no missing expert
    before number k; ties by the smaller number, -1 = none. For rules that NEED gate and resident."""
    best = -1
    for j in range(m.n_here[0]):
        taken = m.busy[j]
        for other in range(k):
            if m.unit[other] == SUBSTITUTE + m.here[j]:
                taken = 1
        if taken == 0 and (best < 0 or m.gate[m.here[j]] > m.gate[best]):
            best = m.here[j]
    return best
