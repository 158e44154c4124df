"""Which bundled parts a machine has, by what it says of itself; for what is not bundled the nearest part, and what that does not say."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from simmoe.hardware_profiles import host
from simmoe.hardware_profiles.plausible import SOLD_AS
from simmoe.hardware_profiles.reading import FOLDER, merged
from simmoe.hardware_profiles.reports import GIB, Facts, Gpu
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse

_AMD = {
    "Instinct MI300X": "mi300x", "Instinct MI300X OAM": "mi300x", "Radeon RX 7600": "rx_7600", "Radeon RX 7900 XT": "rx_7900_xt",
    "Radeon RX 7900 XTX": "rx_7900_xtx", "Radeon AI PRO R9700": "r9700",
}  # fmt: skip
CARDS = SOLD_AS | _AMD | {f"AMD {name}": profile for name, profile in _AMD.items()}
WHOLE = {  # chips with one memory for CPU and GPU -> their machine
    "Apple M4 Max": "m4_max", "Apple M3 Ultra": "m3_ultra", "Apple M3 Max": "m3_max", "Apple M2 Ultra": "m2_ultra",
    "Apple M2 Max": "m2_max", "Apple M1 Max": "m1_max", "Apple M1": "m1",
    "AMD RYZEN AI MAX+ 395*": "strix_halo", "Cortex-X925*": "dgx_spark", "NVIDIA GB10*": "dgx_spark",
}  # fmt: skip
LIKE = 0.6  # of the letters of two names that agree


@dataclass(frozen=True)
class Part:
    """A bundled part: `exact`, or the nearest to what was reported, and then why."""

    name: str
    said: str
    exact: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A GPU and a host, or a whole machine."""

    gpu: Part | None = None
    host: Part | None = None
    machine: Part | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What --hw takes for it; None where a part is missing."""
        if self.machine:
            return self.machine.name
        return f"{self.gpu.name}+{self.host.name}" if self.gpu and self.host else None


def detect(facts: Facts) -> Found:
    """Raises UserError where nothing was reported."""
    if machine := _whole(facts):
        return Found(machine=machine)
    found = Found(_gpu(facts.gpus), _host(facts), notes=tuple(_notes(facts)))
    if not found.gpu and not found.host:
        raise UserError(
            "no report names a GPU or a CPU; give the outputs of nvidia-smi -q -x and lscpu -J (docs/hardware_format.md)"
        )
    return found


def _whole(facts: Facts) -> Part | None:
    """A machine of one piece, by its chip or CPU; a card beside it makes it a host, and none of ours."""
    names = [facts.chip, facts.cpu, *(gpu.name for gpu in facts.gpus)]
    known = [machine for name in names if name for chip, machine in WHOLE.items() if fnmatchcase(name, chip)]
    if known and not any(gpu.name in CARDS for gpu in facts.gpus):
        said = facts.chip or next(name for name in names if name)
        return Part(known[0], _sized(said.partition(" (family")[0], facts.memory_bytes), True)
    if facts.chip is None:
        return None
    name = max(WHOLE, key=lambda chip: _alike(chip, facts.chip or ""))
    return Part(
        WHOLE[name], _sized(facts.chip, facts.memory_bytes), False, ("all rates: they are those of the " + name,)
    )


def _gpu(gpus: tuple[Gpu, ...]) -> Part | None:
    """The first card."""
    if not gpus:
        return None
    card = gpus[0]
    said = _sized(card.name, card.memory_bytes)
    if card.name in CARDS:
        return Part(CARDS[card.name], said, True)
    name = max(CARDS, key=lambda known: _alike(known, card.name))
    if _alike(name, card.name) < LIKE:
        if card.memory_bytes is None:
            return None
        name = min(CARDS, key=lambda known: abs(_memory(CARDS[known]) - (card.memory_bytes or 0)))
    return Part(CARDS[name], said, False, (f"the rates of the {card.name}: those of the {name} stand in their place",))


def _memory(name: str) -> int:
    """Bytes of the memory of a bundled card."""
    content = merged(FOLDER / f"{name}.yaml")
    return parse(content["tiers"][content["link"]["to"]]["capacity"]["value"], "size")


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _sized(name: str, count_bytes: int | None) -> str:
    return name if count_bytes is None else f"{name}, {count_bytes / GIB:.0f} GiB"


def _host(facts: Facts) -> Part | None:
    """By the CPU and the memory modules, where they are reported; else by the memory that the CPU usually has."""
    if facts.cpu is None:
        return None
    kinds = {name: host.load(name)[0]["is"] for name in host.available()}
    sockets = facts.sockets or 1
    alike = {name: _letters(kind, facts.cpu) for name, kind in kinds.items() if kind["sockets"] == sockets}
    cpu = sorted((name for name in alike if alike[name]), key=lambda name: -alike[name])
    memory = [name for name, kind in kinds.items() if kind["sockets"] == sockets and _reads(kind, facts, kinds, cpu)]
    said = f"{facts.cpu.partition(' (family')[0]}, {sockets} socket{'s' * (sockets > 1)}{_modules(facts)}"
    if both := [name for name in cpu if facts.dram is None or name in memory]:
        usual = "its memory modules: these are usual for the CPU (dmidecode -t memory, as root, names them)"
        return Part(both[0], said, True, () if facts.dram else (usual,))
    if like := [name for name in cpu if kinds[name]["dram"] == facts.dram]:
        return Part(like[0], said, False, ("the rate of its memory: that of the bundled one is scaled to its modules",))
    if memory:
        return Part(memory[0], said, False, ("this CPU: no bundled host has it with this memory",))
    near = max(kinds, key=lambda name: (kinds[name]["sockets"] == sockets, *_near(kinds[name], facts)))
    return Part(near, said, False, ("this CPU: no bundled host has it, and the nearest has other rates",))


def _letters(kind: Mapping[str, Any], cpu: str) -> int:
    """Of the patterns of a host that a CPU's name fits, the letters of the one that says most: a host of that very CPU says more."""
    return max((len(re.sub(r"\[.*?]|[*?]", "", one)) for one in kind["cpus"] if fnmatchcase(cpu, one)), default=0)


def _reads(kind: Mapping[str, Any], facts: Facts, kinds: Mapping[str, Mapping[str, Any]], cpu: list[str]) -> bool:
    """Whether the modules are those of the host; where their channels are not reported, the CPU fills the channels that it has."""
    usual = kinds[cpu[0]]["channels"] if cpu else None
    channels = facts.channels // kind["sockets"] if facts.channels else usual
    return (kind["dram"], kind["mega_transfers"], kind["channels"]) == (facts.dram, facts.mega_transfers, channels)


def _near(kind: Mapping[str, Any], facts: Facts) -> tuple[bool, bool, float]:
    """How near a host is: its instructions, its kind of memory, then its cores."""
    cores = facts.cores or kind["cores"]
    return (
        kind["instructions"] == facts.instructions,
        kind["dram"] == facts.dram,
        min(kind["cores"], cores) / max(kind["cores"], cores),
    )


def _modules(facts: Facts) -> str:
    if facts.dram is None:
        return ""
    channels = f" on {facts.channels} channels" if facts.channels else ""
    return f", {facts.modules} modules of {facts.dram.upper()}-{facts.mega_transfers or '?'}{channels}"


def _notes(facts: Facts) -> list[str]:
    notes = []
    if len(facts.gpus) > 1:
        notes.append(
            f"{len(facts.gpus)} GPUs are reported; a profile of several is written by hand (docs/hardware_format.md)"
        )
    if facts.virtual:
        notes.append("a virtual machine: the figures are those of the whole host, of which it has a share")
    if facts.gpus and not facts.cpu:
        notes.append("no report names the CPU; add the output of lscpu -J")
    if facts.cpu and not facts.gpus:
        notes.append("no report names a GPU; add the output of nvidia-smi -q -x or rocm-smi --json")
    return notes
