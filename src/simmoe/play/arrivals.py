"""When the requests of a clock-driven run arrive."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from simmoe.play.kinds import arrivals_of
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.player import splitmix64
from simmoe.simulator.errors import LATEST_PS, too_long

SECOND_PS = 10**12


def arrival_ps(arrivals: str | None, n: int, seed: int) -> Ints:
    """Of n requests, in whole picoseconds: all at 0 (None), one every so often from 0 on, or a Poisson process. Raises UserError."""
    if arrivals is None:
        return np.zeros(n, np.int64)
    how, figure = arrivals_of(arrivals, "--arrivals")
    if how == "every":
        found = [i * int(figure) for i in range(n)]
    else:
        high, low = (part.tolist() for part in splitmix64(seed, n))
        shares = [((up << 21) + (down >> 11) + 0.5) / 2**53 for up, down in zip(high, low)]  # inside 0 … 1
        gaps = [round(-math.log(share) * float(SECOND_PS / figure)) for share in shares]
        found = list(accumulate(gaps))
    if found[-1] > LATEST_PS:
        raise too_long()
    return np.array(found, np.int64)
