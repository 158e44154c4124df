"""What is loaded before it is asked for, one file each: `wanted(trace, ask) -> (event, object)`, int64 [guesses] each.

`event` is the one at whose end the guess is decided (events are numbered pass-major, layer-minor), in rising order and in
order of preference within one; `object` is layer * experts + expert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from simmoe.simulator.nouns.trace import Trace


class Ask(NamedTuple):
    """What stands behind a prefetcher's name, and the seed of the run."""

    arguments: Mapping[str, int | float]  # by its ARGUMENTS
    seed: int = 0
    text: Trace | None = None  # behind the colon, whose routing it may know; None where there is none
