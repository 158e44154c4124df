"""What was asked of the cache and what crossed the link, counted from the decisions."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import next_of_its_layer
from simmoe.simulator.decide.missing import LOAD
from simmoe.simulator.decide.stretches import Stretch, stretches
from simmoe.simulator.decide.versions import load_objects, low_hits
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN, Amount, Counts, Prefetched
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace


def count(
    trace: Trace,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    expert_bytes: Ints,
    phase: int | None = None,
    write_back: bool = False,
    unit_of: Ints | None = None,
    carried: Flags | None = None,
) -> Counts:
    """Counts of the whole trace, or of the passes of one phase; tokens are those of the phase, in whichever pass. expert_bytes:
    ModelShape.version_bytes where low copies may serve. write_back: evicted experts are copied back.

    unit_of [objects]: the other unit that the placement left each expert to, 0 = the device (default: all). carried [passes]: what the CPU
    has crosses the link in the pass (default: in none).
    """
    over = _no_pass(trace) if carried is None else carried
    passes = np.ones(trace.n_passes, bool) if phase is None else trace.phase == phase
    found = [
        _counted(one, passes, expert_bytes, trace.n_experts, write_back, unit_of, over)
        for one in stretches(requests, decisions, guesses)
    ]
    total = {one.name: sum(getattr(part, one.name) for part in found) for one in fields(Counts)}
    rows = trace.n_tokens if phase is None else int((trace.decodes == (phase == DECODE)).sum())
    return Counts(**total | {"tokens": rows})


def count_by_phase(
    trace: Trace, requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints, write_back: bool = False,
    unit_of: Ints | None = None, carried: Flags | None = None,
) -> tuple[Counts, Counts, Counts]:  # fmt: skip
    """Counts of all passes, of prefill, of decode, as `count` gives them one by one."""
    asked = trace, requests, decisions, guesses, expert_bytes
    both, prefill = (count(*asked, phase, write_back, unit_of, carried) for phase in (None, PREFILL))
    rest = {one.name: getattr(both, one.name) - getattr(prefill, one.name) for one in fields(Counts)}
    return both, prefill, Counts(**rest)


def _no_pass(trace: Trace) -> Flags:
    return np.zeros(trace.n_passes, bool)


def _counted(
    stretch: Stretch, passes: Flags, expert_bytes: Ints, n_experts: int, write_back: bool, unit_of: Ints | None, carried: Flags
) -> Counts:  # fmt: skip
    """Counts of a stretch, but for its tokens. passes [passes of the run]: those that count."""
    requests, decisions, guesses = stretch.requests, stretch.decisions, stretch.guesses
    chosen = passes[requests.event_pass]
    mine = np.repeat(chosen, np.diff(requests.ptr))
    issued = decisions.issued & np.repeat(chosen, np.diff(guesses.ptr))
    brought, cpu = load_objects(requests, decisions)[mine[decisions.loads]], decisions.cpu[mine[decisions.cpu]]
    over = cpu[carried[requests.event_pass[requests.event_of_request[cpu]]]]
    loaded = np.concatenate((brought, guesses.obj[issued], requests.obj[over])) // n_experts
    evicted = decisions.evicted[chosen[event_of_cause(requests, guesses, decisions.evicted_for)]]
    return Counts(
        tokens=0,
        requests=int(mine.sum()),
        hits=int((mine & decisions.hit).sum()),
        misses=int((brought < requests.n_objects).sum()),
        on_cpu=len(cpu),
        evictions=len(evicted),
        prefetches=int(issued.sum()),
        bytes=int(expert_bytes[loaded].sum()),
        placed=0 if unit_of is None else int((unit_of[requests.obj[cpu]] != LOAD).sum()),
        write_back_bytes=int(expert_bytes[evicted // n_experts].sum()) if write_back else 0,
        carried=len(over),
        substituted=int(mine[decisions.stands].sum()),
        dropped=int(mine[decisions.dropped].sum()),
        low_precision=int(mine[decisions.low].sum()),
        low_hits=int(mine[low_hits(decisions)].sum()) if len(decisions.low) else 0,
    )


def moved(decisions: Decisions, fate: Ints) -> Decisions:
    """The same without prefetches that were withdrawn: what crossed the link. fate [guesses]: Clocks.fate."""
    return replace(decisions, issued=decisions.issued & (fate != WITHDRAWN)) if (fate == WITHDRAWN).any() else decisions


def prefetched(decisions: Decisions, guesses: Guesses, n_experts: int, expert_bytes: Ints, fate: Ints) -> Prefetched:
    """What became of the prefetches. fate [guesses]: Clocks.fate."""
    hit = np.zeros(len(guesses.obj), bool)
    hit[decisions.fresh_by] = True
    withdrawn, size = decisions.issued & (fate == WITHDRAWN), expert_bytes[guesses.obj // n_experts]
    useful = decisions.issued & hit & ~withdrawn
    kinds = useful, useful & (fate == WAS_LATE), decisions.issued & ~hit & ~withdrawn, withdrawn
    return Prefetched(*(Amount(int(mine.sum()), int(size[mine].sum())) for mine in kinds))


def event_of_cause(requests: Requests, guesses: Guesses, cause: Ints) -> Ints:
    """Event of each eviction: that of the request, or of the guess (-1 - guess), that took its room."""
    if not len(guesses.obj):
        return requests.event_of_request[cause]
    demand = cause >= 0
    event = np.searchsorted(guesses.ptr, -1 - cause, side="right") - 1
    event[demand] = requests.event_of_request[cause[demand]]
    return event


def hit_flags(trace: Trace, requests: Requests, decisions: Decisions) -> npt.NDArray[np.bool_]:
    """bool [tokens, layers, k]: the expert of each occurrence was resident at its event's start; unused slots are False."""
    flags = np.zeros(trace.expert_ids.size, bool)
    slots = slice(None) if requests.slot_of_use is None else requests.slot_of_use
    flags[slots] = decisions.hit if requests.request_of_use is None else decisions.hit[requests.request_of_use]
    return flags.reshape(trace.expert_ids.shape)


def link_bytes_by_pass(
    trace: Trace,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    expert_bytes: Ints,
    carried: Flags | None = None,
) -> Ints:
    """int64 [passes]: bytes of the transfers that each pass issued. carried [passes]: what the CPU has is among them."""
    total, over = np.zeros(trace.n_passes, np.int64), _no_pass(trace) if carried is None else carried
    for _, _, asked, decided, wanted, _ in stretches(requests, decisions, guesses):
        early = np.repeat(np.arange(asked.n_events), np.diff(wanted.ptr))[decided.issued]
        cpu = decided.cpu[over[asked.event_pass[asked.event_of_request[decided.cpu]]]]
        events = np.concatenate((asked.event_of_request[decided.loads], early, asked.event_of_request[cpu]))
        loaded = (
            np.concatenate((load_objects(asked, decided), wanted.obj[decided.issued], asked.obj[cpu]))
            // trace.n_experts
        )
        np.add.at(total, asked.event_pass[events], expert_bytes[loaded])
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
    if (earlier := decisions.buffered) is not None:
        size = expert_bytes[earlier.obj // (requests.n_objects // len(expert_bytes))]
        np.add.at(change, np.minimum(earlier.until + 1, requests.n_events), -size)
        change[0] += int(size.sum())
    return int(change.cumsum().max())
