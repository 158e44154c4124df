"""Energy of a run: idle power, bytes moved and FLOPs, by the two-term law of simulator/physics/energy.py. All estimated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from simmoe.play.decided import Decided
from simmoe.play.workload import Workload
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.stretches import stretches
from simmoe.simulator.lower.durations import spared
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.run import Counts
from simmoe.simulator.physics.energy import Power, joules
from simmoe.simulator.physics.thermal import clock_share, sustained_w

ATTO = 1e-18


def energy(
    workload: Workload,
    decided: Decided,
    decode: Counts,
    emitted: int,
    decode_passes: Flags,
    pass_ps: Ints,
) -> dict[str, Any] | None:
    """Joules per emitted decode token, mean power in decode, and whether the machine can hold it; None without figures, or tokens."""
    power, seconds = _power(workload.hw), int(pass_ps[decode_passes].sum()) / 1e12
    if power is None or not emitted:
        return None
    model = workload.costs.model
    memory, flops = decided.once(("traffic", model), lambda: _decode_traffic(workload, decided, decode_passes))
    link = decode.bytes + decode.write_back_bytes
    total = joules(seconds, memory + link, link, flops, power)
    watts = total / seconds
    return {
        "joules_per_token": total / emitted,
        "decode_watts": watts,
        **_heat(workload.hw, watts, power.idle_w),
    }


def _power(hw: Hardware) -> Power | None:
    p = hw.power
    if p is None or p.idle_uw is None or p.byte_aj is None or p.flop_aj is None:
        return None
    return Power(p.idle_uw / 1e6, p.byte_aj * ATTO, (p.link_byte_aj or 0) * ATTO, p.flop_aj * ATTO)


def _decode_traffic(workload: Workload, decided: Decided, decode_passes: Flags) -> tuple[int, int]:
    """(bytes read from the device's memory, FLOPs of the device) in decode."""
    passes = np.flatnonzero(decode_passes)
    sizes = Counter(workload.costs.sizes[number] for number in passes.tolist())
    memory = flops = 0
    for size, count in sizes.items():
        read, computed = workload.costs.traffic(size)
        memory, flops = memory + count * read, flops + count * computed
    model, experts = workload.model, [layer.expert for layer in workload.costs.moe_layers]
    expert_bytes, expert_flops = np.array([e.bytes for e in experts]), np.array([e.flops_per_token for e in experts])
    saved = expert_bytes - np.array([part.bytes for part in model.low]) if model.low else expert_bytes[:0]
    for _, _, requests, decisions, _, _ in stretches(workload.requests, decided.decisions, decided.guesses):
        mine = decode_passes[requests.event_pass[requests.event_of_request]]
        mine[decisions.cpu] = False  # the CPU reads and computes those
        column = requests.obj[mine] // workload.trace.n_experts
        memory += int(expert_bytes[column].sum())
        flops += int((expert_flops[column] * requests.tokens[mine]).sum())
        if len(decisions.low):
            low = decisions.low[mine[decisions.low]]
            memory -= int(saved[requests.obj[low] // workload.trace.n_experts].sum())
        if len(decisions.dropped) or len(decisions.stands):
            less, at = spared(requests, decisions), decode_passes[requests.event_pass]
            column = requests.event_layer[at]
            memory -= int((expert_bytes[column] * less.gone[at]).sum())
            flops -= int((expert_flops[column] * less.gone_slots[at]).sum())
    return memory, flops


def _heat(hw: Hardware, watts: float, idle_w: float) -> dict[str, float]:
    """What the machine can draw for ever, and the share of its clock that this leaves."""
    t = hw.thermal
    if t is None:
        return {}
    allowed = sustained_w(t.limit_mc / 1000, t.ambient_mc / 1000, t.mk_per_w / 1000)
    return {"sustained_watts": allowed, "sustained_clock_share": clock_share(watts, idle_w, allowed)}
