"""The recorded guesses for the next MoE layer (`predicted_ids` of lead 1), wanted while this one computes: recorded=1.

As in mixtral-offloading (Eliseev and Mazur 2023, section 3.2); how good the guesses are is the trace's.
"""

from __future__ import annotations

from simmoe.policies.guessing import no_text
from simmoe.policies.prefetch import Ask
from simmoe.policies.prefetch.recorded import of_lead
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    no_text(ask, "next_layer")
    return of_lead(trace, 1, "next_layer")
