"""Several cards that read a prompt: its passes follow each other through the cards, as llama.cpp's scheduler hands them out.

ggml_backend_sched_compute_splits: the host gives each card its part of a pass, one card after the other, then the parts of the next pass.
Before a part it waits until that card has computed its part of the pass `copies` before, whose inputs it overwrites. Where a card can
reach the next one (peer access), hidden states leave in the queue of the card that sends them; else the host waits for that card and
carries them itself.
"""

from __future__ import annotations

import numpy as np

from simmoe.simulator.arrays import Ints, ints


def ends_ps(parts_ps: Ints, message_ps: Ints, copies: int, peer: bool) -> Ints:
    """int64 [passes]: when each pass ends, counted from when the first begins. parts_ps: [passes, cards]; message_ps: [passes], of each
    message. A single copy is no pipeline: each pass begins when the one before has ended."""
    cards = parts_ps.shape[1]
    if copies < 2:
        return np.cumsum(parts_ps.sum(axis=1) + (cards - 1) * message_ps)
    ends = list[list[int]]()
    host, free = 0, [0] * cards
    for number, (parts, message) in enumerate(zip(parts_ps.tolist(), message_ps.tolist(), strict=True)):
        arrived = 0
        ends.append([])
        for card, part in enumerate(parts):
            if number >= copies:
                host = max(host, ends[number - copies][card])
            free[card] = max(host, free[card], arrived) + part
            ends[-1].append(free[card])
            if card < cards - 1:
                arrived = free[card] + message
                if peer:
                    free[card] = arrived
                else:
                    host = arrived
    return ints([of_pass[-1] for of_pass in ends])
