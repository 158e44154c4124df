"""Predicts the wall time of a run of the offload runtime with simmoe's own decisions and clock, fed with measured constants.

The constants are means of operations that were sampled within the run (samples.py): total time is a sum, so means and
not medians. They are written as a hardware profile and a model shape, so that what is tested is the simulator as it is.
It knows no threads: waking them is paid per load. Simpler models are scored beside it with the same constants, since
an error is only small compared with that of a wrong structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from types import ModuleType

import numpy as np

from simmoe import policies
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import decide, no_guesses
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import named
from simmoe.workloads.offload.record import Played

PLENTY = 10**15  # bytes; of memory, where its size does not matter


@dataclass(frozen=True)
class Constants:
    """What single operations take, in nanoseconds."""

    dense: float  # dense work of one layer
    decide: float  # decisions of one event
    submit: float  # putting one load into the copy thread's queue
    expert: float  # one expert that has been in its slot, on as many rows as it has on average
    fresh: float  # added where it has just been copied; may be negative
    load: float  # the link's time for one expert
    hand_off: float  # waking the copy thread, then the thread that waits for it
    slowdown: float  # of computing while the link moves data, 1 = none

    @classmethod
    def of(cls, played: Played) -> Constants:
        """The means of a run."""
        s = played.samples
        expert = float(np.mean(s.expert))
        return cls(
            dense=float(np.mean(s.dense)),
            decide=float(played.decide_ns.mean()),
            submit=float(played.submit_ns.mean()) if len(played.submit_ns) else 0.0,
            expert=expert,
            fresh=float(np.mean(s.fresh)) - expert,
            load=float(np.mean(s.copy)),
            hand_off=float(np.mean(s.wake)),
            slowdown=max(1.0, float(np.mean(s.beside)) / expert) if s.beside else 1.0,
        )

    @classmethod
    def pooled(cls, many: Sequence[Constants]) -> Constants:
        """The means over runs: predictions from these cannot borrow the speed that the machine had in one run."""
        rows = [asdict(one) for one in many]
        return cls(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})


@dataclass(frozen=True)
class Prediction:
    """Seconds of one run, by model."""

    simulated: float
    serial_sum: float  # computing and loading one after the other
    perfect_overlap: float  # the longer of the two


def replayed(trace: Trace, eviction: ModuleType, budget_bytes: int, expert_bytes: int, seed: int = 0) -> Decisions:
    """The simulator's decisions for a recorded trace."""
    sizes = np.full(trace.n_layers, expert_bytes, np.int64)
    return decide(requests_of(trace), sizes, eviction, budget_bytes, seed=seed)


def predict(trace: Trace, decisions: Decisions, constants: Constants, expert_bytes: int, overlap: bool) -> Prediction:
    """The run's wall time under those decisions."""
    trace = replace(trace, layer_index=np.arange(trace.n_layers, dtype=np.int16))
    requests = requests_of(trace)
    loads = int((~decisions.hit).sum())
    woken = len(np.unique(requests.event_of_request[~decisions.hit])) if overlap else loads  # threads that are woken
    load_ns = constants.load + woken / max(loads, 1) * constants.hand_off
    with_load = constants.fresh + (constants.submit if overlap else 0)  # without overlap it is part of the hand-off
    expert_ns = constants.expert + loads / len(requests.obj) * with_load
    hw = machine(load_ns, expert_ns, constants.slowdown, expert_bytes)
    costs = Costs(hw, shape(constants, hw, trace, expert_bytes), trace)
    guesses = no_guesses(requests)
    lasts = loading(costs, requests, decisions, guesses)
    timeline = policies.load("timeline", "overlapped" if overlap else "serial")
    clocks = named("plain").simulate(costs, requests, decisions, guesses, lasts, timeline)
    compute = requests.n_events * (constants.dense + constants.decide) + len(requests.obj) * expert_ns
    link = loads * load_ns
    return Prediction(int(clocks.end_ps[-1]) / 1e12, (compute + link) / 1e9, max(compute, link) / 1e9)


def machine(load_ns: float, expert_ns: float, slowdown: float, expert_bytes: int) -> Hardware:
    """The host as a profile: rates at which an expert takes what was measured. Contention as in unified memory."""
    unit, link = (round(expert_bytes * 1e6 / ns) * 1000 for ns in (expert_ns, load_ns))  # whole bytes per ms
    left = round(unit / slowdown / 1000) * 1000
    return Hardware(
        name="offload-runtime",
        title="the offload runtime on this machine",
        unified=left < unit,
        tiers={"slots": Tier("slots", PLENTY, left + link), "store": Tier("store", PLENTY, link)},
        units={"thread": ComputeUnit("thread", "slots", unit, 0, {"fp32": PLENTY})},
        link=Link("store", "slots", link, 0),
        devices=("thread",),
        reserved_bytes=0,
        dram_bytes_per_loaded_byte=1,
    )


def shape(constants: Constants, hw: Hardware, trace: Trace, expert_bytes: int) -> ModelShape:
    """The model as MoE layers alone; the dense work of a layer as the bytes that take as long to read."""
    dense_bytes = round((constants.dense + constants.decide) * hw.device.bytes_per_s / 1e9)
    layer = Layer(Part(0, dense_bytes, 0), expert=Part(0, expert_bytes, 0), n_experts=trace.n_experts)
    return ModelShape("recorded", "fp32", "fp32", (layer,) * trace.n_layers, trace.top_k, NO_PART, NO_PART)


def static(trace: Trace) -> ModuleType:
    """The simulator's policy that the runtime calls "static": what the trace uses in the fewest events leaves."""
    requests = requests_of(trace)
    popularity = np.bincount(requests.obj, minlength=requests.n_objects).tolist()

    def victim(s: object, free: list[int], event: int, x: object) -> int:
        return min((o for o, may in enumerate(free) if may), key=lambda o: (popularity[o], o), default=-1)

    module = ModuleType("static")
    module.__dict__.update(NEEDS=(), victim=victim)
    return module
