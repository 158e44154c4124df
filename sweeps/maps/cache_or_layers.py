"""The same bytes of device memory hold whichever experts were used last, or all experts of the last blocks while the CPU has those of the
others for good (n_cpu_moe): by the size of that memory and the rate of the link."""

from __future__ import annotations

from simmoe.play.plan import memory_of
from simmoe.play.scenario import Scenario
from simmoe.play.what_if import blocks_left
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.sweeps.question import Options, Question, Stop, check_loads, doubled

EIGHTHS = range(1, 8)


def question(scenario: Scenario, workload: Workload) -> Question:
    """Raises UserError for a machine without a CPU, or an engine that loads no experts while it runs."""
    check_loads(workload)
    hw = workload.hw
    if hw.cpu is None:
        raise UserError(
            f"{hw.name} states no CPU that could compute experts; name another machine, or a GPU in a --host"
        )
    if scenario.eviction in BOUNDS:
        raise UserError(f"--eviction {scenario.eviction}: a bound is no cache; name a policy, or leave it out")
    every = memory_of(workload, scenario.plan(workload)).left_bytes

    def ways(x: Stop, y: Stop) -> tuple[Options, Options]:
        size = int(y.options["budget"].removesuffix("B"))
        return {}, {"placement": f"n_cpu_moe={blocks_left(workload.model, size)}", "budget": "100%"}

    shares = tuple(Stop(f"{eighth / 8:.1%}", {"budget": f"{every * eighth // 8}B"}) for eighth in EIGHTHS)
    return Question(
        "memory for experts: a cache of them (A), or whole layers, the others on the CPU (B)", ("cache", "layers"), "link GB/s",
        "experts", doubled(hw, "link.bandwidth", f"tiers.{hw.link.src}.bandwidth"), shares, ways, ("placement", "budget", "memory"),
    )  # fmt: skip
