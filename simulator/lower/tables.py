"""Costs as tables, and what was asked and decided as flat arrays: what the text of lowering and of the recurrence reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from weakref import WeakKeyDictionary

import numpy as np

from simmoe.simulator.arrays import Ints, ints, small
from simmoe.simulator.costs import Costs
from simmoe.simulator.cpu_costs import WAITS
from simmoe.simulator.decide.devices import rows_of_ports, rows_sent
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import next_of_its_layer
from simmoe.simulator.decide.versions import low_loads
from simmoe.simulator.lower.durations import Loading, on_cpu, pooled, spared
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics.grouped import looked_up_ps

# Numbers of the resources: the unit of each device, the link into each, the CPU, the way to the memory before the link, the fabric
# and its way back, for each device.
UNIT = 0


def link_of(device: int, devices: int) -> int:
    return devices + device


def cpu_of(devices: int) -> int:
    return 2 * devices


def upstream_of(devices: int) -> int:
    return 2 * devices + 1


def fabric_of(devices: int) -> int:
    return 2 * devices + 2


def resources(devices: int) -> int:
    """How many there are."""
    return 4 * devices + 2


_tables: WeakKeyDictionary[Costs, dict[tuple[int, int], tuple[Fixed, Tables]]] = WeakKeyDictionary()
_launches: WeakKeyDictionary[Costs, int] = WeakKeyDictionary()
_asked: WeakKeyDictionary[Requests, tuple[Ints, Ints, Ints, Ints]] = WeakKeyDictionary()
_guessed: WeakKeyDictionary[Guesses, tuple[Ints, Ints]] = WeakKeyDictionary()


def tables_of(costs: Costs, requests: Requests) -> tuple[Fixed, Tables]:
    """The same for every policy and budget, so that a sweep builds them once. Raises OverflowError above 2**63 ps."""
    made = _tables.setdefault(costs, {})
    key = (requests.widest, requests.most_slots)
    if key not in made:
        laws = [0] if costs.laws == 1 else sorted({costs.law(size) for size in costs.sizes})
        made[key] = tables_for(costs, *key, laws)
    return made[key]


def work_of(
    costs: Costs, requests: Requests, decisions: Decisions, guesses: Guesses, loads: Loading, with_cpu: bool = False,
    sizes: Sequence[PassSize] | None = None, with_gone: bool = False,
) -> Work:  # fmt: skip
    """What was asked and decided. with_cpu: the CPU computes experts in this run, though perhaps none of these decisions; with_gone: the
    same of experts that nobody reads. sizes: of the passes that the requests count (default: those of the run)."""
    if requests not in _asked:
        each = np.ascontiguousarray(requests.tokens, np.uint32)
        _asked[requests] = small(requests.ptr), small(requests.obj), each, small(requests.use_ptr)
    if guesses not in _guessed:
        _guessed[guesses] = small(guesses.ptr), small(guesses.obj)
    (ptr, obj, tokens, slot_ptr), (guess_ptr, guess_obj) = _asked[requests], _guessed[guesses]
    cpu = on_cpu(costs, requests, decisions, guesses, with_cpu, sizes)
    gone = gone_slots = small(np.zeros(0, np.int64))
    held: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if with_gone or len(decisions.dropped) or len(decisions.stands) or costs.model.low:
        less, held = spared(requests, decisions), pooled(requests, decisions)
        tokens, gone, gone_slots = small(less.tokens), small(less.gone + held[0]), small(less.gone_slots + held[1])
    return Work(
        ptr, obj, tokens, slot_ptr, small(decisions.loads), loads.demand_ps, loads.demand_reads_ps, loads.demand_up_ps, decisions.wait,
        decisions.hit.view(np.int8), small(cpu.experts), small(cpu.slots), *cpu[2:], guess_ptr, guess_obj, decisions.issued.view(np.int8),
        _events_of_guesses(requests, guesses), _sent(costs, requests), loads.guess_ps, loads.guess_reads_ps, loads.guess_up_ps,
        small(decisions.fresh), small(decisions.fresh_by), gone, gone_slots,
        *((low_loads(decisions), *held) if costs.model.low else (np.zeros(0, np.int8), *[np.zeros(0, np.int64)] * 2)),
    )  # fmt: skip


def _events_of_guesses(requests: Requests, guesses: Guesses) -> Ints:
    """[guesses] the next event of its layer that each is for; empty where no transfer is withdrawn."""
    if not guesses.cancel:
        return np.zeros(0, np.int64)
    return next_of_its_layer(requests, np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr)), guesses.obj)


def with_cpu(fixed: Fixed, costs: Costs) -> Fixed:
    """With the rates of a CPU that computes experts, and beside it."""
    cpu = costs.cpu
    if costs.contended:
        outside, inside, fast = cpu.gpu_rates(costs.rate)
        return fixed._replace(rate_beside_cpu=outside, slow_beside_cpu=inside, rate_beside_fast_cpu=fast)
    return fixed._replace(
        cpu_launch_ps=cpu.unit.launch_ps, cpu_rate=cpu.rate, cpu_slow_rate=cpu.beside_loads
    )  # fmt: skip


def transfers_slow(costs: Costs, cpu: bool) -> bool:
    """Whether a clock must remember transfers, because they slow a reader of their memory. cpu: the CPU computes experts."""
    return costs.contended or (cpu and costs.cpu.shares_memory)


def rows_sent_by_event(costs: Costs, requests: Requests) -> Ints:
    """int64 [events] of several devices: rows that each is sent, none from itself; as many come back."""
    rows = rows_sent(requests, _slots_per_row(costs), costs.devices, costs.owner)
    if costs.owner is not None:
        return rows
    layer, device = requests.event_layer, np.arange(requests.n_events) % costs.devices
    rows[device == np.array(costs.homes)[layer]] = 0
    return rows


def _slots_per_row(costs: Costs) -> int:
    return costs.trace.n_layers * costs.trace.top_k


def _sent(costs: Costs, requests: Requests) -> Ints:
    """int64 [events] of several devices: time to send each the tokens that its event asks for, or the results back. Where each device has
    rows of its own, its port and those of its senders move all rows of the layer at once."""
    if costs.devices == 1:
        return np.zeros(0, np.int64)
    if costs.owner is None:
        rows = rows_sent_by_event(costs, requests)
    else:
        rows = rows_of_ports(requests, _slots_per_row(costs), costs.devices, costs.owner)
    known = {n: costs.sent_ps(n) for n in set(rows.tolist())}
    return np.array([known[n] for n in rows.tolist()], np.int64)


def notes_of(widest: int, devices: int = 1) -> Notes:
    """Room for what lowering keeps of an event that requests so many experts."""
    return Notes(*(np.zeros(n, np.int64) for n in (2, widest + 1, devices, *[widest + 1] * 3)))


def tables_for(costs: Costs, most_experts: int, slots: int, laws: Sequence[int]) -> tuple[Fixed, Tables]:
    """Tables for events of at most so many experts and token slots, in passes of those laws."""
    sizes = number_of(costs.shares)
    gaps = {gap: number for number, gap in enumerate(dict.fromkeys(costs.all_gaps))}
    up, devices, place, row = costs.hw.link.upstream, costs.devices, np.arange(costs.places), np.arange(costs.rows)
    fixed = Fixed(
        costs.launch_ps, costs.rate, costs.slow_rate, costs.rate, costs.slow_rate, costs.rate, int(costs.contended),
        costs.trace.n_layers, devices, 1 if costs.owner is None else devices, costs.places, len(gaps), costs.n_pieces,
        most_experts + 1, slots + 1, cpu_of(devices), 0, 0, 0, upstream_of(devices),
        int(up is not None and up.pipelined), up.latency_ps if up else 0, fabric_of(devices),
        costs.hw.link.latency_ps, costs.hw.device.host_wait_ps, 0,
    )  # fmt: skip
    launches, extras, shares = zip(*(costs.experts_launch(one) for one in row.tolist()))
    soft = _soft(shares[:devices])
    return fixed, Tables(
        size=ints([sizes[size] for size in costs.shares]),
        unit=UNIT + np.array(costs.homes), at=UNIT + place % devices, link=link_of(0, devices) + place % devices,
        on_path=ints([costs.on_path(one) for one in row.tolist()]), launch_ps=ints(launches), extra_ps=ints(extras),
        gap_kind=ints([gaps[gap] for gap in costs.all_gaps]),
        piece_ptr=np.cumsum([0, *map(len, gaps)]), piece=ints([i for gap in gaps for i in gap]),
        soft_at=row % devices * (len(soft) // devices), soft_shares=soft,
        **rows_of_sizes(costs, list(sizes), laws), **rows_of_counts(costs, most_experts, slots, laws),
    )  # fmt: skip


def number_of(sizes: Sequence[PassSize]) -> dict[PassSize, int]:
    """The distinct ones, numbered in order of first appearance."""
    return {size: number for number, size in enumerate(dict.fromkeys(sizes))}


def _soft(shares: Sequence[Sequence[int]]) -> Ints:
    """The shares of each device's soft maximum, one behind the other; zeros stand for the larger of the two."""
    longest = max(map(len, shares))
    return ints([share for row in shares for share in (row or [0] * longest)])


def rows_of_sizes(costs: Costs, sizes: list[PassSize], laws: Sequence[int]) -> dict[str, Ints]:
    """The tables with a row for each size. laws: those of which there are rows of counts."""
    pieces = ints([[(p.ps, p.work, p.flop_ps) for p in costs.pieces(size)] for size in sizes])
    first_rows = ints([laws.index(costs.law(size)) * costs.rows for size in sizes])
    tokens = {n: i for i, n in enumerate(dict.fromkeys(size.tokens for size in sizes))}
    of_tokens = ints([[_shared(costs, place, n) for place in range(costs.places)] for n in tokens])
    shared, kinds = of_tokens[[tokens[size.tokens] for size in sizes]], list(dict.fromkeys(costs.all_gaps))
    gaps = [[sum(row[i] for i in gap) for gap in kinds] for row in pieces[:, :, 0].tolist()]
    columns = {"law": first_rows, "gap_ps": ints(gaps), "hand_ps": ints([costs.sent_ps(size.tokens) for size in sizes])}
    columns["sum_ps"] = ints([costs.sums_ps(size) for size in sizes])
    for name, rows in (("piece", pieces), ("shared", shared)):
        columns |= {f"{name}_{what}": rows[:, :, i] for i, what in enumerate(("ps", "work", "flop_ps"))}
    return {
        name: column.ravel() for name, column in columns.items()
    }  # copies: compiled text is made for arrays without gaps


def rows_of_counts(costs: Costs, most_experts: int, slots: int, laws: Sequence[int]) -> dict[str, Ints]:
    """The tables with a row for each law and place, over how many experts are read and how many token slots are computed, in exact whole
    numbers."""
    rows = list(product(laws, range(costs.rows)))
    kinds = [(law, costs.expert_layers[place // costs.devices], place % costs.devices) for law, place in rows]
    first = dict(zip(reversed(kinds), reversed(rows)))  # layers of one shape cost the same
    reads = {
        kind: ints([costs.read_work(place, n, law) for n in range(most_experts + 1)])
        for kind, (law, place) in first.items()
    }
    begins = {kind: i * (slots + 1) for i, kind in enumerate(first)}
    computes = [costs.compute_row(place, slots, law) for law, place in first.values()]
    read_ps = {kind: -(-reads[kind] // costs.rate_of(place)) for kind, (_, place) in first.items()}
    each = {kind: _each(costs, first[kind][1], read_ps[kind], row) for kind, row in zip(first, computes)}
    columns = {"read_work": reads, "read_ps": read_ps, "each_ps": each}
    tables = {name: np.concatenate([column[kind] for kind in kinds]) for name, column in columns.items()}
    return tables | {"flop_at": ints([begins[kind] for kind in kinds]), "flop_ps": np.concatenate(computes)}


def _each(costs: Costs, place: int, read_ps: Ints, flop_ps: Ints) -> Ints:
    """Time of a launch over 0, 1, 2 … experts of a place that one token slot each is routed to; behind the most slots, of those."""
    launch_ps, extra, shares = costs.experts_launch(place)
    pairs = [(read, int(flop_ps[min(n, len(flop_ps) - 1)])) for n, read in enumerate(read_ps.tolist())]
    return ints([launch_ps + max(pair) + looked_up_ps(pair[0] - extra, pair[1] - extra, shares) for pair in pairs])


def longest_pass_ps(costs: Costs, requests: Requests, work: Work) -> int:
    """No pass lasts longer: every launch at the slowest rate, one after the other, behind all transfers of the run."""
    if costs not in _launches:
        fixed, tables = tables_of(costs, requests)
        _launches[costs] = launches_ps(fixed, most_of(tables._asdict()))
    return slower_by(costs, len(work.cpu_ps) > 0) * _launches[costs] + behind_ps(costs, work)


def behind_ps(costs: Costs, work: Work) -> int:
    """What a pass may wait for: all transfers, twice, since the CPU may wait for them and the unit for the CPU; the CPU's pieces."""
    moved = (work.load_ps, work.guess_ps, work.load_up_ps, work.guess_up_ps)
    transfers = sum(len(ps) * int(ps.max()) for ps in moved if len(ps)) + costs.places * int(
        work.send_ps.max(initial=0)
    )
    longest = max((int(ps.max()) for ps in (work.cpu_ps, work.cpu_slow_ps, work.carry_ps) if len(ps)), default=0)
    return 2 * transfers + costs.trace.n_layers * longest


def most_of(tables: Mapping[str, Ints]) -> dict[str, int]:
    """The longest of the times that a launch may take, of those that `tables` holds."""
    return {
        name: int(tables[name].max(initial=0))
        for name in ("gap_ps", "shared_ps", "read_ps", "flop_ps", "launch_ps", "hand_ps", "sum_ps")
        if name in tables
    }


def launches_ps(fixed: Fixed, most: Mapping[str, int]) -> int:
    """The launches of no pass last longer together, while nothing slows them."""
    expert = 2 * most["launch_ps"] + 2 * (most["read_ps"] + most["flop_ps"])  # a soft maximum at most doubles
    layer = fixed.host_wait_ps + most["gap_ps"] + most["shared_ps"] + (fixed.read_stride + 1) * expert
    return (fixed.places + 1) * (layer + 2 * (most["hand_ps"] + most["sum_ps"]))


def slower_by(costs: Costs, cpu: bool) -> int:
    """How many times longer a launch lasts at most, beside transfers and, with `cpu`, the CPU."""
    beside_cpu = costs.cpu.gpu_rates(costs.rate) if costs.contended and cpu else ()
    slowest = min(
        rate for rate in (costs.rate, costs.slow_rate, *beside_cpu) if rate > WAITS
    )  # a wait ends with the CPU
    slower: int = -(-costs.rate // slowest)
    return slower


def _shared(costs: Costs, column: int, tokens: int) -> tuple[int, int, int]:
    """(ps, work, FLOP time) of the shared experts of a layer, zeros where there are none."""
    pieces = costs.shared(column, tokens).pieces
    return (pieces[0].ps, pieces[0].work, pieces[0].flop_ps) if pieces else (0, 0, 0)
