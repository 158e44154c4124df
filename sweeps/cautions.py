"""What a reader of a front must know beside its numbers: what each of its runs would say, once, and which rows cannot be compared."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

from simmoe import hardware_profiles
from simmoe.play import popularity
from simmoe.play.cautions import about, cautions, of_machine
from simmoe.play.kinds import OFF, changes
from simmoe.play.memory import page_cache_of
from simmoe.play.plan import Plan
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.sweeps.scenarios import Scenarios
from simmoe.sweeps.space import AXES, Point, Space

OTHER_ROWS = "Placements that count the first rows play the others alone: their rates are of another part of the text than the rest"
OTHER_WARM_UPS = (
    "Scenarios with another warm_up time other passes: their rates are of another part of the text than the rest"
)


def of_sweep(scenarios: Scenarios) -> list[str]:
    """One sentence each: of every machine, and of what is played, on the first machine that plays it."""
    space = scenarios.space
    first = {axis: values[0] for axis, values in space.axes.items()}
    found = dict.fromkeys(_of_machines(space))
    texts = [{"trace": trace} for trace in space.axes.get("trace", ())] or [{}]
    for text, words in product(texts, _spoken_of(space)):
        for hw in space.axes["hw"]:
            point = {**first, **words, **text, "hw": hw}
            with suppress(UserError):  # a scenario that cannot run says so in its trial
                workload = scenarios.workload(point)
                plan = _without_budget(scenarios.scenario(point), workload)
                other = of_machine(workload, plan)  # what holds for one budget only is among them
                found |= dict.fromkeys(line for line in cautions(workload, plan) if line not in other)
                break
    return [*found, *_of_other_rows(scenarios)]


def _of_machines(space: Space) -> list[str]:
    """What is to be known of each machine, by its name."""
    found = list[str]()
    for name, change in product(space.axes["hw"], space.axes.get("set", (OFF,))):
        with suppress(UserError):  # a figure that this machine does not have
            hw = hardware_profiles.load(name, changes(AXES["set"].parsed(change)))
            found += [f"{hw.name}: {line}" for line in about(hw)]
    return found


def _spoken_of(space: Space) -> list[Point]:
    """Words that a caution may be about: each placement, prefetcher, miss rule with each kind of low copies, and page cache with each
    start."""
    varied = [{axis: word} for axis in ("placement", "prefetch", "cancel") for word in space.axes.get(axis, ())]
    for together in (("miss", "low_format", "low_budget"), ("page_cache", "start")):
        both = {axis: space.axes[axis] for axis in together if axis in space.axes}
        varied += [dict(zip(both, words)) for words in product(*both.values())]
    return varied


def _without_budget(named: Scenario, workload: Workload) -> Plan:
    """What cautions go by, for whatever budget."""
    return Plan(
        0, placement=named.placement, miss=named.miss, prefetch=named.prefetch, cancel=named.cancel, start=named.start,
        low_budget=named.low_budget,
        cold_per_sequence=named.cold_per_sequence, page_cache_bytes=page_cache_of(workload.hw, named.page_cache or 0, 0),
    )  # fmt: skip


def _of_other_rows(scenarios: Scenarios) -> list[str]:
    """Whether some scenarios are timed on other passes than the rest."""
    axes = scenarios.space.axes
    sources = map(popularity.source, axes.get("placement", ()))
    cut = {source if source.startswith(popularity.FIRST) else "" for source in sources}
    rows = [OTHER_ROWS] * (len(cut) > 1 or (any(cut) and bool(scenarios.bounds)))
    return rows + [OTHER_WARM_UPS] * (len(axes.get("warm_up", ())) > 1)
