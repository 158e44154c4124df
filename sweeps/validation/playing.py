"""How cases play the simulator: often, on the same few workloads, so that a compiled engine pays."""

from __future__ import annotations

from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play as play_once
from simmoe.play.workload import Workload
from simmoe.simulator.decide.start import STARTS
from simmoe.simulator.errors import UserError
from simmoe.sweeps.validation.case import Case

RUNS = 100  # about as many as a few cases play, constants being fitted through the simulator


def play(workload: Workload, plan: Plan) -> Run:
    """One run; every engine gives the same times to the picosecond."""
    return play_once(workload, plan, workload.engine(runs=RUNS))


def start_of(case: Case) -> str:
    """How the slots were when the source began to measure: setting.start. Raises UserError."""
    start = case.setting.get("start")
    if start not in STARTS:
        raise UserError(
            f"case {case.name}: setting.start is {start!r}; it must say how the source started: {', '.join(STARTS)}"
        )
    return str(start)
