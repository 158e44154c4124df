"""What each event will request, exactly, `lead` events before it and across passes: what no prefetcher of that lead can beat in accuracy.

A bound, not a policy that a machine could run: the first layers of a token are known before the token is.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import at_lead, no_text, pass_of
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"lead": (1, 1, 1024)}
NEEDS = ("future", "passes")


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    no_text(ask, "perfect")
    return at_lead(trace, pass_of(trace), trace.expert_ids, np.arange(trace.n_layers), int(ask.arguments["lead"]))
