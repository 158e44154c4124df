"""How long a latency or a launch can be, how fast a clock, how many processors a unit has: what lies outside is a slip of the unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import text

NS, US, MS = 10**3, 10**6, 10**9  # picoseconds
MHZ = 10**6


class Ends(NamedTuple):
    """The least and the most that can be, in base units, and why."""

    least: int
    most: int
    why_least: str
    why_most: str


PCIE = "about half of the shortest round trips over PCIe (pcie-bench: Neugebauer et al., SIGCOMM 2018)"
STORE = Ends(
    3 * US, 100 * MS, "a third of a read of an Optane P4800X, 8.9 us (AnandTech, 2017)", "several seeks of a hard disk"
)
LINK = Ends(260 * NS, 10 * MS, PCIE, "what a link needs to start is microseconds")
COPY = Ends(50 * NS, 10 * MS, "one access to memory behind all caches", LINK.why_most)
FABRIC = Ends(100 * NS, 10 * MS, "one switch between devices", "a round trip within a data centre is shorter")
KERNEL = "a third of a kernel in a CUDA graph at its best (960 ns on an L40: RRZE-HPC/gpu-benches)"
DEVICE = Ends(300 * NS, 10 * MS, KERNEL, "drivers start a kernel within microseconds")
CPU = Ends(10 * NS, 10 * MS, "a call of a function and an access to memory", "a process starts sooner")
WAIT = Ends(
    100 * NS,
    100 * MS,
    "a look at a flag across threads",
    "the time of a frame; a host that waits longer does other work",
)
FAULT = Ends(1 * US, 10 * MS, "a page fault of a CPU alone", "a fault that is served from a hard disk")
CLOCK = Ends(
    100 * MHZ,
    6_200 * MHZ,
    "a third of a Jetson in its slowest mode",
    "a Core i9-14900KS, the fastest clock sold in 2026",
)
PROCESSORS = Ends(
    1, 1024, "a unit without a processor computes nothing", "three times the 304 compute units of an MI300X"
)
UNIT = ("launch", "graph_launch", "grouped_launch", "kernel_floor", "graph_kernel_floor")
WAITS = ("host_wait", "hand_over")


def doubts(hw: Hardware, stores: frozenset[str], cpus: frozenset[str]) -> list[str]:
    """One line for each time, clock or count that cannot be true. stores: the tiers that are drives. cpus: the units that are CPUs."""
    found = []
    for path, ends in _bounded(hw, stores, cpus):
        figure = hw.figures.get(path)
        if figure is None or ends.least <= figure.value <= ends.most:
            continue
        short = figure.value < ends.least
        limit, why = (ends.least, ends.why_least) if short else (ends.most, ends.why_most)
        said = f"the {'least' if short else 'most'} is {text(limit, figure.dimension)}, {why}"
        found.append(f"{path}: {figure.text} ({figure.kind}) cannot be true: {said}")
    return found


def _bounded(hw: Hardware, stores: frozenset[str], cpus: frozenset[str]) -> Iterator[tuple[str, Ends]]:
    links = {"link": hw.link, **{f"links.{name}": link for name, link in hw.more_links.items()}}
    for path, link in links.items():
        yield f"{path}.latency", STORE if link.src in stores else COPY if hw.unified else LINK
        yield f"{path}.upstream.latency", STORE
        yield f"{path}.managed.fault", FAULT
    for name in hw.units:
        for key in UNIT:
            yield f"units.{name}.{key}", CPU if name in cpus else DEVICE
        for key in WAITS:
            yield f"units.{name}.{key}", WAIT
        yield f"units.{name}.clock", CLOCK
        yield f"units.{name}.processors", PROCESSORS
    yield "fabric.latency", FABRIC
