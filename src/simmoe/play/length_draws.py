"""The length of each request: drawn from a distribution, or read from a file.

A request takes one number u of a stream of its own for prompts, for answers and for depths, so that neither the arrivals nor the other
lengths depend on it, nor the first requests on how many there are.
"""

from __future__ import annotations

import math
from itertools import islice
from statistics import NormalDist

import numpy as np

from simmoe.play import arrival_file
from simmoe.play.arrivals import shares
from simmoe.play.length_words import FILE, UNIFORM, Spread, spread_of
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.player import splitmix64
from simmoe.simulator.errors import UserError

STREAMS = {"prompt": 1, "generate": 2, "depth": 3}
SEEDS = 2**32  # a seed is below
BELOW_1 = 1 - 2**-53
MOST_TOKENS = 2**31 - 1  # of a sequence: positions of a trace are int32


def tokens_of(said: int | str, option: str, n: int, seed: int) -> Ints:
    """Of each of n requests. Raises UserError."""
    if isinstance(said, int):
        return np.full(n, said, np.int64)
    spread = spread_of(said, f"--{option}")
    if spread.how == FILE:
        return np.array(arrival_file.lengths(said, option, n), np.int64)
    found = [drawn(spread, min(u, BELOW_1)) for u in islice(shares(stream(seed, option)), n)]
    if max(found) > MOST_TOKENS:
        raise UserError(
            f"--{option} {said} drew a length of {max(found):,} tokens; at most {MOST_TOKENS:,}: give a smaller cv"
        )
    return np.array(found, np.int64)


def drawn(spread: Spread, u: float) -> int:
    """The length below which a share u of all lie."""
    if spread.how == UNIFORM:
        return spread.low + int(u * (spread.high - spread.low + 1))
    variance = math.log1p(float(spread.cv) ** 2)  # of the logarithm
    normal = NormalDist(math.log(spread.mean) - variance / 2, math.sqrt(variance))
    return max(round(math.exp(normal.inv_cdf(u))), 1)


def stream(seed: int, option: str) -> int:
    """Where the numbers of an option begin: the first output of a seed that no user has."""
    high, low = splitmix64(seed + STREAMS[option] * SEEDS, 1)
    return (int(high[0]) << 32) + int(low[0])
