"""What a run gives: counts, times and where they went, as properties and as JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.play import devices
from simmoe.play.cards import CardsMemory
from simmoe.play.cautions import cautions
from simmoe.play.crossing import Crossing, crossing
from simmoe.play.decided import Decided
from simmoe.play.energy import energy
from simmoe.play.identity import eviction_identity, load_identity, policy_identity, scope_identity, told_identity
from simmoe.play.plan import Plan, loadable, memory_of, placed
from simmoe.play.requests import Served, columns, mean_experts, served
from simmoe.play.slo import slo_of
from simmoe.play.tabular import Record, Tabular
from simmoe.play.tokens import kept_by_pass, ps_per_token
from simmoe.play.verify_passes import VerifyPasses, verify_passes
from simmoe.play.workload import Workload
from simmoe.policies import runtime as runtimes
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.counts import hit_flags, peak_buffer_bytes, prefetched
from simmoe.simulator.decide.missing import LOAD
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.decide.versions import forgotten_bytes
from simmoe.simulator.decide.warm_up import cold_misses
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Counts, Prefetched
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import DECODE, PREFILL
from simmoe.simulator.version import RESULT_SCHEMA, VERSION


@dataclass(frozen=True, repr=False)
class Run(Tabular):
    """One simulated run. Every time and rate is simulated; counts and bytes are exact for the trace."""

    brief = (
        "tok_s", "prompt_tok_s", "ttft_first_s", "tpot_p50_ms", "tpot_p99_ms", "hit_rate", "bytes_per_token", "waiting", "budget_bytes",
        "memory_bytes",
    )  # fmt: skip

    workload: Workload
    plan: Plan
    engine: str
    counts: Counts  # prefill and decode together
    prefill: Counts
    decode: Counts
    clocks: Clocks
    pass_ps: Ints  # [passes]
    link_bytes: Ints  # [passes] bytes of the transfers that the pass issued
    decided: Decided
    serving: ServingLog | None = None  # of a clock-driven schedule

    def title(self) -> str:
        return f"Simulated: {self.workload.named}, {self.plan.eviction}"

    def records(self) -> list[Record]:
        """One: the choices, then what is simulated. `waiting`: share of decode time in which the device waits."""
        where, plan = self.where_ps(), self.plan
        waits, total = sum(ps for name, ps in where.items() if name.startswith("waiting")), sum(where.values())
        energy, sent = self.energy, self.crossing
        return [
            {
                "kind": "simulated", **self.workload.choices(), "eviction": str(plan.eviction), "scope": plan.scope,
                "prefetch": plan.prefetch, "miss": plan.miss, "placement": plan.placement,
                "budget_bytes": plan.budget_bytes, "memory_bytes": self.memory_bytes["total"],
                "tok_s": self.tok_s, "prompt_tok_s": self.prompt_tok_s, "ttft_first_s": self.ttft_s["first"],
                "ttft_later_s": self.ttft_s["later"], **{f"tpot_p{p}_ms": self.tpot_ms(p) for p in (50, 95, 99)},
                "hit_rate": self.decode.hit_rate, "bytes_per_token": self.bytes_per_token, "waiting": waits / total if total else None,
                "fabric_bytes_per_token": sent and sent.bytes_per_token, "imbalance": sent and sent.imbalance,
                "joules_per_token": energy and energy["joules_per_token"], **columns(self.requests),
                "engine": self.engine, "digest": self.digest,
            }
        ]  # fmt: skip

    @property
    def decisions(self) -> Decisions:
        return self.decided.decisions

    @property
    def guesses(self) -> Guesses:
        return self.decided.guesses

    hits = property(lambda self: self.counts.hits)
    misses = property(lambda self: self.counts.misses)
    evictions = property(lambda self: self.counts.evictions)
    bytes = property(lambda self: self.counts.bytes)

    @property
    def start(self) -> str:
        """How the run started: warm (all that the device has is resident), cold (slots are empty), behind a warm-up."""
        state, tokens = self.decisions.start, self.workload.warm_up_tokens
        if not tokens:
            return state
        warm_up = f"warm-up of {tokens} tokens"
        return warm_up if state == COLD else f"{state}, {warm_up}"

    @property
    def cold_misses(self) -> int:
        """Requests that met an empty slot: the expert was never resident since slots were last emptied. Of experts that the placement
        left to a device."""
        asked, mine = (self.workload.requests, self.decisions, self.guesses), loadable(self.workload.begun, self.plan)
        return self.decided.once("cold misses", lambda: cold_misses(*asked, mine))

    @property
    def memory_bytes(self) -> dict[str, int]:
        """Device memory by what it is for, and in all; of several devices that of all together."""
        if self.plan.device_budgets:
            each = [one["memory_bytes"] for one in self.devices()]
            return {name: sum(one[name] for one in each) for name in each[0]}
        pool = self.plan.pool_bytes
        slots = self.plan.budget_bytes - pool
        return memory_of(self.workload, self.plan).split(slots, self.buffer_bytes, pool + self.forgotten_bytes)

    @property
    def other_memory_bytes(self) -> dict[str, dict[str, int]]:
        """What the other memories hold, by memory: the CPU's experts, the page cache, what may be loaded. Not of several devices."""
        if self.plan.device_budgets:
            return {}
        return memory_of(self.workload, self.plan).others(
            self.plan.budget_bytes, self.plan.page_cache_bytes, self.plan.started == COLD or self.plan.pool_bytes > 0
        )

    def devices(self) -> list[dict[str, Any]]:
        """Name and memory of each of several devices; empty where there is one."""
        if self.plan.device_budgets:
            return devices.held(self.workload, self.plan.device_budgets)
        memory = memory_of(self.workload, self.plan)
        return memory.told(self.plan.budget_bytes) if isinstance(memory, CardsMemory) else []

    @cached_property
    def crossing(self) -> Crossing | None:
        """What several devices send each other, and how evenly their experts are used; None of one device."""
        costs: Any = self.workload.costs
        return crossing(costs, costs.layout) if self.plan.device_budgets else None

    @property
    def buffer_bytes(self) -> int:
        """The most that prefetch buffers hold at once, beside the budget."""
        asked = self.workload.requests, self.decisions, self.guesses, self.workload.model.expert_bytes
        return self.decided.once("buffers", lambda: peak_buffer_bytes(*asked))

    @property
    def forgotten_bytes(self) -> int:
        """The most that low copies take at once beside the budget, where they are forgotten with their event."""
        requests, model = self.workload.requests, self.workload.model
        if not model.low:
            return 0
        low_bytes = model.version_bytes[len(model.moe_layers) :]
        each = self.decided.once("low copies", lambda: forgotten_bytes(requests, self.decisions, low_bytes))
        return int(each.max(initial=0))

    @cached_property
    def prefetched(self) -> Prefetched:
        """What became of the prefetches: useful, late, wasted, cancelled, each a count and bytes."""
        sizes, trace = self.workload.model.expert_bytes, self.workload.trace
        return prefetched(self.decisions, self.guesses, trace.n_experts, sizes, self.clocks.fate)

    @property
    def hit(self) -> npt.NDArray[np.bool_]:
        """bool [tokens, layers, k]: the expert of each occurrence was resident when its event started."""
        return hit_flags(self.workload.trace, self.workload.requests, self.decisions)

    @property
    def of_device(self) -> npt.NDArray[np.bool_]:
        """bool [requests]: the placement left its expert to the device, or to one of several."""
        requests = self.workload.requests
        if self.plan.placement is None or self.plan.device_budgets:
            return np.ones(len(requests.obj), bool)
        mine: npt.NDArray[np.bool_] = placed(self.workload, self.plan)[requests.obj] == LOAD
        return mine

    @property
    def decode_passes(self) -> npt.NDArray[np.bool_]:
        mine: npt.NDArray[np.bool_] = self.workload.trace.phase == DECODE
        return mine

    @property
    def emitted(self) -> int:
        """Decode tokens that were kept: all of them, unless the trace says which rows of a verify pass were."""
        return int(kept_by_pass(self.workload.trace)[self.decode_passes].sum())

    @cached_property
    def verify_passes(self) -> VerifyPasses | None:
        """What verify passes hold; None where the trace does not say which rows were kept."""
        return verify_passes(self.workload.trace)

    @property
    def tok_s(self) -> float | None:
        """Emitted decode tokens per second of decode-pass time; null for a trace without decode."""
        total = int(self.pass_ps[self.decode_passes].sum())
        return self.emitted * 1e12 / total if total else None

    @property
    def prompt_tok_s(self) -> float | None:
        """Prompt tokens per second of prefill-pass time; null for a trace without prompts."""
        mine = self.workload.trace.phase == PREFILL
        total, tokens = int(self.pass_ps[mine].sum()), int(np.diff(self.workload.trace.pass_ptr)[mine].sum())
        return tokens * 1e12 / total if total else None

    @property
    def ttft_s(self) -> dict[str, float | None]:
        """Time to first token, the prefill passes of a sequence: of the first sequence, and the median of the later ones. Of sequences that
        a warm-up does not cut. Null where prompts are read beside requests that decode: `requests` says how long each waited."""
        if self.serving is not None and (self.serving.rows or self.workload.trace.reads is not None):
            return {"first": None, "later": None}
        times = list(self._prefill_by_sequence().values())
        later = float(np.median(times[1:])) / 1e12 if len(times) > 1 else None
        return {"first": times[0] / 1e12 if times else None, "later": later}

    def _prefill_by_sequence(self) -> dict[int, int]:
        trace, total = self.workload.trace, dict[int, int]()
        for number in np.flatnonzero(trace.phase == PREFILL).tolist():
            for sequence in dict.fromkeys(trace.sequence[trace.pass_ptr[number] : trace.pass_ptr[number + 1]].tolist()):
                total[sequence] = total.get(sequence, 0) + int(self.pass_ps[number])
        begun = self.workload.begun.trace.sequence[: self.workload.warm_up_tokens]
        for cut in np.unique(begun).tolist():
            total.pop(cut, None)
        return total

    def tpot_ms(self, percent: float) -> float | None:
        """Time per output token: that percentile (nearest rank) of the times of play/tokens.py."""
        times = ps_per_token(self.workload.trace, self.pass_ps)
        return float(np.percentile(times, percent, method="inverted_cdf")) / 1e9 if len(times) else None

    @property
    def bytes_per_token(self) -> float | None:
        """Link bytes of the decode passes per emitted token; null where none is."""
        return self.decode.bytes / self.emitted if self.emitted else None

    def where_ps(self) -> dict[str, int]:
        """Decode time by what it was spent on, as the launches logged it; the parts add up to all of it (time/laws.py)."""
        mine = self.decode_passes
        parts = dict.fromkeys(("attention", "ffn", "shared", "experts", "head"), 0)
        sizes = Counter(self.workload.costs.path_size(number) for number in np.flatnonzero(mine).tolist())
        for size, passes in sizes.items():
            for name, ps in self.workload.costs.parts_ps(size).items():
                parts[name] = parts.get(name, 0) + passes * ps
        parts["experts"] = int(self.clocks.experts_ps[mine].sum())
        parts["waiting for experts"] = int(self.clocks.stall_ps[mine].sum())
        parts["waiting for other devices" if self.plan.device_budgets else "waiting for the CPU"] = int(
            self.clocks.cpu_ps[mine].sum()
        )
        parts["waiting for the host"] = int(self.clocks.host_ps[mine].sum())
        parts["slowed by loads"] = int(self.clocks.slowed_ps[mine].sum())
        return parts

    @property
    def notes(self) -> list[str]:
        """What to know beside the numbers."""
        return cautions(self.workload, self.plan)

    @property
    def energy(self) -> dict[str, Any] | None:
        """Estimated energy and heat in decode; None where the profile has no figures, or several devices."""
        if self.plan.device_budgets:
            return None
        return energy(self.workload, self.decided, self.decode, self.emitted, self.decode_passes, self.pass_ps)

    @cached_property
    def requests(self) -> Served | None:
        """What each request of a user waited for; None unless the schedule is clock-driven."""
        trace, log = self.workload.trace, self.serving
        if log is None:
            return None
        experts = mean_experts(trace, self.workload.requests)
        return replace(served(trace, self.clocks, log), experts=experts, slo=slo_of(self.plan))

    def to_json(self) -> dict[str, Any]:
        """The result as plain data: no wall-clock time, path or host name; the same inputs give the same bytes."""
        where, requests, verified = self.where_ps(), self.requests, self.verify_passes
        shares: dict[str, Any] = {"devices": held} if (held := self.devices()) else {}
        shares |= {} if self.crossing is None else {"fabric": asdict(self.crossing)}
        notes = {"notes": self.notes} if self.notes else {}
        early = {name: asdict(one) for name, one in self.prefetched._asdict().items()}
        emits = {} if self.workload.trace.emitted is None else {"emitted": self.emitted}
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "engine": self.engine, "versions": versions(), "scenario": self.scenario(),
            "digest": self.digest, "runtime": runtimes.said(self.workload.runtime), "start": self.start, "cold_misses": self.cold_misses,
            "hits": self.hits, "misses": self.misses, "evictions": self.evictions, "bytes": self.bytes,
            **({} if self.plan.prefetch is None else {"prefetched": early}),
            "prefill": {**_counted(self.prefill), "hit_rate": self.prefill.hit_rate},
            "decode": {**_counted(self.decode), **emits, "hit_rate": self.decode.hit_rate},
            "tok_s": self.tok_s, "prompt_tok_s": self.prompt_tok_s, "ttft_s": self.ttft_s,
            "tpot_ms": {f"p{p}": self.tpot_ms(p) for p in (50, 95, 99)},
            "bytes_per_token": self.bytes_per_token, "decode_time_ps": where, "total_ps": int(self.pass_ps.sum()),
            "link_busy_ps": self.clocks.link_busy_ps * self.workload.alike, "memory_bytes": self.memory_bytes,
            "other_memory_bytes": self.other_memory_bytes, **shares,
            "energy": self.energy, **notes,
            "unused_budget_bytes": self.decisions.unused_bytes, "peak_resident_bytes": int(self.decisions.used.max(initial=0)),
            **({} if verified is None else {"verify_passes": verified.to_json()}),
            **({} if requests is None else {"requests": requests.to_json()}),
        }  # fmt: skip

    def scenario(self) -> dict[str, Any]:
        plan = asdict(self.plan)
        del plan["device_budgets"], plan["beyond_bytes"], plan["asked"]  # they follow from the other options
        if self.plan.arrivals is not None:
            plan["arrivals"] = load_identity(self.plan.arrivals)
        for name in ("arrivals", "rate", "ttft", "tpot"):
            if plan[name] is None:
                del plan[name]
        if not self.plan.cancel:
            del plan["cancel"]
        if self.plan.low_budget is None or not self.plan.serves_low:
            del plan["low_budget"]
        plan["eviction"] = eviction_identity(self.plan.eviction)
        plan["scope"] = scope_identity(self.plan.scope)
        plan["miss"] = told_identity("miss", self.plan.miss)
        plan["timeline"] = policy_identity("timeline", self.plan.timeline)
        if self.plan.prefetch is not None:
            plan["prefetch"] = told_identity("prefetch", self.plan.prefetch)
        if self.plan.placement is not None:
            plan["placement"] = told_identity("placement", self.plan.placement)
        return {**self.workload.facts(), "plan": plan}

    @property
    def digest(self) -> str:
        """sha256 of the scenario: what was played, on what, how."""
        return hashlib.sha256(json.dumps(self.scenario(), sort_keys=True).encode()).hexdigest()


def _counted(counts: Counts) -> dict[str, int]:
    """What is counted; what seldom is, only where something was."""
    seldom = ("carried", "substituted", "dropped", "low_precision", "low_hits")
    return {name: n for name, n in asdict(counts).items() if n or name not in seldom}


def versions() -> dict[str, str]:
    """What made the result."""
    return {
        "simmoe": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "simpy": version("simpy"),
    }
