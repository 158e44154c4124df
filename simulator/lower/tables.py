"""Costs as tables, and what was asked and decided as flat arrays: what the text of lowering and of the recurrence reads."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from simmoe.simulator.arrays import Ints, ints, small
from simmoe.simulator.costs import Costs, PassSize
from simmoe.simulator.cpu_costs import WAITS
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.lower.durations import Loading, on_cpu
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
from simmoe.simulator.nouns.decisions import Decisions, Guesses

UNIT, LINK, CPU, UPSTREAM = 0, 1, 2, 3  # numbers of the resources of one device

_tables: WeakKeyDictionary[Costs, dict[tuple[int, int], tuple[Fixed, Tables]]] = WeakKeyDictionary()
_launches: WeakKeyDictionary[Costs, int] = WeakKeyDictionary()
_asked: WeakKeyDictionary[Requests, tuple[Ints, Ints, Ints, Ints]] = WeakKeyDictionary()
_guessed: WeakKeyDictionary[Guesses, tuple[Ints, Ints]] = WeakKeyDictionary()


def tables_of(costs: Costs, requests: Requests) -> tuple[Fixed, Tables]:
    """The same for every policy and budget, so that a sweep builds them once. Raises OverflowError above 2**63 ps."""
    made = _tables.setdefault(costs, {})
    key = (requests.widest, requests.most_slots)
    if key not in made:
        made[key] = _built(costs, *key)
    return made[key]


def work_of(costs: Costs, requests: Requests, decisions: Decisions, guesses: Guesses, loads: Loading) -> Work:
    """What was asked and decided."""
    if requests not in _asked:
        _asked[requests] = small(requests.ptr), small(requests.obj), small(requests.tokens), small(requests.use_ptr)
    if guesses not in _guessed:
        _guessed[guesses] = small(guesses.ptr), small(guesses.obj)
    (ptr, obj, tokens, slot_ptr), (guess_ptr, guess_obj) = _asked[requests], _guessed[guesses]
    cpu = on_cpu(costs, requests, decisions, guesses)
    return Work(
        ptr, obj, tokens, slot_ptr, small(decisions.loads), loads.demand_ps, loads.demand_reads_ps, loads.demand_up_ps, decisions.wait,
        decisions.hit.view(np.int8), small(cpu.experts), small(cpu.slots), *cpu[2:], guess_ptr, guess_obj, decisions.issued.view(np.int8),
        loads.guess_ps, loads.guess_reads_ps, loads.guess_up_ps, small(decisions.fresh), small(decisions.fresh_by),
    )  # fmt: skip


def with_cpu(fixed: Fixed, costs: Costs, work: Work) -> Fixed:
    """With the rates of a CPU that computes experts in this run, and beside it."""
    if not len(work.cpu_ps):
        return fixed
    cpu = costs.cpu
    if costs.contended:
        outside, inside, fast = cpu.gpu_rates(costs.rate)
        return fixed._replace(rate_beside_cpu=outside, slow_beside_cpu=inside, rate_beside_fast_cpu=fast)
    return fixed._replace(
        cpu_launch_ps=cpu.unit.launch_ps, cpu_rate=cpu.rate, cpu_slow_rate=cpu.beside_loads
    )  # fmt: skip


def transfers_to_know(costs: Costs, work: Work) -> int:
    """How many transfers a clock must remember: all of them where they slow a reader of their memory, none elsewhere."""
    slow = costs.contended or (len(work.cpu_ps) > 0 and costs.cpu.shares_memory)
    return len(work.loads) + int(np.count_nonzero(work.issued)) if slow else 0


def notes_of(requests: Requests) -> Notes:
    """Room for what lowering keeps."""
    return Notes(*(np.zeros(n, np.int64) for n in (2, *[requests.widest + 1] * 4)))


def _built(costs: Costs, most_experts: int, slots: int) -> tuple[Fixed, Tables]:
    sizes = {size: number for number, size in enumerate(dict.fromkeys(costs.sizes))}
    gaps = {gap: number for number, gap in enumerate(dict.fromkeys(costs.gaps))}
    pieces = ints([[(p.ps, p.work, p.flop_ps) for p in costs.pieces(size)] for size in sizes])
    layers = range(costs.trace.n_layers)
    shared = ints([[_shared(costs, column, size) for column in layers] for size in sizes])
    read_work = ints([[costs.read_work(column, n) for n in range(most_experts + 1)] for column in layers]).reshape(-1)
    up = costs.hw.link.upstream
    fixed = Fixed(
        costs.launch_ps, costs.rate, costs.slow_rate, costs.rate, costs.slow_rate, costs.rate, int(costs.contended), len(layers), len(gaps),
        pieces.shape[1], most_experts + 1, slots + 1, costs.grouped_extra_ps, CPU, 0, 0, 0, UPSTREAM,
        int(up is not None and up.pipelined), up.latency_ps if up else 0, costs.hw.link.latency_ps, costs.hw.device.host_wait_ps, 0,
    )  # fmt: skip
    return fixed, Tables(
        size=ints([sizes[size] for size in costs.sizes]),
        unit=np.full(len(layers) + 1, UNIT), link=np.full(len(layers), LINK),
        gap_kind=ints([gaps[gap] for gap in costs.gaps]),
        gap_ps=ints([[sum(row[i][0] for i in gap) for gap in gaps] for row in pieces.tolist()]).reshape(-1),
        piece_ptr=np.cumsum([0, *map(len, gaps)]), piece=ints([i for gap in gaps for i in gap]),
        piece_ps=pieces[:, :, 0].reshape(-1), piece_work=pieces[:, :, 1].reshape(-1), piece_flop_ps=pieces[:, :, 2].reshape(-1),
        shared_ps=shared[:, :, 0].reshape(-1), shared_work=shared[:, :, 1].reshape(-1),
        shared_flop_ps=shared[:, :, 2].reshape(-1),
        read_work=read_work, read_ps=-(-read_work // costs.rate), flop_ps=_compute_rows(costs, slots),
        soft_shares=ints(costs.soft_shares),
    )  # fmt: skip


def longest_pass_ps(costs: Costs, requests: Requests, work: Work) -> int:
    """No pass lasts longer: every launch at the slowest rate, one after the other, behind all transfers of the run."""
    if costs not in _launches:
        fixed, tables = tables_of(costs, requests)
        most = {
            name: int(getattr(tables, name).max(initial=0)) for name in ("gap_ps", "shared_ps", "read_ps", "flop_ps")
        }
        expert = 2 * fixed.launch_ps + 2 * (most["read_ps"] + most["flop_ps"])  # a soft maximum at most doubles
        layer = fixed.host_wait_ps + most["gap_ps"] + most["shared_ps"] + (fixed.read_stride + 1) * expert
        _launches[costs] = (fixed.layers + 1) * layer
    transfers = sum(
        len(ps) * int(ps.max(initial=0)) for ps in (work.load_ps, work.guess_ps, work.load_up_ps, work.guess_up_ps)
    )
    beside_cpu = costs.cpu.gpu_rates(costs.rate) if costs.contended and len(work.cpu_ps) else ()
    slowest = min(
        rate for rate in (costs.rate, costs.slow_rate, *beside_cpu) if rate > WAITS
    )  # which ends with the CPU
    slower: int = -(-costs.rate // slowest)
    on_cpu = costs.trace.n_layers * int(max(work.cpu_ps.max(initial=0), work.cpu_slow_ps.max(initial=0)))
    return slower * _launches[costs] + 2 * transfers + on_cpu  # twice: the CPU may wait for them, and the unit


def _shared(costs: Costs, column: int, size: PassSize) -> tuple[int, int, int]:
    """(ps, work, FLOP time) of the shared experts of a layer, zeros where there are none."""
    pieces = costs.shared(column, size.tokens).pieces
    return (pieces[0].ps, pieces[0].work, pieces[0].flop_ps) if pieces else (0, 0, 0)


def _compute_rows(costs: Costs, slots: int) -> Ints:
    """FLOP time of 0 … slots token slots of each layer, in exact whole picoseconds; layers of one shape share a row."""
    rows: dict[int, list[int]] = {}
    for column, layer in enumerate(costs.moe_layers):
        flops = layer.expert.flops_per_token
        if flops not in rows:
            rows[flops] = [costs.compute_ps(column, n) for n in range(slots + 1)]
    return ints([rows[layer.expert.flops_per_token] for layer in costs.moe_layers]).reshape(-1)
