"""What no policy can beat: the fewest bytes that are loaded at a budget, and the most tokens a second that they leave.

A request whose expert was not resident since its last request costs a load in between, whoever asked for it and when. Belady's MIN with
bypass keeps as many experts from request to request as slots allow, so its misses are the fewest loads of any policy, with look-ahead or
without, that starts cold and loads what is missing. Slots are of the smallest expert, so experts of several sizes only make it weaker.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simmoe.play.result import Run
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.curves import BYPASS, Curves
from simmoe.simulator.nouns.trace import DECODE, Trace


def least(made: Curves, trace: Trace, budgets: Sequence[int]) -> tuple[Ints, Ints]:
    """int64 [budgets]: bytes that any policy loads, in the whole run and in its decode passes.

    A stretch of decode passes behind a prompt may begin with any content, which saves it at most a load for each slot.
    """
    smallest, requests = int(made.expert_bytes.min()), made.requests
    slots = [budget // smallest for budget in budgets]  # no more are ever resident
    whole = _global(made, made.starts[1:-1])
    first = np.flatnonzero(np.diff(trace.phase, prepend=-1))  # passes with which another phase begins
    begins = np.searchsorted(requests.event_pass, first)
    pieces = _global(made, np.union1d(begins, made.starts[1:-1]))
    number = np.repeat(np.cumsum(np.isin(np.arange(requests.n_events), begins)) - 1, np.diff(requests.ptr))
    free = np.arange(len(first)) > 0  # what the first stretch begins with is nothing
    decode = trace.phase[first] == DECODE
    loads, of_decode = [], []
    for n in slots:
        loads.append(int((whole > n).sum()))
        missed = np.bincount(number[pieces > n], minlength=len(first)) - n * free
        of_decode.append(int(np.maximum(missed, 0)[decode].sum()))
    return np.array(loads) * smallest, np.array(of_decode) * smallest


def _global(made: Curves, cold_at: Ints) -> Ints:
    """[requests]: slots with which MIN with bypass has it as a hit, whatever the scope."""
    phase = np.zeros(int(made.requests.event_pass[-1]) + 1, np.int64)
    same = Curves(made.requests, phase, np.ones_like(made.expert_bytes), "global", cold_at=cold_at, player=made.player)
    return same.groups[0].least(BYPASS)


def most_tok_s(everything: Run, decode_bytes: int) -> float | None:
    """Tokens a second where decode takes at least the time of its launches, and of its loads on the fastest link.

    everything: the run in which nothing is loaded.
    """
    compute_ps = int(everything.pass_ps[everything.decode_passes].sum())
    link = max(one.bytes_per_s for one in everything.workload.hw.links)
    ps = max(compute_ps, decode_bytes * 10**12 // link)
    return everything.emitted * 1e12 / ps if ps else None
