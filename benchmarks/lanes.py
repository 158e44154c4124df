"""Hardware lanes: one trace and plan on 16 machines, decided once, beside 16 single runs.

`python -m benchmarks.lanes [machine …]` prints a row for each machine and trace: CPU milliseconds of a run and of a lane (the pass of
decisions shared out among them), their ratio, and the same with all that is made for a machine that is new (its workload, its tables of
costs, what a sweep reads of the run). The machines are the named one with four rates of its link times four of its memory. Every
lane is compared with its single run first, the whole JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simmoe import hardware_profiles, load_trace
from simmoe.play.lanes import Lanes
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.nouns.hardware import Hardware
from tests import real_traces
from tests.scenarios import shape_for

ROUNDS, SHARE = 3, 4  # of the experts, one in so many is resident
REAL = ("qwen3_30b_general", "dsv2lite_intent", "gptoss20b_gpqa", "gptoss20b_mmlupro", "phone_gemma4_26b")
PLANS: dict[str, dict[str, Any]] = {
    "lru": {}, "lru by layer": {"scope": "layer"}, "miss cpu": {"miss": "cpu"}, "next_layer": {"prefetch": "next_layer"},
}  # fmt: skip
Text = tuple[Any, Any]  # trace, model


def machines(name: str) -> list[Hardware]:
    figures = hardware_profiles.load(name).figures
    paths = "link.bandwidth", f"units.{hardware_profiles.load(name).device.name}.bandwidth"
    rates = [[f"{figures[path].value * part // 10} B/s" for part in (10, 9, 8, 7)] for path in paths]
    return [hardware_profiles.load(name, dict(zip(paths, (a, b)))) for a in rates[0] for b in rates[1]]


def prepared(hardware: list[Hardware], text: Text, plan: dict[str, Any]) -> Callable[[Lanes | None], list[Run]]:
    """Plays them, with workloads and tables made before."""
    workloads = [Workload(hw, *text) for hw in hardware]
    asked = [(one, planned(one, plan), one.engine("fast")) for one in workloads]
    return lambda lanes: [play(*one, lanes=lanes) for one in asked]


def planned(workload: Workload, plan: dict[str, Any]) -> Plan:
    return Plan(workload.model.all_expert_bytes // SHARE, **plan)


def anew(hardware: list[Hardware], text: Text, plan: dict[str, Any]) -> Callable[[Lanes | None], list[Any]]:
    """Makes the workload of each, plays it and reads it as a sweep does."""

    def one(hw: Hardware, lanes: Lanes | None) -> Any:
        workload = Workload(hw, *text)
        if lanes is not None:
            lanes.join(workload)
        run = play(workload, planned(workload, plan), workload.engine("fast"), lanes=lanes)
        return run.tok_s, run.energy, run.cold_misses, run.memory_bytes, run.digest

    return lambda lanes: [one(hw, lanes) for hw in hardware]


def least_ms(job: Callable[[Lanes | None], list[Any]], count: int) -> tuple[float, float]:
    """CPU milliseconds of a single run and of a lane; both take turns."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for shared, times in taken.items():
            begin = time.process_time()
            job(Lanes() if shared else None)
            times.append(1e3 * (time.process_time() - begin) / count)
    return min(taken[False]), min(taken[True])


def row(name: str, what: str, text: Text, plan: str) -> str:
    hardware = machines(name)
    ready, new = (make(hardware, text, PLANS[plan]) for make in (prepared, anew))
    for alone, lane in zip(ready(None), ready(Lanes())):
        assert json.dumps(alone.to_json()) == json.dumps(lane.to_json())
    cells = [name, what, plan]
    for job in (ready, new):
        single, lane_ms = least_ms(job, len(hardware))
        cells += [f"{single:.2f}", f"{lane_ms:.2f}", f"{single / lane_ms:.2f}"]
    return f"| {' | '.join(cells)} |"


def table(names: Sequence[str], real: Sequence[str] = REAL) -> Iterator[str]:
    """The lines of the table, each when it is known. real: the recorded traces that are played."""
    yield "| machine | trace | plan | single, ms | lane, ms | ratio | single, new machine, ms | lane, new machine, ms | ratio |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in names:
        for what in real:
            trace = real_traces.load(what)
            yield row(name, what, (trace, shape_for(trace)), "lru")
        for what in ("oracle", "switch"):
            yield row(name, what, (load_trace(what), None), "lru")
        for plan in PLANS:
            if plan != "lru" and (plan != "miss cpu" or hardware_profiles.load(name).cpu):
                yield row(name, "oracle", (load_trace("oracle"), None), plan)


def main() -> None:
    for line in table(sys.argv[1:] or ("a100", "jetson_orin")):
        print(line, flush=True)


if __name__ == "__main__":
    main()
