"""In every layer as many experts on each device, and their tokens as even as the longest-processing-time rule has them.

From the most used expert to the least, each goes to the device with the fewest tokens so far that still has room: Graham's rule with
a limit, as the packing of DeepSeek's EPLB (deepseek-ai/EPLB:eplb.py, balanced_packing). balanced:first=50% counts the first half of the
text, which is then not played; balanced:TRACE another one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "devices"


def unit_of(use: npt.NDArray[np.int64], amount: int, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    layers, experts = use.shape
    unit = np.zeros((layers, experts), np.int8)
    for mine, tokens in zip(unit, use):
        load, room = np.zeros(amount), np.full(amount, -(-experts // amount))
        for expert in np.argsort(-tokens, kind="stable"):
            device = int(np.argmin(np.where(room > 0, load, np.inf)))
            mine[expert] = device
            load[device] += tokens[expert]
            room[device] -= 1
    return unit
