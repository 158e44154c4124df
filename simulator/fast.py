"""The compiled engine: the machine's own decisions and the recurrence of simulator/clock.py, bit for bit equal to the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from simmoe.simulator import compiled
from simmoe.simulator.clock import LINK_BUSY, Tables, Timeline, Work
from simmoe.simulator.costs import PS_PER_S, WORK_PER_BYTE, Costs, PassSize
from simmoe.simulator.decide import Decisions, Guesses, Player
from simmoe.simulator.requests import Ints, Requests
from simmoe.simulator.runlog import Clocks
from simmoe.simulator.types import Part

LARGEST_WORK = 2**63 - 1  # bytes * 10**9 of one launch


def why_not(costs: Costs, requests: Requests, *, spans: bool = False) -> str | None:
    """What keeps the compiled engine from this scenario, in one sentence; None when nothing does."""
    compiled.numba_version()
    if spans:
        return "it does not record every launch and transfer, which a timeline file needs"
    widest = int(np.diff(requests.ptr).max(initial=0))
    work = [widest * layer.expert.bytes * WORK_PER_BYTE for layer in costs.moe_layers]
    work += [piece.work for size in set(costs.sizes) for piece in costs.pieces(size)]
    if max(work) > LARGEST_WORK:
        return f"a launch may read {max(work) / 1e18:.1f} GB, more than its 64-bit clock counts (9.2 GB)"
    return None


class CompiledPlayer(Player):
    """Runs `machine.play` with the policy compiled into it."""

    def arrays(self, group: Any) -> Any:
        return super().arrays(group) if compiled.interpreted() else group

    def bind(self, eviction: ModuleType, prefetching: bool = True) -> Callable[..., None]:
        play: Callable[..., None] = compiled.kernels(eviction, prefetching).play
        return play


def simulate(
    costs: Costs, requests: Requests, decisions: Decisions, guesses: Guesses, *, overlap: bool = True
) -> Clocks:
    """Times of every pass."""
    work = Work(
        requests.ptr, requests.small_obj, requests.tokens, decisions.hit.view(np.int8), decisions.wait,
        guesses.ptr, guesses.obj, decisions.issued.view(np.int8),
    )  # fmt: skip
    loads = int((~decisions.hit).sum() + decisions.issued.sum()) if costs.contended else 0
    arrays = CompiledPlayer().arrays
    m = arrays(_timeline(requests, len(costs.sizes), loads))
    compiled.kernels(None).run_passes(arrays(_tables(costs, requests, overlap)), arrays(work), m)
    by_pass = (np.asarray(log).tolist() for log in (m.start_ps, m.end_ps, m.stall_ps, m.slowed_ps))
    return Clocks(*by_pass, link_busy_ps=int(m.at[LINK_BUSY]))  # type: ignore[misc]


def _timeline(requests: Requests, passes: int, loads: int) -> Timeline:
    widest = int(np.diff(requests.ptr).max(initial=0)) + 1
    lengths = (7, requests.n_objects, loads, loads, widest, requests.n_objects, widest, widest, *[passes] * 4)
    return Timeline(*(np.zeros(n, np.int64) for n in lengths))


@lru_cache(maxsize=8)
def _tables(costs: Costs, requests: Requests, overlap: bool) -> Tables:
    """The same for every policy and budget, so that a sweep builds them once."""
    sizes = {size: number for number, size in enumerate(dict.fromkeys(costs.sizes))}
    gaps = {gap: number for number, gap in enumerate(dict.fromkeys(costs.gaps))}
    pieces = _ints([[(p.ps, p.work, p.flop_ps) for p in costs.pieces(size)] for size in sizes])
    shared = _ints([[_shared(costs, column, size) for column in range(costs.trace.n_layers)] for size in sizes])
    widest, slots = int(np.diff(requests.ptr).max(initial=0)), _most_slots(requests)
    layers = costs.moe_layers
    return Tables(
        fixed=_ints([
            costs.launch_ps, costs.rate, costs.slow_rate, costs.contended, overlap, len(layers), costs.trace.n_experts,
            len(gaps), pieces.shape[1], widest + 1, slots + 1,
        ]),
        size=_ints([sizes[size] for size in costs.sizes]),
        gap_kind=_ints([gaps[gap] for gap in costs.gaps]),
        gap_ps=np.stack([pieces[:, list(gap), 0].sum(1) for gap in gaps], 1).reshape(-1),
        piece_ptr=np.cumsum([0, *map(len, gaps)]), piece=_ints([i for gap in gaps for i in gap]),
        piece_work=pieces[:, :, 1].reshape(-1), piece_flop_ps=pieces[:, :, 2].reshape(-1),
        shared_ps=shared[:, :, 0].reshape(-1), shared_work=shared[:, :, 1].reshape(-1),
        shared_flop_ps=shared[:, :, 2].reshape(-1),
        expert_work=_ints([layer.expert.bytes * WORK_PER_BYTE for layer in layers]),
        read_ps=_ints([_read_row(costs, layer.expert, widest) for layer in layers]).reshape(-1),
        flop_ps=_ints([_flop_ps(costs, layer.expert, slots) for layer in layers]).reshape(-1),
        transfer_ps=_ints(costs.transfer_ps),
    )  # fmt: skip


def _ints(values: Any) -> Ints:
    return np.array(values, np.int64)


def _shared(costs: Costs, column: int, size: PassSize) -> tuple[int, int, int]:
    """(ps, work, FLOP time) of the shared experts of a layer, zeros where there are none."""
    pieces = costs.shared(column, size.tokens).pieces
    return (pieces[0].ps, pieces[0].work, pieces[0].flop_ps) if pieces else (0, 0, 0)


def _read_row(costs: Costs, expert: Part, widest: int) -> list[int]:
    """Uncontended time to read 0 … widest experts."""
    return [-(-n * expert.bytes * WORK_PER_BYTE // costs.rate) for n in range(widest + 1)]


def _most_slots(requests: Requests) -> int:
    """Most token slots that one event routes."""
    return int(np.diff(requests.use_ptr).max(initial=0))


@cache
def _flop_row(flops: int, flops_per_s: int, slots: int) -> list[int]:
    return [-(-n * flops * PS_PER_S // flops_per_s) for n in range(slots + 1)]


def _flop_ps(costs: Costs, expert: Part, slots: int) -> list[int]:
    """FLOP time of 0 … slots token slots, in exact whole picoseconds."""
    return _flop_row(expert.flops_per_token, costs.flops_per_s, slots)
