"""All experts of the next MoE layer, wanted while this one computes; behind the last layer, those of the first.

What engines do that stream whole layers (FlexGen, accelerate's offloading).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simmoe.policies.prefetch import Ask
from simmoe.simulator.nouns.trace import Trace

Ints = npt.NDArray[np.int64]


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    events = np.arange(trace.n_passes * trace.n_layers - 1)  # nothing follows the last one
    layer = (events + 1) % trace.n_layers
    experts = np.arange(trace.n_experts)
    return np.repeat(events, trace.n_experts), (layer[:, None] * trace.n_experts + experts).ravel()
