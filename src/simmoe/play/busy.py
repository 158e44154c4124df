"""How long each resource of a run worked: no more requests a second end than the busiest of them has time for."""

from __future__ import annotations

from typing import Any, NamedTuple

from simmoe.play.crossing import fabric_busy_ps
from simmoe.play.result import Run


class Busiest(NamedTuple):
    """The resource that worked longest, and how many requests a second it would serve if it never waited."""

    name: str
    requests_per_s: float


def busy_ps(run: Run) -> dict[str, int]:
    """Of the time from the first pass to the end of the last: the device computes, the link carries, the CPU computes while the device
    waits for it. Of several devices: those whose launches make up the passes, a link in the mean, and the busiest part of the fabric."""
    clocks, whole = run.clocks, int(run.clocks.end_ps[-1] - run.clocks.start_ps[0])
    waits = clocks.stall_ps + clocks.cpu_ps + clocks.host_ps
    device = int((clocks.end_ps - clocks.start_ps - waits).sum())
    costs: Any = run.workload.costs
    link = min(clocks.link_busy_ps // costs.devices, whole)
    if run.plan.device_budgets:
        return {"device": device, "link": link, "fabric": fabric_busy_ps(costs, costs.layout)}
    return {"device": device, "link": link, "CPU": int(clocks.cpu_ps.sum())}


def busiest(run: Run) -> Busiest:
    """Of a run with requests (the utilisation law: throughput ≤ 1 ÷ what a request takes of a resource)."""
    name, ps = max(busy_ps(run).items(), key=lambda one: one[1])
    assert run.requests is not None
    return Busiest(name, len(run.requests.sequence) * 1e12 / ps)
