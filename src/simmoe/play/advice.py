"""What a run's time was spent on, what bounds it, and what one change of the machine or the budget would give."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from simmoe.play.ladder import Ladder
from simmoe.play.plan import Plan, memory_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.start import IN_PART
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes

GIGABYTE = 10**9


def shares(run: Run) -> list[tuple[str, float]]:
    """Decode time by cause, largest first, as fractions of one."""
    where = {
        _NAMES.get(name, name).format(home=run.workload.hw.home.name): ps for name, ps in run.where_ps().items() if ps
    }
    total = sum(where.values())
    return sorted(((name, ps / total) for name, ps in where.items()), key=lambda item: -item[1])


_NAMES = {
    "waiting for experts": "waiting for {home}", "attention": "attention and router", "ffn": "dense FFN layers",
    "shared": "shared experts", "experts": "routed experts", "head": "LM head", "slowed by loads": "memory shared with loads",
}  # fmt: skip


def launch_share(run: Run) -> float:
    """Share of decode time that is launch overhead."""
    costs, passes = run.workload.costs, [n for n, is_decode in enumerate(run.decode_passes) if is_decode]
    launches = sum(len(chain.pieces) for n in passes for chain in costs.chains(n))
    total = int(run.pass_ps[run.decode_passes].sum())
    return launches * costs.launch_ps / total if total else 0.0


def bound_by(run: Run) -> str:
    """One phrase: what the run is bound by."""
    home = run.workload.hw.home.name
    waits = {
        home: "waits for experts", "the CPU": "waits for the experts that it computes", "the host": "waits for the router's result",
        "other devices": "waits for what they send",
    }  # fmt: skip
    spent = dict(shares(run))
    waiting = {whom: spent.get(f"waiting for {whom}", 0.0) for whom in waits}
    whom = max(waiting, key=lambda whom: waiting[whom])
    if waiting[whom] > 0.5:
        return f"bound by {whom}: {waiting[whom]:.0%} of decode time {waits[whom]}"
    if sum(waiting.values()) > 0.5:
        first, *others = [whom for whom in waits if waiting[whom]]
        text = f"bound by {first} ({waiting[first]:.0%} of decode time {waits[first]})"
        return text + "".join(f" and by {whom} ({waiting[whom]:.0%})" for whom in others)
    if launch_share(run) > 0.5:
        return f"bound by launch overhead: {launch_share(run):.0%} of decode time"
    name, share = next(item for item in shares(run) if not item[0].startswith("waiting"))
    return f"bound by memory bandwidth: {share:.0%} of decode time is {name}, {waiting[home]:.0%} waits for experts"


def faster(hw: Hardware, what: str) -> Hardware:
    """The machine with one thing twice as good."""
    unit, memory = hw.device, hw.device_memory
    if what == "link":
        up = hw.link.upstream
        link = replace(
            hw.link,
            bytes_per_s=2 * hw.link.bytes_per_s,
            upstream=up and replace(up, bytes_per_s=2 * up.bytes_per_s),
        )
        ways = {
            name: replace(hw.tiers[name], bytes_per_s=2 * hw.tiers[name].bytes_per_s)
            for name in {link.src, hw.home.name}
        }
        return replace(hw, link=link, tiers={**hw.tiers, **ways})
    if what == "cpu":
        cpu = hw.units[hw.cpu.name]  # type: ignore[union-attr]  # asked only where the CPU is waited for
        host = hw.tiers[cpu.memory]
        cpu, host = replace(cpu, bytes_per_s=2 * cpu.bytes_per_s), replace(host, bytes_per_s=2 * host.bytes_per_s)
        return replace(hw, units={**hw.units, cpu.name: cpu}, tiers={**hw.tiers, host.name: host})
    if what == "launch":
        unit = replace(unit, launch_ps=unit.launch_ps // 2)
    elif what == "host":
        unit = replace(unit, host_wait_ps=unit.host_wait_ps // 2)
    else:
        unit = replace(unit, bytes_per_s=2 * unit.bytes_per_s)
        memory = replace(memory, bytes_per_s=2 * memory.bytes_per_s)
    return replace(hw, units={**hw.units, unit.name: unit}, tiers={**hw.tiers, memory.name: memory})


def gains(workload: Workload, plan: Plan, run: Run) -> list[tuple[str, float]]:
    """What each single change gives, as a fraction of tok/s; all simulated, largest first. With several devices none is tried."""
    if plan.device_budgets:
        return []
    changes = {
        f"twice the {workload.hw.home.name} bandwidth": "link",
        f"twice the {workload.hw.device.memory} bandwidth": "memory",
        "half the launch overhead": "launch",
        **({"a CPU that reads twice as fast": "cpu"} if run.counts.on_cpu else {}),
        **({"half the wait of the host": "host"} if run.clocks.host_ps.any() else {}),
    }
    found = []
    for text, what in changes.items():
        with suppress(UserError):  # a link that would leave nothing of a shared memory is no proposal
            found.append((text, _gain(run, play(workload.on(faster(workload.hw, what)), plan))))
    more = min(plan.budget_bytes + GIGABYTE, memory_of(workload, plan).holds_bytes)
    start = run.decisions.start  # only equal starts are compared
    if more > plan.budget_bytes and plan.eviction not in BOUNDS and start != IN_PART:
        text = f"+{nbytes(more - plan.budget_bytes)} of experts"
        with suppress(DoesNotFit):  # beside prefetch buffers
            found.append((text, _gain(run, play(workload, replace(plan, budget_bytes=more, start=start)))))
    return sorted(found, key=lambda item: -item[1])


def _gain(before: Run, after: Run) -> float:
    return (after.tok_s or 0) / before.tok_s - 1 if before.tok_s else 0.0


def sentence(run: Run, changes: list[tuple[str, float]]) -> str:
    """What bounds the run and what would help most."""
    if run.plan.device_budgets:
        return f"{bound_by(run)}; changes of one of several devices are not tried"
    best = [f"{what} gives {gain:+.0%}" for what, gain in changes[:2] if gain >= 0.01]
    return f"{bound_by(run)}; {', '.join(best) or 'no single change of budget, link or memory gives 1 %'}"


def ladder_lines(ladder: Ladder) -> list[str]:
    """What the whole ladder says: the device's own rung, the knee, and the first rung below it."""
    held = max(ladder.runs, key=lambda run: run.plan.budget_bytes)
    if held.tok_s is None:  # nothing is decoded
        return []
    lines = [f"With what this device holds ({nbytes(held.plan.budget_bytes)} of experts): {bound_by(held)}."]
    runs = [run for run in ladder.runs if run.tok_s]
    if not runs:
        return lines
    best = max(run.tok_s or 0 for run in runs)
    knee = next(run for run in runs if (run.tok_s or 0) >= 0.95 * best)
    share, whose = (
        memory_of(knee.workload, knee.plan).share(knee.plan.budget_bytes),
        " left to the device" * bool(knee.plan.placement),
    )
    lines.append(
        f"{share:.1%} of the experts{whose} ({nbytes(knee.plan.budget_bytes)}) reaches 95 % of the best speed here."
    )
    below = runs[max(runs.index(knee) - 1, 0)]
    if below is not knee:
        step = knee.plan.budget_bytes - below.plan.budget_bytes
        lines.append(
            f"One rung lower ({nbytes(below.plan.budget_bytes)}): {sentence(below, [(f'+{nbytes(step)} of experts', _gain(below, knee))])}."
        )
    return lines
