"""Which experts of a run are resident, and which are asked for, by layer over time: its decisions, summed over stretches of passes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.counts import event_of_cause
from simmoe.simulator.decide.stretches import stretches
from simmoe.simulator.decide.warm_up import admissions
from simmoe.simulator.errors import UserError

BINS = 60  # stretches of passes, of which a run has fewer where it has fewer passes


@dataclass(frozen=True, eq=False)
class Held:
    """Of all passes, those of a warm-up too, in stretches of equally many."""

    layers: tuple[int, ...]  # model layer of each column
    last_event: Ints  # [bins] the last event of each stretch
    tokens: Ints  # [bins] that were played when it ends
    resident: Flags  # [bins, layers, experts] when it ends
    asked: Ints  # [bins, layers, experts] token slots that chose the expert
    requests: Ints  # [bins, layers] distinct experts of each event, summed
    hits: Ints  # [bins, layers]

    def to_json(self) -> dict[str, Any]:
        return {
            "layers": list(self.layers), "tokens": self.tokens.tolist(), "resident": self.resident.astype(int).tolist(),
            "asked": self.asked.tolist(), "requests": self.requests.tolist(), "hits": self.hits.tolist(),
        }  # fmt: skip


def held(run: Run) -> Held:
    """What was resident and asked for. Raises UserError for a run on several devices, each of which has experts of its own."""
    if run.plan.device_budgets:
        raise UserError("which experts are resident is shown of one device, and this run plays several")
    if run.workload.warm_up_tokens:  # what is resident behind it is known only from what came before
        run = play(run.workload.begun, replace(run.plan, warm_up=None))
    trace, requests = run.workload.trace, run.workload.requests
    bins = min(BINS, trace.n_passes)
    passes = (np.arange(1, bins + 1) * trace.n_passes) // bins  # that have been played when each ends
    of_event = np.searchsorted(passes, np.arange(trace.n_passes), side="right")[requests.event_pass]
    last = np.searchsorted(requests.event_pass, passes) - 1
    shape = bins, trace.n_layers, trace.n_experts
    asked, counts = _asked(run, of_event, bins)
    layers = tuple(np.asarray(trace.layer_index).tolist())
    resident = _resident(run, of_event, bins).reshape(shape)
    return Held(layers, last, trace.pass_ptr[passes], resident, asked.reshape(shape), counts[0], counts[1])


def _asked(run: Run, of_event: Ints, bins: int) -> tuple[Ints, Ints]:
    """Token slots by stretch and object; requests and hits by stretch and layer."""
    requests, layers = run.workload.requests, run.workload.trace.n_layers
    asked, counts = np.zeros(bins * requests.n_objects, np.int64), np.zeros((2, bins * layers), np.int64)
    for begin, _, part, decided, _, _ in stretches(requests, run.decisions, run.guesses):
        event = np.repeat(np.arange(part.n_events), np.diff(part.ptr))
        number = of_event[begin + event]
        np.add.at(asked, number * requests.n_objects + part.obj, part.tokens)
        place = number * layers + part.event_layer[event]
        counts[0] += np.bincount(place, minlength=bins * layers)
        counts[1] += np.bincount(place[decided.hit], minlength=bins * layers)
    return asked, counts.reshape(2, bins, layers)


def _resident(run: Run, of_event: Ints, bins: int) -> Flags:
    """[bins, objects] resident when each stretch ends."""
    requests, decisions, guesses = run.workload.requests, run.decisions, run.guesses
    n, emptied = requests.n_objects, decisions.emptied
    changes = np.zeros((bins, n), np.int64)  # since the slots were emptied, where they were in the stretch
    since = np.zeros(bins, np.int64)
    since[of_event[emptied]] = emptied  # in order: the last one stays
    for begin, _, part, decided, wanted, _ in stretches(requests, decisions, guesses):
        came = [(obj, at + begin, 1) for obj, at in admissions(part, decided, wanted)]
        gone = event_of_cause(part, wanted, decided.evicted_for) + begin
        for obj, at, step in (*came, (decided.evicted, gone, -1)):
            counts = at >= since[of_event[at]]
            np.add.at(changes, (of_event[at[counts]], obj[counts]), step)
    now = np.zeros(n, np.int64) if decisions.met is None else decisions.met.astype(np.int64)
    found = np.zeros((bins, n), bool)
    starts_empty = np.isin(np.arange(bins), of_event[emptied])
    for number in range(bins):
        now = changes[number] if starts_empty[number] else now + changes[number]
        found[number] = now > 0
    return found
