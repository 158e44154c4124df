"""The compiled engine: the machine's own decisions and the recurrence of simulator/time/clock.py, bit for bit equal to the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints, small
from simmoe.simulator.costs import Costs, PassSize
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.lower.durations import Loading, on_cpu
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.clock import LINK_BUSY, Fixed, Tables, Timeline, Work

LARGEST_WORK = 2**63 - 1  # bytes * 10**9 of one launch


def why_not(costs: Costs, requests: Requests, *, spans: bool = False) -> str | None:
    """What keeps the compiled engine from this scenario, in one sentence; None when nothing does."""
    compiled.numba_version()
    if spans:
        return "it does not record every launch and transfer, which a timeline file needs"
    widest = int(np.diff(requests.ptr).max(initial=0))
    most = _most_slots(requests)
    work = [costs.experts(column, widest, most).pieces[0].work for column in range(len(costs.moe_layers))]
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
    costs: Costs, requests: Requests, decisions: Decisions, guesses: Guesses, loads: Loading, *, overlap: bool = True
) -> Clocks:
    """Times of every pass."""
    experts, slots, busy = on_cpu(costs, requests, decisions)
    work = Work(
        *_asked(requests), decisions.loads.astype(np.uint32, copy=False), loads.demand_ps, decisions.wait,
        decisions.hit.view(np.int8), small(experts), small(slots), busy, *_guessed(guesses),
        decisions.issued.view(np.int8), loads.guess_ps,
    )  # fmt: skip
    transfers = len(decisions.loads) + int(decisions.issued.sum()) if costs.contended else 0
    arrays, (fixed, tables) = CompiledPlayer().arrays, _tables(costs, requests, overlap)
    if costs.contended and len(busy):
        fixed = fixed._replace(rate_beside_cpu=costs.beside_cpu[0], slow_beside_cpu=costs.beside_cpu[1])
    m = arrays(_timeline(requests, len(costs.sizes), transfers))
    compiled.kernels(None, len(guesses.obj) > 0).run_passes(fixed, arrays(tables), arrays(work), m)
    by_pass = (np.asarray(log).tolist() for log in (m.start_ps, m.end_ps, m.stall_ps, m.slowed_ps, m.cpu_ps))
    return Clocks(*by_pass, link_busy_ps=int(m.at[LINK_BUSY]))  # type: ignore[misc]


@lru_cache(maxsize=4)
def _asked(requests: Requests) -> tuple[Ints, Ints, Ints, Ints]:
    """The fields of Work that the trace alone decides."""
    return small(requests.ptr), small(requests.obj), small(requests.tokens), small(requests.use_ptr)


@lru_cache(maxsize=4)
def _guessed(guesses: Guesses) -> tuple[Ints, Ints]:
    return small(guesses.ptr), small(guesses.obj)


def _timeline(requests: Requests, passes: int, loads: int) -> Timeline:
    widest = int(np.diff(requests.ptr).max(initial=0)) + 1
    lengths = (9, requests.n_objects, loads, loads, widest, widest, widest, *[passes] * 5)
    return Timeline(*(np.zeros(n, np.int64) for n in lengths))


@lru_cache(maxsize=8)
def _tables(costs: Costs, requests: Requests, overlap: bool) -> tuple[Fixed, Tables]:
    """The same for every policy and budget, so that a sweep builds them once."""
    sizes = {size: number for number, size in enumerate(dict.fromkeys(costs.sizes))}
    gaps = {gap: number for number, gap in enumerate(dict.fromkeys(costs.gaps))}
    pieces = _ints([[(p.ps, p.work, p.flop_ps) for p in costs.pieces(size)] for size in sizes])
    shared = _ints([[_shared(costs, column, size) for column in range(costs.trace.n_layers)] for size in sizes])
    widest, slots = int(np.diff(requests.ptr).max(initial=0)), _most_slots(requests)
    layers = range(costs.trace.n_layers)
    read_work = _ints([[costs.read_work(column, n) for n in range(widest + 1)] for column in layers]).reshape(-1)
    fixed = Fixed(
        costs.launch_ps, costs.rate, costs.slow_rate, costs.rate, costs.slow_rate, int(costs.contended), int(overlap), len(layers),
        len(gaps), pieces.shape[1], widest + 1, slots + 1,
    )  # fmt: skip
    return fixed, Tables(
        size=_ints([sizes[size] for size in costs.sizes]),
        gap_kind=_ints([gaps[gap] for gap in costs.gaps]),
        gap_ps=np.stack([pieces[:, list(gap), 0].sum(1) for gap in gaps], 1).reshape(-1),
        piece_ptr=np.cumsum([0, *map(len, gaps)]), piece=_ints([i for gap in gaps for i in gap]),
        piece_work=pieces[:, :, 1].reshape(-1), piece_flop_ps=pieces[:, :, 2].reshape(-1),
        shared_ps=shared[:, :, 0].reshape(-1), shared_work=shared[:, :, 1].reshape(-1),
        shared_flop_ps=shared[:, :, 2].reshape(-1),
        read_work=read_work, read_ps=-(-read_work // costs.rate), flop_ps=_compute_rows(costs, slots),
        soft_shares=_ints(costs.soft_shares),
    )  # fmt: skip


def _ints(values: Any) -> Ints:
    return np.array(values, np.int64)


def _shared(costs: Costs, column: int, size: PassSize) -> tuple[int, int, int]:
    """(ps, work, FLOP time) of the shared experts of a layer, zeros where there are none."""
    pieces = costs.shared(column, size.tokens).pieces
    return (pieces[0].ps, pieces[0].work, pieces[0].flop_ps) if pieces else (0, 0, 0)


def _most_slots(requests: Requests) -> int:
    """Most token slots that one event routes."""
    return int(np.diff(requests.use_ptr).max(initial=0))


def _compute_rows(costs: Costs, slots: int) -> Ints:
    """FLOP time of 0 … slots token slots of each layer, in exact whole picoseconds; layers of one shape share a row."""
    rows: dict[int, list[int]] = {}
    for column, layer in enumerate(costs.moe_layers):
        flops = layer.expert.flops_per_token
        if flops not in rows:
            rows[flops] = [costs.compute_ps(column, n) for n in range(slots + 1)]
    return _ints([rows[layer.expert.flops_per_token] for layer in costs.moe_layers]).reshape(-1)
