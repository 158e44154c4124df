"""From the speed that a user saw to one constant: the factor on all bandwidths at which the simulation is as fast."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simmoe import hardware_profiles
from simmoe.calibrate import fit
from simmoe.hardware_profiles.reading import merged, split
from simmoe.play.plan import memory_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import text
from simmoe.simulator.version import VERSION

PLAUSIBLE = (0.3, 1.1)  # outside, a share of the stated bandwidth is no explanation
BUDGETS = (25, 50, 75, 100)  # percent of the expert bytes
NO_GAP = 0.005  # relative difference
PARTS = ("device", "link")


@dataclass(frozen=True)
class Explained:
    """One constant and what it says."""

    hw: str  # name or path of the profile
    run: Run  # as the profile stands
    tok_s: float  # observed
    factor: float
    shares: dict[
        str, float | None
    ]  # of the gap in time per token, closed by the factor on that part alone; None: refused
    budgets: list[
        tuple[str, int, float | None, float | None]
    ]  # label, bytes, tok/s as the profile stands and with the factor


def explain(hw: str, run: Run, tok_s: float) -> Explained:
    """Raises UserError where no factor gives that speed."""
    if not run.tok_s:
        raise UserError("the run emits no token in a decode pass, so it has no tok_s; use a trace that decodes")
    found = fit.factor(lambda factor: _tok_s(hw, run, factor, PARTS, run.plan.budget_bytes), tok_s)
    gap = 1 / tok_s - 1 / run.tok_s
    shares = dict[str, float | None]()
    if abs(gap) * run.tok_s > NO_GAP:
        for part in PARTS:
            try:
                shares[part] = (1 / _tok_s(hw, run, found, (part,), run.plan.budget_bytes) - 1 / run.tok_s) / gap
            except UserError:  # a machine that cannot be, such as a link faster than the memory it reads
                shares[part] = None
    every = memory_of(run.workload, run.plan).left_bytes
    chosen = {f"{percent} %": every * percent // 100 for percent in BUDGETS}
    budgets = [(x, size, _fits(hw, run, 1.0, size), _fits(hw, run, found, size)) for x, size in chosen.items()]
    return Explained(hw, run, tok_s, found, shares, budgets)


def _fits(hw: str, run: Run, factor: float, budget_bytes: int) -> float | None:
    """tok/s at another budget; None where the machine cannot hold it."""
    try:
        return _tok_s(hw, run, factor, PARTS, budget_bytes)
    except UserError:
        return None


def _tok_s(hw: str, run: Run, factor: float, parts: tuple[str, ...], budget_bytes: int) -> float:
    workload = run.workload.on(hardware_profiles.load(hw, changes(run.workload.hw, factor, parts)))
    played = play(workload, replace(run.plan, budget_bytes=budget_bytes), workload.engine(runs=20))
    assert played.tok_s is not None
    return played.tok_s


def changes(hw: Hardware, factor: float, parts: tuple[str, ...] = PARTS) -> dict[str, str]:
    """Path -> new value of the bandwidths of the computing units and their memory ("device") and of the way into it ("link")."""
    return {
        path: text(max(1000, round(hw.figures[path].value * factor / 1000) * 1000), "bandwidth")
        for path in _bandwidths(hw, parts)
    }


def _bandwidths(hw: Hardware, parts: tuple[str, ...]) -> Iterator[str]:
    memories = {unit.memory for unit in hw.units.values()}
    for path, figure in hw.figures.items():
        group, name = path.split(".")[:2] if "." in path else (path, "")
        if figure.dimension == "bandwidth" and group in ("tiers", "units", "link"):
            device = group == "units" or (group == "tiers" and name in memories)
            if ("device" if device else "link") in parts:
                yield path


def cautions(found: Explained) -> list[str]:
    """What one constant hides."""
    low, high = PLAUSIBLE
    if low <= found.factor <= high:
        return []
    where = found.run.where_ps()
    most = max(where, key=lambda name: where[name])
    look = (
        "loads that take turns with compute (--overlap none), small requests or few in flight, pageable memory, another process"
        if found.factor < low else "a page cache that answers reads, a smaller format, a larger budget or fewer experts than simulated"
    )  # fmt: skip
    line = f"one constant does not explain this: {found.factor:.3g} is outside {low}–{high}"
    return [f"{line}. Most of the simulated time is {most}; look at {look}"]


def profile(found: Explained, out: Path, name: str) -> dict[str, Any]:
    """A profile on top of the one that was used, its bandwidths multiplied."""
    if pair := hardware_profiles.parts(found.hw):
        raise UserError(
            f"--out extends one profile, and the run used two parts: write them with simmoe hw compose {pair[0]} {pair[1]} --out FILE, "
            "play the run again on that, and explain it"
        )
    base, mode = split(found.hw)
    bundled = base.parent == hardware_profiles.FOLDER
    if not bundled and base.parent.resolve() != out.parent.resolve():
        raise UserError(f"--out {out} extends {base.name}, so it must lie beside it: choose a file in {base.parent}")
    hw, today = found.run.workload.hw, datetime.date.today().isoformat()
    how = (
        f"× {found.factor:.4g}, one constant on all bandwidths, fitted by simmoe calibrate {VERSION} on {today} to an observed "
        f"{found.tok_s:g} tok/s of scenario {found.run.digest[:12]}"
    )
    own: dict[str, Any] = {
        "extends": base.stem if bundled else base.name, "name": name, "title": f"{hw.title}, bandwidths × {found.factor:.3g}",
    }  # fmt: skip
    modes = merged(base).get("modes", {})
    if modes:
        own["modes"] = None
    for path, figure in modes.get(mode, {}).items():
        _put(own, path, figure)
    for path, value in changes(hw, found.factor).items():
        was = hw.figures[path]
        _put(
            own, path, {"value": value, "kind": "assumed", "source": f"{how}; was {was.text}, {was.kind}: {was.source}"}
        )
    return own


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        content = content.setdefault(key, {})
    content[last] = value
