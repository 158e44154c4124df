"""What a profile may hold, and the check of all of it: every number with its unit, how it is known and where it comes from.

The format is described in docs/hardware_format.md. A mistake is one line that names the file, the dotted path and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simmoe.hardware_profiles.figures import NUMBERS, curve, figure
from simmoe.hardware_profiles.ranges import is_peak
from simmoe.hardware_profiles.words import DOC, check_keys, check_word, hint
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Curve, Figure
from simmoe.simulator.units import UNITS

W = "dram_bytes_per_loaded_byte"
PCIE = re.compile(r"PCIe ([3-6])\.0 x(1|2|4|8|16)")

_FLOPS = {"fp32?": "compute", "fp16?": "compute", "bf16?": "compute", "fp8?": "compute", "int8?": "compute"}
TIER = {"capacity": "size", "bandwidth": "bandwidth", "queue?": "curve of requests", "peak_bandwidth?": "bandwidth"}
UNIT = {
    "memory": "text", "bandwidth": "bandwidth", "launch": "time", "flops": _FLOPS, "softness?": "exponent",
    "grouped_launch?": "time", "grouped_bandwidth?": "bandwidth", "grouped_softness?": "exponent", "graph_launch?": "time",
    "host_wait?": "time", "hand_over?": "time", "kernel_floor?": "time", "graph_kernel_floor?": "time",
    "processors?": "count", "clock?": "frequency", "quantised_bandwidth?": "bandwidth", "thread_bandwidth?": "bandwidth",
    "reserved?": "bytes",
}  # fmt: skip
_UPSTREAM = {"from": "text", "bandwidth": "bandwidth", "latency": "time", "pipelined": "flag"}
_MANAGED = {"bandwidth": "bandwidth", "page": "size", "fault": "time"}
_LINK = {
    "from": "text", "to": "text", "bandwidth": "bandwidth", "latency": "time", "efficiency?": "curve of bytes",
    "pageable?": "bandwidth", "duplex?": ("full", "half"), "upstream?": _UPSTREAM, "write_bandwidth?": "bandwidth",
    "host_memory?": ("pinned", "pageable", "managed"), "managed?": _MANAGED, "queue_depth?": "count", "pinned_capacity?": "size",
}  # fmt: skip
FABRIC = {"bandwidth": "bandwidth", "latency": "time", "peer?": "flag"}
_POWER = {"idle?": "power", "max?": "power", "per_byte?": "energy", "per_link_byte?": "energy", "per_flop?": "energy"}
# What a file holds. A mapping lists its keys ("?" = optional, "*" = names of the user's choice); a tuple lists the
# allowed words; any other leaf is "text", "names", "flag", "modes", a curve, or what a number measures.
SHAPE: dict[str, Any] = {
    "schema": (1,),
    "name": "text",
    "title": "text",
    "notes?": "text",
    "memory": ("discrete", "unified"),
    "tiers": {"*": TIER},
    "units": {"*": UNIT},
    "link": _LINK,
    "links?": {"*": _LINK},
    "fabric?": FABRIC,
    "devices": "names",
    "reserved": "bytes",
    f"{W}?": "count",
    "peak?": {"memory_bandwidth?": "bandwidth", "link_bandwidth?": "bandwidth", "flops?": _FLOPS},
    "power?": _POWER,
    "thermal?": {"resistance": "resistance", "limit": "temperature", "ambient": "temperature"},
    "price?": "price",
    "modes?": "modes",
}


class Checked:
    """The numbers of a file by their dotted path."""

    def __init__(self, content: Any, file: str, shape: Mapping[str, Any] = SHAPE) -> None:
        """Raises UserError for the first mistake in `content`."""
        self.figures: dict[str, Figure] = {}
        self.curves: dict[str, Curve] = {}
        self.file = file
        self._check(content, shape, "")
        for mode, changes in content.get("modes", {}).items():
            self._check_mode(mode, changes)

    def _check(self, node: Any, shape: Any, path: str) -> None:
        at = f"{self.file}: {path}" if path else self.file
        if isinstance(shape, dict):
            check_keys(node, shape, at)
            for key, value in node.items():
                inner = shape.get("*") or shape.get(key) or shape.get(f"{key}?")
                self._check(value, inner, f"{path}.{key}" if path else key)
        elif isinstance(shape, tuple):
            check_word(node, shape, at)
        elif shape in LEAVES:
            rule, what = LEAVES[shape]
            if not rule(node):
                raise UserError(f"{at}: {node!r} {what}")
        elif shape.startswith("curve of "):
            self.curves[path] = curve(node, shape.removeprefix("curve of "), at)
        else:
            self.figures[path] = figure(node, shape, at, exact=is_peak(path))

    def _check_mode(self, mode: object, changes: object) -> None:
        at = f"{self.file}: modes.{mode}"
        if not isinstance(mode, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", mode):
            raise UserError(f"{self.file}: modes: {mode!r} is no name of a mode; use letters, digits, '_' and '-'")
        if not isinstance(changes, Mapping) or not changes:
            raise UserError(f"{at}: {changes!r} is not a filled mapping; list replaced figures by their path ({DOC})")
        for path, node in changes.items():
            if path not in self.figures:
                raise UserError(f"{at}: no figure {path!r} in this file to replace{hint(path, self.figures)}")
            self.figures[f"modes.{mode}.{path}"] = figure(node, self.figures[path].dimension, f"{at}.{path}")


LEAVES: dict[str, tuple[Any, str]] = {  # shape -> rule, what to say where it is broken
    "text": (
        lambda x: isinstance(x, str) and x.strip(), "is no text; write words, in quotes where YAML sees a number or a date"
    ),
    "names": (
        lambda x: isinstance(x, list) and x and all(isinstance(name, str) for name in x) and len(set(x)) == len(x),
        "must list the compute units that run the model, each once, such as [gpu]",
    ),
    "texts": (
        lambda x: isinstance(x, list) and x and all(isinstance(word, str) and word.strip() for word in x),
        "is no list of texts; write them in quotes, in brackets",
    ),
    "slot": (
        lambda x: isinstance(x, str) and PCIE.fullmatch(x),
        "is no PCIe slot; write generation and lanes like PCIe 4.0 x16",
    ),
    "number": (lambda x: type(x) is int and x > 0, "is no whole number above 0; write it without unit or quotes"),
    "flag": (lambda x: isinstance(x, bool), "is neither yes nor no; write one of them, without quotes"),
    "modes": (
        lambda x: isinstance(x, Mapping) and x, f"is not a filled mapping; its keys: names of power modes ({DOC})"
    ),
}  # fmt: skip


def dimension_of(path: str, content: Any) -> str | None:
    """What the number at `path` of a profile measures; None where no number can stand."""
    shape: Any = SHAPE
    for key in path.split("."):
        if not isinstance(shape, dict):
            return None
        node = content
        shape = shape.get("*") if "*" in shape and key in node else shape.get(key) or shape.get(f"{key}?")
        content = node.get(key, {}) if isinstance(node, Mapping) else {}
    return shape if isinstance(shape, str) and (shape in NUMBERS or shape in UNITS) else None
