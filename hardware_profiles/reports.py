"""What a machine says of itself: the output of nvidia-smi, rocm-smi, lscpu, dmidecode and system_profiler, and /proc/meminfo.

Only names, counts and sizes are read; serial numbers, UUIDs and host names are not. Each reader knows its output by its content, so that
files may have any name, and one file may hold several outputs, as bug reports do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from xml.etree import ElementTree

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json

GIB, MIB, KIB = 2**30, 2**20, 2**10
_SIZES = {"B": 1, "KB": KIB, "MB": MIB, "GB": GIB, "TB": 2**40}  # dmidecode and Apple write GB for GiB
_INSTRUCTIONS = {"amx_tile": "amx", "avx512f": "avx512", "avx2": "avx2", "asimd": "neon"}  # the best first
_LSCPU = re.compile(
    r"^[ \t]*(Model name|Socket\(s\)|Core\(s\) per socket|CPU family|Model|Flags|Hypervisor vendor):[ \t]+(\S.*)$", re.M
)
_GPU_LINE = re.compile(
    r"(?:^[ \t]*|configuration ?: )(?:GPU (\d+): |(?=AMD Instinct))([^\n(]+?)(?: \([^\n]*)?[ \t]*$", re.M
)
_TABLE = re.compile(
    r"^\|\s+(\d+)\s+((?:NVIDIA|Tesla|Quadro|GeForce) [^|]*?)\s+(?:On|Off)\s+\|[^\n]*\n\|[^\n]*?/\s*(\d+MiB)", re.M
)
_CHANNEL = re.compile(r"(?:P(\d+).*?)?CHANNEL[ _]*([A-Z0-9])", re.I)
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}  # GT/s


@dataclass(frozen=True)
class Gpu:
    """A card, and the slot that it and its board can use together."""

    name: str
    memory_bytes: int | None = None
    slot: str | None = None  # "PCIe 4.0 x16"


@dataclass(frozen=True)
class Facts:
    """What is known of a machine; None where no report says it."""

    gpus: tuple[Gpu, ...] = ()
    chip: str | None = None  # of a machine of one piece, as its maker calls it
    cpu: str | None = None  # model name, CPU family and model
    sockets: int | None = None
    cores: int | None = None  # of one socket
    instructions: str | None = None
    virtual: bool | None = None
    memory_bytes: int | None = None
    dram: str | None = None
    mega_transfers: int | None = None
    channels: int | None = None  # with a module in it, of all sockets
    modules: int | None = None


def read(texts: Iterable[str]) -> Facts:
    """All that the outputs say; where two say the same thing, the first that says it counts, of cards the one with sizes."""
    found = Facts()
    for text in texts:
        for facts in _read(text):
            if facts.gpus and found.gpus and facts.gpus[0].memory_bytes and not found.gpus[0].memory_bytes:
                found = replace(found, gpus=facts.gpus)
            news = {f.name: getattr(facts, f.name) for f in fields(Facts) if getattr(found, f.name) in (None, ())}
            found = replace(found, **news)
    return found


def _read(text: str) -> Iterator[Facts]:
    if "<nvidia_smi_log>" in text:
        yield Facts(gpus=tuple(_nvidia_xml(text)))
    elif text.lstrip().startswith("{"):
        try:
            yield from list(_json(text))
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise UserError(
                f"a report of lscpu -J or rocm-smi --json has another form than these write ({error!r}); write it again"
            ) from None
    else:
        yield Facts(gpus=tuple(Gpu(name, _bytes(size)) for _, name, size in _TABLE.findall(text) if "..." not in name))
        yield Facts(gpus=tuple(Gpu(name) for name in dict(_GPU_LINE.findall(text)).values()))
        yield _lscpu({key: value.strip() for key, value in reversed(_LSCPU.findall(text))})
        yield _dmidecode(text)
        if total := re.search(r"^MemTotal:\s+([0-9]{1,15}) kB", text, re.M):
            yield Facts(memory_bytes=int(total[1]) * KIB)


def _nvidia_xml(text: str) -> Iterator[Gpu]:
    if "<!ENTITY" in text:
        raise UserError("a report of nvidia-smi holds an XML entity, which nvidia-smi never writes: it is not read")
    try:
        root = ElementTree.fromstring(text[text.index("<nvidia_smi_log>") :])
    except ElementTree.ParseError as error:
        raise UserError(f"a report of nvidia-smi is no XML ({error}); write it with: nvidia-smi -q -x") from None
    for gpu in root.iter("gpu"):
        memory = gpu.findtext("fb_memory_usage/total", "")
        link = "pci/pci_gpu_link_info"
        generation, width = (
            gpu.findtext(f"{link}/{path}", "") for path in ("pcie_gen/max_link_gen", "link_widths/max_link_width")
        )
        slot = f"PCIe {generation}.0 x{width.removesuffix('x')}" if _whole(generation) and width.endswith("x") else None
        yield Gpu(gpu.findtext("product_name", "").strip(), _bytes(memory), slot)


def _json(text: str) -> Iterator[Facts]:
    content = parse_json(text, "a report")
    if "lscpu" in content:
        yield _lscpu({key.rstrip(":"): value for key, value in _flat(content["lscpu"])})
    if "SPHardwareDataType" in content:
        hardware = content["SPHardwareDataType"][0]
        yield Facts(chip=str(hardware["chip_type"]), memory_bytes=_bytes(hardware.get("physical_memory", "")))
    cards = [card for name, card in content.items() if re.fullmatch(r"card\d+", name)]
    yield Facts(gpus=tuple(map(_rocm, cards)))


def _flat(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """lscpu nests its rows or not, by its version; of CPUs of several kinds the first counts, so it comes last."""
    for row in reversed(list(rows)):
        yield from _flat(row.get("children", ()))
        yield str(row["field"]), str(row["data"])


def _rocm(card: Mapping[str, str]) -> Gpu:
    said = {key.lower(): value for key, value in card.items()}
    name = said.get("card series") or said.get("device name") or said.get("card model") or ""
    total, level = (
        said.get("vram total memory (b)", ""),
        re.search(r"([\d.]+)GT/s x(\d+)", said.get("pcie clock level", "")),
    )
    slot = f"PCIe {_GENERATIONS[level[1]]}.0 x{level[2]}" if level and level[1] in _GENERATIONS else None
    bracket = re.search(r"\[([^\]]+)\]", name)
    return Gpu(bracket[1] if bracket else name, _whole(total), slot)


def _lscpu(said: Mapping[str, str]) -> Facts:
    if "Model name" not in said:
        return Facts()
    flags = said.get("Flags", "").split()
    family, model = said.get("CPU family", "?"), said.get("Model", "?")
    return Facts(
        cpu=f"{said['Model name']} (family {family} model {model} )",
        sockets=_whole(said.get("Socket(s)")),
        cores=_whole(said.get("Core(s) per socket")),
        instructions=next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), None),
        virtual="Hypervisor vendor" in said if said.get("Socket(s)") else None,
    )


def _dmidecode(text: str) -> Facts:
    """The slots with a module in them. Speeds that differ run at the slowest."""
    devices = [
        dict(re.findall(r"^[ \t]*([A-Z][\w ]+): (.+?)[ \t]*$", part, re.M))
        for part in text.split("Memory Device\n")[1:]
    ]
    filled = [device for device in devices if _bytes(device.get("Size", ""))]
    if not filled:
        return Facts()
    speeds = [
        re.match(
            r"([0-9]{1,6}) M", d.get("Configured Memory Speed") or d.get("Configured Clock Speed") or d.get("Speed", "")
        )
        for d in filled
    ]
    places = [_CHANNEL.search(d.get("Bank Locator", "")) or _CHANNEL.search(d.get("Locator", "")) for d in filled]
    kind = filled[0].get("Type", "").lower()
    return Facts(
        memory_bytes=sum(_bytes(device["Size"]) or 0 for device in filled),
        dram=kind if re.fullmatch(r"(lp)?ddr\dx?", kind) else None,
        mega_transfers=min((int(speed[1]) for speed in speeds if speed), default=None),
        channels=len({place.groups() for place in places if place}) if all(places) else None,
        modules=len(filled),
    )


def _whole(text: object) -> int | None:
    """A count; None for anything else, such as the dash that lscpu writes for what it does not know."""
    return int(str(text)) if re.fullmatch(r"[1-9][0-9]{0,17}", str(text).strip()) else None


def _bytes(text: str) -> int | None:
    """Bytes of "12288 MiB", "48 GB" or "32 GiB"; None for no size. All are binary."""
    found = re.fullmatch(r"([0-9]{1,9}) ?([KMGT]?)i?B", str(text).strip())
    return int(found[1]) * _SIZES[f"{found[2]}B"] if found else None
