"""What every prefetcher must do: guesses of experts that exist, the same ones whenever it is asked, from what its NEEDS say that it reads;
decisions that are equal in all engines and times in two, into the cache and into buffers, with and without --cancel, beside every kind of
miss rule."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.kit.scenarios import Say, in_turn, silent
from simmoe.kit.timed import Timed, blaming, drawn, judged
from simmoe.play import asked
from simmoe.play.identity import needs_of_prefetch
from simmoe.play.plan import asked_of_prefetch
from simmoe.play.popularity import source
from simmoe.play.serving import Wants
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.pass_by_pass import Missing
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.trace import Trace

BESIDE = ("fetch", "drop=40%", "substitute", "cache_aware=90%", "balanced")  # miss rules
READ = ("expert_ids", "gate_weights", "predicted_ids")  # arrays of a trace whose later rows an engine does not know yet


def check_prefetch(value: str, both: bool, say: Say = silent) -> list[str]:
    """What was checked of a prefetcher, a line each. Raises UserError."""
    file, needs = Path(named(value).name).name, set(needs_of_prefetch(value))
    cases = list(drawn(value, (value,), BESIDE))
    for case in in_turn(cases, "asking", say):
        if wrong := _wrong(case, needs):
            raise UserError(f"policy {file}: {wrong}; {case}")
    reads = f"from no more than NEEDS says ({', '.join(sorted(needs)) or 'nothing'})"
    return [
        f"{len(cases)} scenarios: guesses of experts that exist, {reads}",
        *judged(cases, file, both, "wanted()", say),
    ]


def _wrong(case: Timed, needs: set[str]) -> str:
    """What a prefetcher reads, or writes, that it may not; empty where there is nothing of the kind."""
    trace = case.workload.trace
    before, meta = {name: one.copy() for name, one in _arrays(trace).items()}, deepcopy(trace.meta)
    event, obj = _asked(case, trace)
    if trace.meta != meta or any(not np.array_equal(one, before[name]) for name, one in _arrays(trace).items()):
        return "wanted() writes into the trace that is played; change a copy"
    if not _equal(event, obj, *_asked(case, trace)):
        return "wanted() answers otherwise when it is asked again: draw with ask.seed, and keep nothing outside of wanted()"
    for third in (1, 2) if "future" not in needs else ():
        cut = third * trace.n_passes * trace.n_layers // 3
        again, other = _asked(case, _changed_behind(trace, cut, "ahead" in needs))
        if not _equal(event[event <= cut], obj[event <= cut], again[again <= cut], other[again <= cut]):
            return f"wanted() guesses at the end of event {cut} or before by what later events request, which NEEDS does not name"
    if not {"passes", *["passes unless text"] * (not source(case.plan.prefetch))} & needs and not _pass_by_pass(
        case, event, obj
    ):
        return 'wanted() guesses otherwise when it is asked pass by pass, as clock-driven schedules ask; say NEEDS = ("passes",)'
    return ""


def _equal(event: Ints, obj: Ints, again: Ints, other: Ints) -> bool:
    return np.array_equal(event, again) and np.array_equal(obj, other)


def _asked(case: Timed, trace: Trace) -> tuple[Ints, Ints]:
    """(event, object) of each guess for that trace."""
    with blaming(case):
        module, ask = asked_of_prefetch(case.workload, case.plan)
        requests = case.workload.requests
        return asked.guesses(module, requests.n_events, requests.n_objects, trace, ask)


def _pass_by_pass(case: Timed, event: Ints, obj: Ints) -> bool:
    """Whether each pass alone has these guesses. The last one is left out: no pass follows it, and none is known to be the last while the
    clock runs."""
    trace, wants = case.workload.trace, Wants(case.workload, case.plan, Missing(None, None))
    for number in range(trace.n_passes - 1):
        begin, end = (int(one) for one in trace.pass_ptr[number : number + 2])
        alone = trace.taken(slice(begin, end), [0, end - begin], trace.phase[number : number + 1])
        with blaming(case):
            guesses = wants(alone, requests_of(alone))
        mine = event // trace.n_layers == number
        ptr = np.searchsorted(event[mine], np.arange(number * trace.n_layers, (number + 1) * trace.n_layers + 1))
        if not (np.array_equal(guesses.obj, obj[mine]) and np.array_equal(guesses.ptr, ptr)):
            return False
    return True


def _changed_behind(trace: Trace, event: int, ahead: bool) -> Trace:
    """The trace with another routing of what an engine does not know at the end of that event: later layers of its pass (those it knows
    where it runs ahead of them) and later passes."""
    number, column = divmod(event, trace.n_layers)
    begin, end = (int(one) for one in trace.pass_ptr[number : number + 2])
    changed: dict[str, Any] = {name: one.copy() for name, one in _arrays(trace).items() if name in READ}
    for name, one in changed.items():
        rows = one if name != "predicted_ids" else np.moveaxis(one, 0, -1)  # [tokens, layers, …]
        if not ahead and name != "predicted_ids":
            rows[begin:end, column + 1 :] = _other(rows[begin:end, column + 1 :], trace.n_experts)
        rows[end:] = _other(rows[end:], trace.n_experts)
    return replace(trace, **changed)


def _other(values: Any, n_experts: int) -> Any:
    return 1 - values if values.dtype.kind == "f" else np.where(values < 0, values, (values + 1) % n_experts)


def _arrays(trace: Trace) -> Mapping[str, Any]:
    return {name: one for name, one in vars(trace).items() if isinstance(one, np.ndarray)}
