"""The recurrence interpreted and compiled on whole real traces, field by field: every policy, three budgets, two machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from simmoe import load_hardware, policies
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import decide, no_guesses
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import named
from tests.scenarios import shape_for

MACHINES = ("a100", "jetson_orin")  # discrete and unified memory
BUDGETS = ((8, "global"), (4, "global"), (2, "layer"))  # (one part in so many of the experts, scope)
SLOW = ("random",)  # interpreted, it counts all residents at each eviction: hours, so it comes last


def grid(traces: tuple[str, ...]) -> list[tuple[str, str]]:
    """(trace, policy) of every policy that is offered, the slow ones last."""
    cells = [(trace, eviction) for trace in traces for eviction in policies.names("eviction")]
    return sorted(cells, key=lambda cell: cell[1] in SLOW)


def compare(
    trace: Trace, eviction: str, machines: tuple[str, ...] = MACHINES, budgets: tuple[tuple[int, str], ...] = BUDGETS
) -> Iterator[str]:
    """A line for each cell that is equal; raises AssertionError, naming cell and field, at the first that is not."""
    module, model = policies.load("eviction", eviction), shape_for(trace)
    workloads = [Workload(load_hardware(name), trace, model) for name in machines]
    requests = workloads[0].requests
    guesses, timeline = no_guesses(requests), policies.load("timeline", "overlapped")
    for share, scope in budgets:
        room, cell = model.all_expert_bytes // share, f"{eviction}, 1/{share} {scope}"
        slow, quick = (
            decide(requests, model.expert_bytes, module, room, scope=scope, guesses=guesses, player=player)
            for player in (named("plain").player, named("fast").player)
        )
        _equal(slow, quick, cell)
        for machine, w in zip(machines, workloads):
            loads = loading(w.costs, requests, slow, guesses)
            clocks = (
                named(name).simulate(w.costs, requests, slow, guesses, loads, timeline) for name in ("plain", "fast")
            )
            _equal(*clocks, f"{cell}, {machine}")
            yield f"{cell}, {machine}: equal, {len(requests.use_obj):,} accesses, {len(slow.loads):,} loads"


def _equal(slow: Decisions | Clocks, quick: Decisions | Clocks, cell: str) -> None:
    for field in fields(slow):
        one, other = getattr(slow, field.name), getattr(quick, field.name)
        assert np.array_equal(one, other), f"{cell}: the engines differ in {field.name}"
