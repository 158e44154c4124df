"""Hardware profiles: one machine per YAML file, every number with its unit, how it is known and where it comes from.

The format is described in docs/hardware_format.md. The loader checks a file completely before it builds a `Hardware`,
so that a mistake is one line that names the file and the dotted path, never a traceback in the middle of a run.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.types import ComputeUnit, Figure, Hardware, Link, Tier
from simmoe.simulator.units import EXAMPLE, parse

FOLDER = Path(__file__).parent
KINDS = ("nominal", "measured", "assumed")
DOC = "docs/hardware_format.md"
_W = "dram_bytes_per_loaded_byte"

_FLOPS = {"fp32?": "compute", "fp16?": "compute", "bf16?": "compute", "fp8?": "compute", "int8?": "compute"}
# What a file holds. A mapping lists its keys ("?" = optional, "*" = names of the user's choice); a tuple lists the
# allowed words; any other leaf is "text", "names", or what a number measures.
_SHAPE: dict[str, Any] = {
    "schema": (1,),
    "name": "text",
    "title": "text",
    "notes?": "text",
    "memory": ("discrete", "unified"),
    "tiers": {"*": {"capacity": "size", "bandwidth": "bandwidth"}},
    "units": {"*": {"memory": "text", "bandwidth": "bandwidth", "launch": "time", "flops": _FLOPS}},
    "link": {"from": "text", "to": "text", "bandwidth": "bandwidth", "latency": "time"},
    "devices": "names",
    "reserved": "bytes",
    f"{_W}?": "count",
    "peak?": {"memory_bandwidth?": "bandwidth", "link_bandwidth?": "bandwidth", "flops?": _FLOPS},
    "power?": {"idle?": "power", "max?": "power"},
    "price?": "price",
}
_FIGURE = {"value": "", "kind": "", "source": ""}
_POSITIVE = {"size", "bandwidth", "compute", "count"}  # the others may be zero: reserved bytes, launch, latency


def available() -> list[str]:
    """Names of the bundled profiles."""
    return files.available(FOLDER, ".yaml")


def find(name_or_path: str | Path) -> Path:
    """The file behind a name: a file that exists wins over a bundled profile of the same name."""
    return files.resolve(name_or_path, FOLDER, ".yaml", "hardware", f"to add a machine, write a YAML file ({DOC})")


def load(name_or_path: str | Path) -> Hardware:
    """One machine, checked: by the path of a YAML file or by the name of a bundled profile."""
    path = find(name_or_path)
    content = _read(path)
    figures: dict[str, Figure] = {}
    _check(content, _SHAPE, path.name, "", figures)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    hardware = _build(content, figures, hashlib.sha256(canonical.encode()).hexdigest())
    _check_names(hardware, path.name)
    _check_rates(hardware, path.name)
    return hardware


def _read(path: Path) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:  # a tag such as !!python/object, or a key that is no text
        raise UserError(f"{path.name}{_line(error)}: {error.problem}; only plain YAML is read: remove it") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path.name}{_line(error)}: not valid YAML: {problem}; check indents and quotes") from None
    except (OSError, ValueError) as error:  # unreadable, not UTF-8, an impossible date
        raise UserError(f"{path.name}: cannot be read as a YAML file: {error}; see {DOC}") from None
    if content is None:
        raise UserError(f"{path.name}: the file is empty; start from a bundled profile ({DOC})")
    return content


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}" if mark else ""


def _hint(word: object, known: Collection[object]) -> str:
    near = difflib.get_close_matches(str(word), [str(x) for x in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# --- the shape of a file --------------------------------------------------------------------------------------------


def _check(node: Any, shape: Any, file: str, path: str, figures: dict[str, Figure]) -> None:
    """Check `node` against `shape` and collect its numbers in `figures` by dotted path."""
    at = f"{file}: {path}" if path else file
    if isinstance(shape, dict):
        _check_keys(node, shape, at)
        for key, value in node.items():
            inner = shape.get("*") or shape.get(key) or shape.get(f"{key}?")
            _check(value, inner, file, f"{path}.{key}" if path else key, figures)
    elif isinstance(shape, tuple):
        _check_word(node, shape, at)
    elif shape == "text":
        if not isinstance(node, str) or not node.strip():
            raise UserError(f"{at}: {node!r} is no text; write words, in quotes where YAML sees a number or a date")
    elif shape == "names":
        if not isinstance(node, list) or len(node) != 1 or not isinstance(node[0], str):
            raise UserError(f"{at}: {node!r} must list exactly one compute unit (one device today), such as [gpu]")
    else:
        figures[path] = _figure(node, shape, at)


def _check_keys(node: Any, shape: Mapping[str, Any], at: str) -> None:
    keys = [key.removesuffix("?") for key in shape]
    if not isinstance(node, Mapping) or not node:
        what = "names of your choice" if "*" in shape else ", ".join(keys)
        raise UserError(f"{at}: {node!r} is not a filled mapping; its keys: {what} ({DOC})")
    for key in node:
        if "*" in shape:
            if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
                raise UserError(f"{at}: {key!r} is no name; use letters, digits, '_' and '-', a letter first")
        elif key not in keys:
            raise UserError(f"{at}: unknown key {key!r}{_hint(key, keys)}; known: {', '.join(keys)}")
    required = [key for key in shape if not key.endswith(("?", "*"))]
    for key in required:
        if key not in node:
            raise UserError(f"{at}: missing key {key!r}; required: {', '.join(required)}")


def _check_word(node: Any, known: Collection[object], at: str) -> None:
    if node not in known:
        raise UserError(f"{at}: unknown {node!r}{_hint(node, known)}; known: {', '.join(map(str, known))}")


def _figure(node: Any, dimension: str, at: str) -> Figure:
    if not isinstance(node, Mapping):
        example = "1" if dimension == "count" else f'"{EXAMPLE[_unit(dimension)].split(" or ")[0]}"'
        raise UserError(f'{at}: bare {node!r}; write {{value: {example}, kind: measured, source: "from where"}}')
    _check_keys(node, _FIGURE, at)
    _check_word(node["kind"], KINDS, f"{at}.kind")
    if not isinstance(node["source"], str) or not node["source"].strip():
        raise UserError(f"{at}.source: {node['source']!r} names no source; say who measured, stated or chose it")
    value = _value(node["value"], dimension, f"{at}.value")
    return Figure(value, node["kind"], node["source"], str(node["value"]))


def _unit(dimension: str) -> str:
    return "bytes" if dimension == "size" else dimension


def _value(text: Any, dimension: str, at: str) -> int:
    if dimension == "count":
        if type(text) is not int:  # bool is an int to Python and a mistake here
            raise UserError(f"{at}: {text!r} is not a whole number; write a count without a unit, such as 1")
        value = text
    else:
        value = parse(text, _unit(dimension), at)
    if value <= 0 and dimension in _POSITIVE:
        raise UserError(f"{at}: {text!r} must be more than zero")
    if dimension == "bandwidth" and value % 1000:
        near = value // 1000 * 1000 or 1000
        raise UserError(f"{at}: {text!r} is not a whole number of bytes per ms; the nearest is '{near} B/s'")
    return value


# --- the machine ----------------------------------------------------------------------------------------------------


def _build(doc: Mapping[str, Any], figures: dict[str, Figure], digest: str) -> Hardware:
    n = {path: figure.value for path, figure in figures.items()}
    tiers = {t: Tier(t, n[f"tiers.{t}.capacity"], n[f"tiers.{t}.bandwidth"]) for t in doc["tiers"]}
    units = {}
    for u, unit in doc["units"].items():
        flops = {number_format: n[f"units.{u}.flops.{number_format}"] for number_format in unit["flops"]}
        units[u] = ComputeUnit(u, unit["memory"], n[f"units.{u}.bandwidth"], n[f"units.{u}.launch"], flops)
    link = Link(doc["link"]["from"], doc["link"]["to"], n["link.bandwidth"], n["link.latency"])
    unified, devices, w = doc["memory"] == "unified", tuple(doc["devices"]), n.get(_W, 0)
    return Hardware(doc["name"], doc["title"], unified, tiers, units, link, devices, n["reserved"], w, figures, digest)


def _check_names(hw: Hardware, file: str) -> None:
    for unit in hw.units.values():
        _check_word(unit.memory, hw.tiers, f"{file}: units.{unit.name}.memory")
    _check_word(hw.link.src, hw.tiers, f"{file}: link.from")
    _check_word(hw.link.dst, hw.tiers, f"{file}: link.to")
    _check_word(hw.devices[0], hw.units, f"{file}: devices")
    memory = hw.device.memory
    if hw.link.dst != memory:
        raise UserError(
            f"{file}: link.to is {hw.link.dst!r}, but a load must end in the memory of {hw.device.name!r}, "
            f"the device: write {memory!r}"
        )
    if hw.link.src == memory:
        raise UserError(f"{file}: link.from and link.to are both {memory!r}; link.from is where the experts live")
    if hw.unified and _W not in hw.figures:
        raise UserError(f"{file}: missing key {_W!r}; a unified machine needs it, 1 = the load lands in place")
    if not hw.unified and _W in hw.figures:
        raise UserError(f"{file}: {_W} is only for memory: unified; a discrete link does not slow the GPU: remove it")


def _check_rates(hw: Hardware, file: str) -> None:
    for unit in hw.units.values():
        _check_rate(unit.bytes_per_s, hw.tiers[unit.memory], f"{file}: units.{unit.name}.bandwidth")
    _check_rate(hw.link.bytes_per_s, hw.home, f"{file}: link.bandwidth")
    memory, r, w = hw.device_memory, hw.link.bytes_per_s, hw.dram_bytes_per_loaded_byte
    if hw.reserved_bytes >= memory.capacity_bytes:
        raise UserError(f"{file}: reserved, {hw.reserved_bytes} B, leaves nothing of tiers.{memory.name}; lower it")
    left = memory.bytes_per_s - w * r
    if hw.unified and left <= 0:
        raise UserError(
            f"{file}: a load leaves the GPU tiers.{memory.name}.bandwidth - {_W} x link.bandwidth = "
            f"{memory.bytes_per_s} - {w} x {r} = {left} B/s; it must be > 0: lower link.bandwidth"
        )


def _check_rate(rate: int, tier: Tier, at: str) -> None:
    if rate > tier.bytes_per_s:
        raise UserError(
            f"{at}: {rate} B/s is more than tiers.{tier.name}.bandwidth, which is {tier.bytes_per_s} B/s "
            "for all readers together; lower the one or raise the other"
        )
