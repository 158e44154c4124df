"""`simmoe.replay`: what an expert cache does to a routing trace, without hardware, model or time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simmoe import policies
from simmoe.play.identity import sees_the_future
from simmoe.play.popularity import Counted, counts_first, source, use_for
from simmoe.play.quotas import check_scope, scope_for
from simmoe.play.tabular import Record, Tabular
from simmoe.play.traced import traced
from simmoe.policies import arguments
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide import blame
from simmoe.simulator.decide.bypass import bypass
from simmoe.simulator.decide.counts import count_by_phase, hit_flags
from simmoe.simulator.decide.decisions import BOUNDS, bound, decide, first_events, no_guesses
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.missing import Rule
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.decide.stepwise import SecondTier
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.run import Counts
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format import plausible

CONTRACTS = ("event", "sequential")


@dataclass(frozen=True, repr=False)
class Replay(Tabular):
    """Counts of the whole trace, the same by phase, and the flag of every occurrence.

    Requests are the distinct experts of an event (one forward pass, one MoE layer); `bytes` all bytes that were loaded.
    """

    hits: int
    misses: int
    evictions: int
    bytes: int
    prefill: Counts
    decode: Counts
    hit: npt.NDArray[
        np.bool_
    ]  # [tokens, layers, k]: its expert was resident when its event started; unused slots False
    unused_bytes: int  # rest of the budget that no whole slot of a layer's quota uses
    notes: tuple[
        str, ...
    ] = ()  # what to know beside the numbers: a trace that is not plausible, a policy that looks ahead

    brief = ("phase", "requests", "hits", "misses", "hit_rate", "evictions", "bytes")

    def title(self) -> str:
        return "Hits and misses of a trace, without a clock"

    def records(self) -> list[Record]:
        """A row for each phase, and one for both."""
        rows = [_record("prefill", self.prefill), _record("decode", self.decode)]
        names = ("requests", "hits", "misses", "evictions", "bytes")
        both = {name: sum(row[name] for row in rows) for name in names}
        rate = both["hits"] / both["requests"] if both["requests"] else None
        return [*rows, {"phase": "both", "hit_rate": rate, **both}]


def _record(phase: str, counts: Counts) -> Record:
    counted = {name: getattr(counts, name) for name in ("requests", "hits", "misses", "evictions", "bytes")}
    return {"phase": phase, "hit_rate": counts.hit_rate, **counted}


def replay(
    trace: str | Path | Trace,
    expert_bytes: npt.ArrayLike,
    budget_bytes: int,
    eviction: str | Path = "lru",
    scope: str = "global",
    contract: str = "event",
    *,
    cold_per_sequence: bool = False,
    seed: int = 0,
    model: str | Path | ModelShape | None = None,
) -> Replay:
    """Play `trace` through an expert cache of `budget_bytes` that starts empty.

    trace: a path, a bundled name or a loaded Trace. expert_bytes: int64 [moe_layers], bytes of one expert of each MoE layer.
    eviction: a bundled policy, a path to one, or a bound ("nothing", "everything"). scope: "global", "layer" (a quota each) or
    "fitted:TRACE" (quotas fitted to that trace).
    contract: "event" (all experts of a layer and pass at once) or "sequential" (each access alone, as cache simulators count).
    model: tells experts, top-k and layers, where the trace is a file of another program that does not say them.
    Raises UserError for a budget below one expert, a wrong number of sizes, and unknown names.
    """
    loaded = traced(trace, model)
    check_scope(scope)
    one_of("contract", contract, CONTRACTS)
    sizes = _sizes(expert_bytes, loaded)
    requests = requests_of(loaded, contract)
    for what, value in (("eviction", str(eviction)), ("scope", scope)):
        if counts_first(value):
            raise UserError(
                f"{what} {value}: replay plays the whole trace; cut it with `simmoe trace cut`, and name the first part behind the colon"
            )
    decisions = decide_named(
        loaded,
        requests,
        sizes,
        eviction,
        budget_bytes,
        scope_for(scope, loaded, None),
        cold_per_sequence,
        seed,
        told=told(str(eviction), loaded, None),
    )
    guesses = no_guesses(requests)
    both, prefill, decode = count_by_phase(loaded, requests, decisions, guesses, sizes)
    flags = hit_flags(loaded, requests, decisions)
    notes = (*plausible.notes(loaded), *sees_the_future(str(eviction)))
    return Replay(
        both.hits, both.misses, both.evictions, both.bytes, prefill, decode, flags, decisions.unused_bytes, notes
    )  # fmt: skip


def decide_named(
    trace: Trace,
    requests: Requests,
    sizes: Ints,
    eviction: str | Path,
    budget_bytes: int,
    scope: str | Fitted,
    cold: bool,
    seed: int,
    player: Player | None = None,
    guesses: Guesses | None = None,
    *,
    unit_of: Ints | None = None,
    rule: Rule | None = None,
    tier: SecondTier | None = None,
    start: str = COLD,
    told: Told | None = None,
) -> Decisions:
    """Decisions of a bound or of the policy of that name; a bound takes no guesses."""
    if str(eviction) in BOUNDS:
        if guesses is not None and len(guesses.obj):
            raise UserError(f"the bound {eviction} prefetches nothing; leave --prefetch out, or name a policy")
        return bound(requests, sizes, str(eviction), unit_of=unit_of, rule=rule, tier=tier, player=player)
    module = policies.load("eviction", eviction)
    cold_at = first_events(trace, requests) if cold else None
    if getattr(module, "BYPASS", False):
        if (guesses is not None and len(guesses.obj)) or unit_of is not None or rule is not None:
            raise UserError(
                f"eviction {eviction} is the bound of runs that load what is missing: leave --prefetch, --placement and --miss out"
            )
        return bypass(requests, sizes, budget_bytes, scope=scope, cold_at=cold_at, start=start, player=player)
    return decide(
        requests, sizes, module, budget_bytes, scope=scope, guesses=guesses, cold_at=cold_at, unit_of=unit_of, rule=rule,
        tier=tier, start=start, seed=seed, told=told or Told(), player=player,
    )  # fmt: skip


def told(eviction: str, played: Trace, counted: Counted | None) -> Told:
    """What an eviction policy is told when it is named, such as lookahead=8 or static_pin:first=20%. Raises UserError."""
    if eviction in BOUNDS:
        return Told()
    module = policies.load("eviction", eviction)
    numbers = arguments.as_whole(arguments.given("eviction", eviction, module))
    use: Ints = np.zeros(0, np.int64)
    if "popularity" in getattr(module, "NEEDS", ()):
        use = use_for("eviction", eviction, played, counted).ravel()
    elif text := source(eviction):
        raise UserError(f"--eviction {eviction}: {blame.name_of(module)} counts no use of experts; leave :{text} out")
    return Told(numbers, use)


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; choose one of {', '.join(known)}")


def _sizes(expert_bytes: npt.ArrayLike, trace: Trace) -> Ints:
    sizes = np.asarray(expert_bytes)
    if sizes.shape != (trace.n_layers,) or sizes.dtype.kind not in "iu" or int(sizes.min()) <= 0:
        raise UserError(
            f"expert_bytes must be {trace.n_layers} positive whole numbers, one per MoE layer; got {sizes.dtype} {sizes.shape}"
        )
    return sizes.astype(np.int64)
