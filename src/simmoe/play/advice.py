"""What a run's time was spent on, what bounds it, and what one change of the machine or the budget would give."""

from __future__ import annotations

from collections import Counter

import numpy as np

from simmoe.play.ladder import Ladder
from simmoe.play.plan import memory_of
from simmoe.play.result import Run
from simmoe.play.what_if import Change, Tried
from simmoe.play.workload import Workload
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.units import nbytes


def shares(run: Run) -> list[tuple[str, float]]:
    """Decode time by cause, largest first, as fractions of one."""
    where = {
        _NAMES.get(name, name).format(home=run.workload.hw.home.name): ps for name, ps in run.where_ps().items() if ps
    }
    total = sum(where.values())
    return sorted(((name, ps / total) for name, ps in where.items()), key=lambda item: -item[1])


_NAMES = {
    "waiting for experts": "waiting for {home}", "attention": "attention and router", "ffn": "dense FFN layers",
    "shared": "shared experts", "experts": "routed experts", "head": "LM head", "draft": "the draft",
    "slowed by loads": "memory shared with loads",
}  # fmt: skip


def waiting(run: Run) -> float | None:
    """Share of decode time in which the device waits, for whatever; None where nothing is decoded."""
    where = run.where_ps()
    total = sum(where.values())
    return sum(ps for name, ps in where.items() if name.startswith("waiting for ")) / total if total else None


def to_decode(workload: Workload) -> str:
    """What gives decode passes to a workload that has none."""
    cut = workload.trace.n_tokens < workload.all_tokens
    return "play more with --tokens" if cut else "play some, such as --generate 16"


def launch_share(run: Run) -> float:
    """Share of decode time that launches take beside bytes and FLOPs."""
    costs, passes = run.workload.costs, np.flatnonzero(run.decode_passes)
    total = int(run.pass_ps[passes].sum())
    sizes = Counter(costs.path_size(n) for n in passes.tolist())
    return sum(count * costs.fixed_ps(size) for size, count in sizes.items()) / total if total else 0.0


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
        engine = run.workload.runtime
        what = "launch overhead" if engine is None else f"the fixed time of {engine.name}'s kernels"
        return f"bound by {what}: {launch_share(run):.0%} of decode time"
    name, share = next(item for item in shares(run) if not item[0].startswith("waiting"))
    costs = run.workload.costs
    held = isinstance(costs, RuntimeCosts) and costs.kernels_hold and costs.runtime.name
    what = f"the rate of {held}'s kernels" if held else "memory bandwidth"
    rest = waits[whom].replace("that it computes", "that the CPU computes")  # no subject stands before it here
    if waiting[whom] > share:
        works = 1 - sum(waiting.values())
        return (
            f"bound by {what} and by {whom}: in {works:.0%} of decode time the device works, {waiting[whom]:.0%} {rest}"
        )
    also = f", {waiting[whom]:.0%} {rest}" if waiting[whom] >= 0.005 else ""
    return f"bound by {what}: {share:.0%} of decode time is {name}{also}"


def sentence(run: Run, found: list[Tried]) -> str:
    """What bounds the run and what would help most."""
    if run.plan.device_budgets:
        return f"{bound_by(run)}; changes of one of several devices are not tried"
    if run.serving is not None:
        return f"{bound_by(run)}; changes are not tried where requests arrive, as each would play all of them again"
    best = ", ".join(str(one) for one in found[:2] if one.gain >= 0.01)
    names = ", ".join(one.change.what or one.change.words for one in found)
    none = f"of the changes tried none gives 1 %: {names}" if found else "no change could be tried"
    return f"{bound_by(run)}; {best or none}"


def ladder_lines(ladder: Ladder, on_cpu: list[Tried], as_played: str = "") -> list[str]:
    """What the whole ladder says: the device's own rung, the knee, the first rung below it, and experts on the CPU (tried on the
    device's own rung). as_played: options that the ladder chose and a run by hand needs too."""
    if not speaks(ladder):
        return []
    runs = [run for run in ladder.runs if run.tok_s]
    held, full = largest(ladder), holds_all(ladder)
    what = (
        f"{nbytes(held.plan.budget_bytes)} of experts"
        + ", which is all: it starts full, as in the row everything" * full
    )
    lines = [f"With what this device holds ({what}): {bound_by(ladder.everything if full else held)}."]
    best = max(run.tok_s or 0 for run in runs)
    knee = next(run for run in runs if (run.tok_s or 0) >= 0.95 * best)
    share, whose = (
        memory_of(knee.workload, knee.plan).share(knee.plan.budget_bytes),
        " left to the device" * bool(knee.plan.placement),
    )
    lines.append(f"{share:.1%} of the experts{whose} ({nbytes(knee.plan.budget_bytes)}) reaches 95 % of the best rung.")
    below = runs[max(runs.index(knee) - 1, 0)]
    if below is not knee:
        step = Tried(
            Change("", {"budget": asked(ladder, knee)}), knee.tok_s or 0, (knee.tok_s or 0) / (below.tok_s or 1) - 1
        )
        lines.append(f"One rung lower ({nbytes(below.plan.budget_bytes)}): {sentence(below, [step])}.")
    lines += _cpu_lines(ladder, held, on_cpu)
    return [*lines, f"By hand: with {as_played} too, as played here."] if as_played and len(lines) > 2 else lines


def _cpu_lines(ladder: Ladder, held: Run, found: list[Tried]) -> list[str]:
    if not found or holds_all(ladder):
        return []
    words = ", ".join(one.change.words for one in found)
    if found[0].gain < 0.01:
        return [f"Experts on the CPU give no 1 % there: {words}."]
    return [f"Experts on the CPU, beside --budget {asked(ladder, held)}: {found[0]}; tried: {words}."]


def speaks(ladder: Ladder) -> bool:
    """Whether there is anything to say: a rung that decodes."""
    return any(run.tok_s for run in ladder.runs)


def largest(ladder: Ladder) -> Run:
    """The run with the largest budget."""
    return max(ladder.runs, key=lambda run: run.plan.budget_bytes)


def holds_all(ladder: Ladder) -> bool:
    """Whether the device holds all experts that the placement left to it."""
    plan = largest(ladder).plan
    return plan.budget_bytes == memory_of(ladder.workload, plan).left_bytes


def asked(ladder: Ladder, run: Run) -> str:
    """The budget of a rung as --budget says it."""
    label = next(rung.label for rung in ladder.rungs if rung.run is run)
    share = label.partition(" = ")[0].replace(" ", "")
    return share if " = " not in label or holds_all(ladder) else f"{run.plan.budget_bytes}B"
