"""How fast the interpreted engines are: accesses per second of a whole run, and operations per second of the SimPy executor."""

from __future__ import annotations

from functools import partial

from benchmarks.timing import interleaved
from simmoe import policies
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.binding import bound
from simmoe.simulator.decide.decisions import decide, no_guesses
from simmoe.simulator.decide.player import Player
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import named
from simmoe.workloads.format.trace import first_tokens

ACCESSES = 100_000  # that a whole run is timed on: it lasts about a second, and its rate is that of longer ones


def accesses_per_s(hw: Hardware, model: ModelShape, trace: Trace, rounds: int = 3) -> dict[str, float]:
    """LRU at 25 % of the expert bytes, by engine; the first ACCESSES of a trace, from its requests to the run's checks."""
    share = model.all_expert_bytes // 4
    trace = first_tokens(trace, ACCESSES // (trace.n_layers * trace.top_k))

    def job(name: str) -> None:
        play(Workload(hw, trace, model), Plan(share), named(name))

    seconds = interleaved({name: partial(job, name) for name in ("simpy", "plain")}, rounds)
    accesses = int((trace.expert_ids >= 0).sum())
    return {name: accesses / taken for name, taken in seconds.items()}


def operations_per_s(workload: Workload, rounds: int = 3) -> tuple[float, float]:
    """(SimPy executor with its lowering, lowering alone) in operations per second, LRU at 25 %."""
    w, lru, timeline = workload, policies.load("eviction", "lru"), policies.load("timeline", "overlapped")
    guesses = no_guesses(w.requests)
    decisions = decide(w.requests, w.model.expert_bytes, lru, w.model.all_expert_bytes // 4)
    loads = loading(w.costs, w.requests, decisions, guesses)
    fixed, tables = tables_of(w.costs, w.requests)
    lists, lower = Player().arrays, bound(layer, timeline, oplist).lower_pass
    asked = lists(tables), lists(work_of(w.costs, w.requests, decisions, guesses, loads))

    def lowered() -> int:
        count, notes = 0, lists(notes_of(w.requests.widest))
        for number in range(len(w.costs.sizes)):
            ops = oplist.Ops()
            lower(number, 0, fixed, *asked, notes, ops)
            count += len(ops.kind) - 1
        return count

    def served() -> None:
        named("simpy").simulate(w.costs, w.requests, decisions, guesses, loads, timeline)

    seconds = interleaved({"served": served, "lowered": lowered}, rounds)
    return lowered() / seconds["served"], lowered() / seconds["lowered"]
