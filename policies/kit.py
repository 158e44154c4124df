"""The conformance kit: what every eviction policy must do, bundled or a user's, played on small drawn scenarios.

Each scenario has events of several experts, unused slots, prefill passes, several sequences; some have experts of unequal size,
prefetches into the cache or into buffers, budgets from one expert to all, one group or one per layer, emptied slots. A referee who knows
none of the machine's text follows the decisions: nobody is resident beyond the room, no expert leaves that its event pins while another
could, a hit is what was resident. Played again the decisions are the same, and so are those of the compiled engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from simmoe import policies
from simmoe.policies import arguments
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.decisions import decide, first_events, no_guesses
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.recurrence import CompiledPlayer

SCENARIOS = 48
SIZES = (4, 6, 5000)  # bytes of an expert
NO_STARTS = np.zeros(0, np.int64)


class Scenario(NamedTuple):
    """One thing to play."""

    number: int
    requests: Requests
    expert_bytes: Ints  # [layers]
    budget_bytes: int
    scope: str
    guesses: Guesses
    cold_at: Ints  # events at which the slots are emptied

    def __str__(self) -> str:
        guesses = "buffers" if self.guesses.buffered else "prefetches" if len(self.guesses.obj) else "no prefetches"
        sizes = "/".join(map(str, self.expert_bytes.tolist()))
        return f"scenario {self.number} (experts of {sizes} B, room {self.budget_bytes:,} B, scope {self.scope}, {guesses})"


def check_kit(value: str | Path, both: bool = True) -> list[str]:
    """Plays the eviction policy that `value` names, a bundled one or a file, with what it is told behind its name.

    Returns what was checked, a line each. Raises UserError, one line, where it breaks a rule. both: compiled as well, which takes some
    seconds.
    """
    module = policies.load("eviction", value)
    numbers = arguments.as_whole(arguments.given("eviction", str(value), module))
    cases = list(scenarios())
    made = [_played(module, case, numbers, Player()) for case in cases]
    for case, decided in zip(cases, made):
        for wrong in broken(case, decided):
            raise UserError(f"policy {name_of(module)}: {wrong}; {case}")
    _alike(
        module,
        cases,
        made,
        numbers,
        Player(),
        "decides otherwise when it is played again: keep all state in what init returns",
    )
    lines = [
        f"{len(cases)} scenarios: room and pins kept, hits are what was resident",
        "played again: the same decisions",
    ]
    if not both or compiled.missing():
        return [
            *lines,
            "not played by the compiled engine" + " (numba is not installed)" * (both and compiled.missing()),
        ]
    _alike(module, cases, made, numbers, CompiledPlayer(), "decides otherwise when it is compiled")
    return [*lines, "compiled: the same decisions"]


def _alike(
    module: ModuleType, cases: list[Scenario], made: list[Decisions], numbers: Ints, player: Player, what: str
) -> None:
    for case, first in zip(cases, made):
        second = _played(module, case, numbers, player)
        for field in ("hit", "loads", "evicted", "evicted_for", "issued", "used"):
            if not np.array_equal(getattr(first, field), getattr(second, field)):
                raise UserError(f"policy {name_of(module)} {what}; {case}")


def _played(module: ModuleType, case: Scenario, numbers: Ints, player: Player) -> Decisions:
    use = np.bincount(case.requests.use_obj, minlength=case.requests.n_objects)
    return decide(
        case.requests, case.expert_bytes, module, case.budget_bytes, scope=case.scope, guesses=case.guesses,
        cold_at=case.cold_at, seed=case.number, told=Told(numbers, use), player=player,
    )  # fmt: skip


# --- the referee ------------------------------------------------------------------------------------------------------


def broken(case: Scenario, made: Decisions) -> Iterator[str]:
    """What the decisions of a scenario break. With buffers only the room is looked at: who enters from a buffer is not written down."""
    requests, guesses = case.requests, case.guesses
    if made.used.max(initial=0) > case.budget_bytes:
        yield f"{made.used.max()} B are resident"
    if not guesses.buffered:
        resident: set[int] = set()
        victims = _victims(made)
        for event in range(requests.n_events):
            if event in case.cold_at:
                resident.clear()
            yield from _event(case, made, victims, resident, event)


def _victims(made: Decisions) -> dict[int, list[int]]:
    """Who leaves for each request, and for -1 - each guess."""
    found: dict[int, list[int]] = {}
    for o, cause in zip(made.evicted.tolist(), made.evicted_for.tolist()):
        found.setdefault(cause, []).append(o)
    return found


def _event(
    case: Scenario, made: Decisions, victims: dict[int, list[int]], resident: set[int], event: int
) -> Iterator[str]:
    """Follows one event; `resident` is changed."""
    requests, guesses, layers = case.requests, case.guesses, len(case.expert_bytes)
    experts = requests.n_objects // layers
    asked = range(int(requests.ptr[event]), int(requests.ptr[event + 1]))
    wanted = range(int(guesses.ptr[event]), int(guesses.ptr[event + 1]))
    pinned = {int(requests.obj[i]) for i in asked}
    if [bool(made.hit[i]) for i in asked] != [int(requests.obj[i]) in resident for i in asked]:
        yield f"a hit of event {event} was not resident, or a resident was no hit"
    entering = [(i, int(requests.obj[i])) for i in asked if not made.hit[i]]
    entering += [(-1 - j, int(guesses.obj[j])) for j in wanted if made.issued[j]]
    for cause, o in entering:
        for out in victims.get(cause, []):
            mine = {one for one in resident if case.scope == "global" or one // experts == o // experts}
            if out not in mine:
                yield f"expert {out}, which leaves in event {event}, is not resident in the group that needs room"
            elif out in pinned and (cause < 0 or mine - pinned):
                yield f"expert {out} leaves in event {event}, which pins it, while another could"
            resident.discard(out)
        resident.add(o)
        if cause < 0:
            pinned.add(o)
    held = sum(int(case.expert_bytes[o // experts]) for o in resident)
    if held != made.used[event] or held > case.budget_bytes:
        yield f"{held} B are resident at the end of event {event}"


# --- what is played ---------------------------------------------------------------------------------------------------


def scenarios() -> Iterator[Scenario]:
    """The same ones every time."""
    for number in range(SCENARIOS):
        rng = np.random.default_rng(number)
        trace = _trace(rng, layers=1 + number % 3, experts=3 + number % 7)
        requests = requests_of(trace, "sequential" if number % 8 == 7 else "event")
        one = int(rng.choice(SIZES))
        sizes = rng.choice(SIZES, trace.n_layers) if number % 2 else np.full(trace.n_layers, one)
        total, scope = int(sizes.sum()) * trace.n_experts, ("global", "layer")[number // 2 % 2]
        least = int(sizes.max()) if scope == "global" else -(-total // trace.n_experts)
        budget = least + int((total - least) * rng.choice((0.0, 0.2, 0.4, 0.7)))
        kind = number // 4 % 3  # none, into the cache, into buffers
        guesses = _guesses(rng, requests, kind == 2) if kind and number % 8 != 7 else no_guesses(requests)
        cold_at = first_events(trace, requests) if number % 5 == 4 else NO_STARTS
        yield Scenario(number, requests, sizes.astype(np.int64), budget, scope, guesses, cold_at)


def _trace(rng: np.random.Generator, layers: int, experts: int) -> Trace:
    """Passes of one to four tokens of four sequences, whose experts are drawn with favourites; some slots stay unused."""
    lengths = np.where(rng.random(40) < 0.7, 1, rng.integers(2, 5, 40))
    tokens, k = int(lengths.sum()), int(rng.integers(1, min(experts, 3) + 1))
    likes = rng.random((tokens, layers, experts)) * (1 + np.arange(experts) % 3)
    ids = np.argsort(-likes, axis=2, kind="stable")[:, :, :k].astype(np.int16)
    ids[rng.random(ids.shape) < 0.05] = -1
    sequence = np.sort(rng.integers(0, 4, tokens)).astype(np.int32)
    first = np.searchsorted(sequence, sequence)
    weights = rng.random(ids.shape).astype(np.float16) if rng.random() < 0.5 else None
    return Trace(
        expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16), pass_ptr=np.concatenate(([0], np.cumsum(lengths))),
        phase=np.where(lengths > 1, PREFILL, DECODE).astype(np.int8), sequence=sequence,
        position=(np.arange(tokens) - first).astype(np.int32), meta={"n_experts": experts, "top_k": k}, gate_weights=weights,
    )  # fmt: skip


def _guesses(rng: np.random.Generator, requests: Requests, buffered: bool) -> Guesses:
    """Up to three different objects at each event."""
    lists = [
        rng.choice(requests.n_objects, int(rng.integers(0, min(4, requests.n_objects + 1))), replace=False)
        for _ in range(requests.n_events)
    ]
    ptr = np.concatenate(([0], np.cumsum([len(one) for one in lists])))
    return Guesses(ptr, np.concatenate(lists), buffered)
