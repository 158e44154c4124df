"""A missing expert is copied to the device and computed there, or computed by the CPU beside its memory: by the rates of link and CPU."""

from __future__ import annotations

from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.sweeps.question import Options, Question, Stop, check_loads, doubled


def question(scenario: Scenario, workload: Workload) -> Question:
    """Raises UserError for a machine without a CPU, or an engine that loads no experts while it runs."""
    check_loads(workload)
    hw = workload.hw
    if hw.cpu is None:
        raise UserError(
            f"{hw.name} states no CPU that could compute experts; name another machine, or a GPU in a --host"
        )
    measured, engine = f"units.{hw.cpu.name}.quantised_bandwidth", workload.runtime is not None
    memory = f"tiers.{hw.cpu.memory}"
    reads = f"units.{hw.cpu.name}.bandwidth"
    if engine:
        reads = measured if measured in hw.figures else f"{memory}.peak_bandwidth"

    def ways(x: Stop, y: Stop) -> tuple[Options, Options]:
        return {"miss": "fetch"}, {"miss": "cpu"}

    return Question(
        "a missing expert: copied to the device (A), or computed by the CPU (B)", ("copy", "CPU"), "link GB/s", "CPU GB/s",
        doubled(hw, "link.bandwidth", f"tiers.{hw.link.src}.bandwidth"),
        doubled(hw, reads, *(() if engine else (f"{memory}.bandwidth",))), ways, ("miss",),
    )  # fmt: skip
