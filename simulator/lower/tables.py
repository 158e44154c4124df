"""Costs as tables, and what was asked and decided as flat arrays: what the text of lowering and of the recurrence reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from simmoe.simulator.arrays import Ints, small
from simmoe.simulator.costs import Costs, PassSize
from simmoe.simulator.decide.devices import rows_sent
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.lower.durations import Loading, on_cpu
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
from simmoe.simulator.nouns.decisions import Decisions, Guesses

# Numbers of the resources: the unit of each device, the link into each, the CPU, the store before the link, the fabric, its way back.
UNIT = 0


def link_of(device: int, devices: int) -> int:
    return devices + device


def cpu_of(devices: int) -> int:
    return 2 * devices


def fabric_of(devices: int) -> int:
    return 2 * devices + 2


def resources(devices: int) -> int:
    """How many there are."""
    return 2 * devices + 4


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
    experts, slots, busy = on_cpu(costs, requests, decisions)
    return Work(
        ptr, obj, tokens, slot_ptr, small(decisions.loads), loads.demand_ps, decisions.wait, decisions.hit.view(np.int8), small(experts),
        small(slots), busy, guess_ptr, guess_obj, decisions.issued.view(np.int8), _sent(costs, requests), loads.guess_ps,
        small(decisions.fresh), small(decisions.fresh_by),
    )  # fmt: skip


def _sent(costs: Costs, requests: Requests) -> Ints:
    """int64 [events] of several devices: time to send each the tokens that its event asks for, or the results back."""
    if costs.devices == 1:
        return np.zeros(0, np.int64)
    rows = rows_sent(requests, costs.trace.n_layers * costs.trace.top_k)
    layer, device = requests.event_layer, np.arange(requests.n_events) % costs.devices
    rows[device == np.array(costs.homes)[layer]] = 0
    known = {n: costs.sent_ps(n) for n in set(rows.tolist())}
    return np.array([known[n] for n in rows.tolist()], np.int64)


def notes_of(costs: Costs, requests: Requests) -> Notes:
    """Room for what lowering keeps."""
    widest = requests.widest + 1
    return Notes(*(np.zeros(n, np.int64) for n in (2, widest, costs.devices, widest, widest, widest)))


def _built(costs: Costs, most_experts: int, slots: int) -> tuple[Fixed, Tables]:
    sizes = {size: number for number, size in enumerate(dict.fromkeys(costs.sizes))}
    gaps = {gap: number for number, gap in enumerate(dict.fromkeys(costs.gaps))}
    pieces = _ints([[(p.ps, p.work, p.flop_ps) for p in costs.pieces(size)] for size in sizes])
    layers, places, devices, homes = costs.trace.n_layers, range(costs.places), costs.devices, costs.homes
    shared = _ints([[_shared(costs, place, size) for place in places] for size in sizes])
    read_work = _ints([[costs.read_work(place, n) for n in range(most_experts + 1)] for place in places]).reshape(-1)
    rates = np.repeat([costs.rate_of(place) for place in places], most_experts + 1)
    launches, shares = zip(*(costs.experts_launch(place) for place in places))
    fixed = Fixed(
        costs.launch_ps, costs.rate, costs.slow_rate, costs.rate, costs.slow_rate, int(costs.contended), layers, devices, len(places),
        len(gaps), pieces.shape[1], most_experts + 1, slots + 1, cpu_of(devices), fabric_of(devices), costs.hw.device.host_wait_ps, 0,
    )  # fmt: skip
    soft = _soft(shares[:devices])
    return fixed, Tables(
        size=_ints([sizes[size] for size in costs.sizes]),
        unit=UNIT + np.array(homes), at=UNIT + np.arange(len(places)) % devices,
        link=np.array([link_of(place % devices, devices) for place in places]),
        on_path=_ints([costs.on_path(place) for place in places]),
        gap_kind=_ints([gaps[gap] for gap in costs.gaps]),
        gap_ps=_ints([[sum(row[i][0] for i in gap) for gap in gaps] for row in pieces.tolist()]).reshape(-1),
        piece_ptr=np.cumsum([0, *map(len, gaps)]), piece=_ints([i for gap in gaps for i in gap]),
        piece_ps=pieces[:, :, 0].reshape(-1), piece_work=pieces[:, :, 1].reshape(-1), piece_flop_ps=pieces[:, :, 2].reshape(-1),
        hand_ps=_ints([costs.sent_ps(size.tokens) for size in sizes]),
        shared_ps=shared[:, :, 0].reshape(-1), shared_work=shared[:, :, 1].reshape(-1),
        shared_flop_ps=shared[:, :, 2].reshape(-1), launch_ps=_ints(launches),
        read_work=read_work, read_ps=-(-read_work // rates), flop_ps=_compute_rows(costs, slots),
        soft_at=np.arange(len(places)) % devices * (len(soft) // devices), soft_shares=soft,
    )  # fmt: skip


def _soft(shares: Sequence[Sequence[int]]) -> Ints:
    """The shares of each device's soft maximum, one behind the other; zeros stand for the larger of the two."""
    longest = max(map(len, shares))
    return _ints([share for row in shares for share in (row or [0] * longest)])


def _ints(values: Any) -> Ints:
    """int64, or Python's whole numbers where one does not fit."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array(values, object)


def longest_pass_ps(costs: Costs, requests: Requests, work: Work) -> int:
    """No pass lasts longer: every launch at the slowest rate, one after the other, behind all transfers of the run."""
    if costs not in _launches:
        fixed, tables = tables_of(costs, requests)
        names = ("gap_ps", "shared_ps", "read_ps", "flop_ps", "launch_ps", "hand_ps")
        most = {name: int(getattr(tables, name).max(initial=0)) for name in names}
        expert = 2 * most["launch_ps"] + 2 * (most["read_ps"] + most["flop_ps"])  # a soft maximum at most doubles
        layer = fixed.host_wait_ps + most["gap_ps"] + most["shared_ps"] + (fixed.read_stride + 1) * expert
        _launches[costs] = (fixed.places + 1) * (layer + 2 * most["hand_ps"])
    transfers = sum(len(ps) * int(ps.max(initial=0)) for ps in (work.load_ps, work.guess_ps))
    slowest = min((costs.slow_rate, *(costs.beside_cpu if costs.contended and len(work.cpu_ps) else ())))
    slower: int = -(-costs.rate // max(slowest, 1))
    return slower * _launches[costs] + transfers + costs.trace.n_layers * int(work.cpu_ps.max(initial=0))


def _shared(costs: Costs, column: int, size: PassSize) -> tuple[int, int, int]:
    """(ps, work, FLOP time) of the shared experts of a layer, zeros where there are none."""
    pieces = costs.shared(column, size.tokens).pieces
    return (pieces[0].ps, pieces[0].work, pieces[0].flop_ps) if pieces else (0, 0, 0)


def _compute_rows(costs: Costs, slots: int) -> Ints:
    """FLOP time of 0 … slots token slots of each place, in exact whole picoseconds; layers of one shape share a row."""
    rows: dict[tuple[int, int], list[int]] = {}
    keys = [
        (costs.moe_layers[place // costs.devices].expert.flops_per_token, place % costs.devices)
        for place in range(costs.places)
    ]
    for place, key in enumerate(keys):
        if key not in rows:
            rows[key] = [costs.compute_ps(place, n) for n in range(slots + 1)]
    return _ints([rows[key] for key in keys]).reshape(-1)
