"""What a run leaves behind: times, bytes and occupancy by pass, and the laws that every run is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import Decisions, Guesses, next_of_its_layer
from simmoe.simulator.requests import Ints, Requests
from simmoe.simulator.types import Trace


@dataclass
class Clocks:
    """What a clock measures while it plays, by pass, in picoseconds."""

    start_ps: list[int] = field(default_factory=list)
    end_ps: list[int] = field(default_factory=list)
    stall_ps: list[int] = field(default_factory=list)  # compute unit waiting for an expert to arrive
    slowed_ps: list[int] = field(default_factory=list)  # compute time added by transfers into the same memory
    cpu_ps: list[int] = field(default_factory=list)  # compute unit waiting for experts that the CPU computes
    link_busy_ps: int = 0

    def add(self, start: int, end: int, stall: int, slowed: int, cpu: int) -> None:
        self.start_ps.append(start)
        self.end_ps.append(end)
        self.stall_ps.append(stall)
        self.slowed_ps.append(slowed)
        self.cpu_ps.append(cpu)


@dataclass
class Spans:
    """Every launch, transfer and decision of a run, in picoseconds."""

    launches: list[tuple[str, int, int]] = field(default_factory=list)  # (name, start, duration)
    transfers: list[tuple[int, int, int]] = field(default_factory=list)  # (object, start, duration)
    decisions: list[int] = field(default_factory=list)  # [events] when the decisions of each event are made

    def launch(self, name: str, start: int, lasts: int) -> None:
        self.launches.append((name, start, lasts))

    def transfer(self, obj: int, start: int, lasts: int) -> None:
        self.transfers.append((obj, start, lasts))


@dataclass(frozen=True)
class Counts:
    """What one phase asked of the cache. Requests are distinct experts of an event; bytes are all bytes that crossed the link."""

    tokens: int
    requests: int
    hits: int
    misses: int  # loaded
    on_cpu: int  # missing and computed on the CPU
    evictions: int
    prefetches: int
    bytes: int
    write_back_bytes: int = 0  # evicted experts copied back; not in bytes

    @property
    def hit_rate(self) -> float | None:
        return self.hits / self.requests if self.requests else None


def count(
    trace: Trace,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    expert_bytes: Ints,
    phase: int | None = None,
    write_back: bool = False,
) -> Counts:
    """Counts of the whole trace, or of the passes of one phase. write_back: evicted experts are copied back."""
    event_phase = trace.phase[requests.event_pass]
    chosen = np.ones(requests.n_events, bool) if phase is None else event_phase == phase
    mine = chosen[requests.event_of_request]
    issued = decisions.issued & np.repeat(chosen, np.diff(guesses.ptr))
    miss, cpu = decisions.loads[mine[decisions.loads]], decisions.cpu[mine[decisions.cpu]]
    loaded = np.concatenate((requests.obj[miss], guesses.obj[issued])) // trace.n_experts
    passes = np.ones(trace.n_passes, bool) if phase is None else trace.phase == phase
    evicted = decisions.evicted[chosen[event_of_cause(requests, guesses, decisions.evicted_for)]]
    return Counts(
        tokens=int(np.diff(trace.pass_ptr)[passes].sum()),
        requests=int(mine.sum()),
        hits=int((mine & decisions.hit).sum()),
        misses=len(miss),
        on_cpu=len(cpu),
        evictions=len(evicted),
        prefetches=int(issued.sum()),
        bytes=int(expert_bytes[loaded].sum()),
        write_back_bytes=int(expert_bytes[evicted // trace.n_experts].sum()) if write_back else 0,
    )


def on_cpu(costs: Costs, requests: Requests, decisions: Decisions) -> tuple[Ints, Ints, Ints]:
    """int64 [events] each: experts that the CPU computes, their token slots, and how long it takes; empty when there are none."""
    if not len(decisions.cpu):
        return (np.zeros(0, np.int64),) * 3
    event = requests.event_of_request[decisions.cpu]
    experts = np.bincount(event, minlength=requests.n_events)
    slots = np.bincount(event, requests.tokens[decisions.cpu], requests.n_events).astype(np.int64)
    busy = zip(requests.event_layer.tolist(), experts.tolist(), slots.tolist())
    return experts, slots, np.array([costs.cpu_ps(*asked) if asked[1] else 0 for asked in busy])


def event_of_cause(requests: Requests, guesses: Guesses, cause: Ints) -> Ints:
    """Event of each eviction: that of the request, or of the guess (-1 - guess), that took its room."""
    demand = np.searchsorted(requests.ptr, cause, side="right") - 1
    return np.where(cause >= 0, demand, np.searchsorted(guesses.ptr, -1 - cause, side="right") - 1)


def hit_flags(trace: Trace, requests: Requests, decisions: Decisions) -> npt.NDArray[np.bool_]:
    """bool [tokens, layers, k]: the expert of each occurrence was resident at its event's start; unused slots are False."""
    flags = np.zeros(trace.expert_ids.size, bool)
    flags[requests.use_slot] = decisions.hit[requests.use_request]
    return flags.reshape(trace.expert_ids.shape)


def link_bytes_by_pass(
    trace: Trace, requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints
) -> Ints:
    """int64 [passes]: bytes of the transfers that each pass issued."""
    events = np.concatenate(
        (
            requests.event_of_request[decisions.loads],
            np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[decisions.issued],
        )
    )
    loaded = np.concatenate((requests.obj[decisions.loads], guesses.obj[decisions.issued])) // trace.n_experts
    total = np.zeros(trace.n_passes, np.int64)
    np.add.at(total, requests.event_pass[events], expert_bytes[loaded])
    return total


def peak_buffer_bytes(requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints) -> int:
    """The most bytes that prefetch buffers hold at once: each from its issue to the end of the event that it is for."""
    if not guesses.buffered:
        return 0
    event = np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[decisions.issued]
    obj, change = guesses.obj[decisions.issued], np.zeros(requests.n_events + 1, np.int64)
    size = expert_bytes[obj // (requests.n_objects // len(expert_bytes))]
    np.add.at(change, event, size)
    np.add.at(change, np.minimum(next_of_its_layer(requests, event, obj) + 1, requests.n_events), -size)
    return int(change.cumsum().max())


def check(costs: Costs, decisions: Decisions, clocks: Clocks, counts: Counts, budget_bytes: int | None) -> None:
    """The laws of every run; a broken one is a defect of simmoe, not of its input."""
    elapsed = clocks.end_ps[-1]
    laws = {
        "link busy ≤ elapsed, but for prefetches still on their way": clocks.link_busy_ps <= elapsed
        or counts.prefetches > 0,
        "requests = hits + misses + those on the CPU": counts.requests == counts.hits + counts.misses + counts.on_cpu,
        "passes follow each other": clocks.start_ps[1:] == clocks.end_ps[:-1] and clocks.start_ps[0] == 0,
        "occupancy ≤ budget": budget_bytes is None or int(decisions.used.max(initial=0)) <= budget_bytes,
        "link time = transfers": counts.bytes == 0
        or clocks.link_busy_ps >= counts.bytes * 10**12 // costs.hw.link.bytes_per_s,
    }
    broken = [law for law, holds in laws.items() if not holds]
    if broken:
        raise AssertionError(f"simmoe broke its own law: {'; '.join(broken)}; please report this run")


def check_occupancy(requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints) -> None:
    """What was loaded and not evicted is what is resident; a policy that names a victim which is not resident breaks it."""
    n_experts = requests.n_objects // len(expert_bytes)
    loaded = np.concatenate((requests.obj[decisions.loads], guesses.obj[decisions.issued])) // n_experts
    left = int(expert_bytes[loaded].sum()) - int(expert_bytes[decisions.evicted // n_experts].sum())
    if left != int(decisions.used[-1]):
        raise AssertionError(f"resident bytes {int(decisions.used[-1])} are not loads less evictions {left}")
