"""What several devices send each other, and how evenly the experts of each layer are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simmoe.simulator.arrays import Ints, blocks
from simmoe.simulator.costs import Costs
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.several import ACTIVATION_BYTES

SLOTS = 2**22  # of a trace that are looked at at once


@dataclass(frozen=True)
class Crossing:
    """Of all passes, prompts too."""

    dispatched_bytes: int  # of rows to the devices of their experts; as many come back
    handed_bytes: int  # of rows to the device that runs the next layer
    summed_bytes: int  # to add up what each computed of a layer, and to gather the logits
    bytes_per_token: float  # all, and what comes back, by row of the passes
    elsewhere: (
        float | None
    )  # share of what tokens choose in the next layer that stands on another device; ExFlow's measure
    imbalance: float  # token slots of the busiest device of a layer over the mean of all, mean of the layers
    worst_imbalance: float  # of the layer where it is largest


def crossing(costs: Costs, layout: Layout) -> Crossing:
    trace, row_bytes = costs.trace, costs.model.width * ACTIVATION_BYTES
    sums = getattr(costs, "sums", None)
    summed = 0 if sums is None else sum(map(sums.count_bytes, costs.sizes))
    if layout.sliced:
        return Crossing(0, 0, summed, summed / trace.n_tokens, None, 1.0, 1.0)
    dispatched = 0 if layout.shared else int(rows_sent(costs, layout).sum()) * row_bytes
    handed = _moves(layout) * trace.n_tokens * row_bytes
    slots, same, all_pairs = np.zeros((trace.n_layers, layout.devices), np.int64), 0, 0
    for _, used in _used(trace, layout):
        slots += used.sum(axis=0)
        same += int((used[:, 1:] * used[:, :-1]).sum())
        all_pairs += int((used[:, 1:].sum(axis=2) * used[:, :-1].sum(axis=2)).sum())
    busy = slots[slots.any(axis=1)]
    ratio = busy.max(axis=1) / busy.mean(axis=1)
    return Crossing(
        dispatched, handed, summed, (2 * dispatched + handed + summed) / trace.n_tokens, 1 - same / all_pairs if all_pairs else None,
        float(ratio.mean()), float(ratio.max()),
    )  # fmt: skip


def fabric_busy_ps(costs: Costs, layout: Layout) -> int:
    """How long the busiest part of the fabric sends: the port into a device where each has sequences of its own, else all of it one way."""
    if layout.sliced or layout.shared:
        return sum(sum(costs.sums_ps(size)) for size in costs.sizes)
    sent = rows_sent(costs, layout)
    distinct, which = np.unique(sent, return_inverse=True)
    ps = np.array([costs.sent_ps(rows) for rows in distinct.tolist()], np.int64)[which.reshape(sent.shape)].sum((0, 1))
    if layout.replicated:
        return int(ps.max())
    handed = sum(costs.sent_ps(rows) for rows in np.diff(costs.trace.pass_ptr).tolist())
    return int(ps.sum()) + _moves(layout) * handed


def rows_sent(costs: Costs, layout: Layout) -> Ints:
    """[passes, layers, devices] rows that each device is sent, none from itself; as many come back."""
    trace = costs.trace
    runs = np.array(layout.gaps[:-1]) if costs.owner is None else costs.owner[:, None]
    home = np.broadcast_to(runs, (trace.n_tokens, trace.n_layers))[
        ..., None
    ]  # the device that has the row in the layer
    found = np.zeros((trace.n_passes, trace.n_layers, layout.devices), np.int64)
    for (first, last), used in _used(trace, layout):
        begins = trace.pass_ptr[first : last + 1]
        there = (used > 0).astype(np.int64)
        np.put_along_axis(there, home[begins[0] : begins[-1]], 0, 2)
        found[first:last] = np.add.reduceat(there, begins[:-1] - begins[0])
    return found


def _moves(layout: Layout) -> int:
    """How often the next layer is another device's."""
    return int(np.count_nonzero(np.diff((layout.gaps[0], *layout.gaps))))


def _used(trace: Trace, layout: Layout) -> Iterator[tuple[tuple[int, int], Ints]]:
    """Some passes at a time: the first and one past the last; [rows, layers, devices] experts that each row chose on each device."""
    layers = np.arange(trace.n_layers)[:, None]
    for first, last in blocks(trace.pass_ptr, SLOTS // (trace.n_layers * trace.top_k)):
        ids = trace.expert_ids[trace.pass_ptr[first] : trace.pass_ptr[last]]
        device = np.where(ids >= 0, layout.unit[layers, np.maximum(ids, 0)], -1)
        yield (first, last), np.stack([(device == one).sum(axis=2) for one in range(layout.devices)], axis=2)
