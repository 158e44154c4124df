"""How fast the reference engine is: expert accesses per second of one core, decisions and clock together."""

from __future__ import annotations

from benchmarks.timing import interleaved
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.player import Player
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine


def accesses_per_s(hw: Hardware, model: ModelShape, trace: Trace, rounds: int = 3) -> float:
    """LRU at 25 % of the expert bytes; the whole trace, from its requests to the run's checks."""
    share = model.all_expert_bytes // 4

    def job() -> None:
        play(Workload(hw, trace, model), Plan(share), Engine("simpy", Player()))

    seconds = interleaved({"run": job}, rounds)["run"]
    return int((trace.expert_ids >= 0).sum()) / seconds
