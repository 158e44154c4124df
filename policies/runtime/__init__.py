"""Engines as data, one YAML file each: a file in this folder is known by its name; a path that exists wins over it.

docs/runtimes.md describes the file.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.model import FEATURES
from simmoe.simulator.nouns.runtime import Constant, Runtime
from simmoe.simulator.reading import extended, read_yaml
from simmoe.simulator.units import parse

FOLDER = Path(__file__).parent
ENGINES_REACH = (
    0.3,
    0.95,
)  # of the ideal decode speed: 10th and 90th percentile of 149 measured rows (docs/validation.md)
LEAVES = {
    "decode": 0.14,
    "prompt": 0.25,
}  # logarithm of the error that the laws leave on machines that they were not fitted on, there
IDEAL = "ideal"  # no engine: each launch costs its bytes or its FLOPs, at the rates of the profile
USUAL = "usual"  # that of llama.cpp for the machine (play/usual_runtime.py)
MAKERS = ("any", "nvidia", "amd", "apple")  # of the devices that constants are of
LEAST = 1e-6  # of a share or a number: below it an engine would do nothing at all
KINDS = ("fitted", "measured", "read", "assumed")
PARTS = ("attention", "ffn", "experts", "shared", "end", *FEATURES)  # what kernels are counted of; end: of a pass
# Constants by section: what each measures; "?" = a file may leave it out.
SECTIONS: dict[str, dict[str, str]] = {
    "decode": {
        "kernel?": "time", "layer?": "time", "pass?": "time", "memory": "share", "per_clock?": "number", "per_thread?": "bandwidth",
    },
    "prompt": {
        "flops_per_clock?": "number", "peak?": "share", "rows": "number", "rows_per_read?": "number", "tiles?": "share",
        "attention_flops_per_clock?": "number",
        "attention_peak?": "share",
        "copies?": "number",
    },
    "cpu": {"layer": "time", "memory": "share", "per_thread?": "bandwidth", "flops_per_clock?": "number"},
    "link": {"offload_tokens?": "number", "offload_rows?": "number"},
    "buffers": {"beside": "bytes"},
}  # fmt: skip
_REQUIRED = ("schema", "name", "title", "builds", "kernels", "decode")
_OPTIONAL = (
    "engine",
    "timeline",
    "device",
    "maker",
    "streams",
    "microbatch",
    "host_memory",
    "notes",
    "prompt",
    "cpu",
    "link",
    "buffers",
)


def names() -> list[str]:
    """Names of the bundled runtimes, and that of none."""
    return [IDEAL, *files.available(FOLDER, ".yaml")]


def find(name: str | Path) -> Path:
    """The file behind a path or a bundled name. Raises UserError."""
    add = "add one as policies/runtime/NAME.yaml or give a path"
    return files.resolve(name, FOLDER, ".yaml", "runtime", add, "`simmoe runtime list`", (IDEAL, USUAL))


def load(name: str | Path) -> Runtime:
    """A bundled runtime, or a file of your own. Raises UserError."""
    path = find(name)
    return runtime(extended(path, read_yaml, find, "runtime"), path.name)


def given(runtime: str | Path | Runtime) -> Runtime | None:
    """A runtime by name or file, or as it is; None for the ideal one. Raises UserError."""
    if isinstance(runtime, Runtime):
        return runtime
    return None if runtime == IDEAL else load(runtime)


def said(runtime: Runtime | None) -> dict[str, Any]:
    """What a result says of its runtime: every constant with its range, and what it was fitted on."""
    if runtime is None:
        return {"name": IDEAL, "engines_reach": list(ENGINES_REACH)}
    constants = {
        path: {"value": one.value, "range": [one.low, one.high], "kind": one.kind, "source": one.source}
        for path, one in runtime.constants.items()
    }
    kernels = dict(runtime.kernels)
    about = {"name": runtime.name, "title": runtime.title, "builds": runtime.builds, "digest": runtime.digest}
    return {**about, "kernels": kernels, "constants": constants}


def runtime(data: object, where: str) -> Runtime:
    """The engine that `data` describes; `where` names it in error messages. Raises UserError."""
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: is no mapping; copy one of policies/runtime/*.yaml and change it")
    known = (*_REQUIRED, *_OPTIONAL)
    for key in data:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}; {among(key, known)}")
    if missing := [key for key in _REQUIRED if key not in data]:
        raise UserError(f"{where}: {missing[0]} is missing; see policies/runtime/llama_cpp_cuda.yaml")
    if data["schema"] != 1 or isinstance(data["schema"], bool):
        raise UserError(f"{where}: schema is {data['schema']!r}; this version reads schema 1")
    constants = {
        f"{section}.{name}": one
        for section in SECTIONS
        for name, one in _section(data.get(section, {}), section, where).items()
    }
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Runtime(
        name=_text(data["name"], f"{where}: name"),
        title=_text(data["title"], f"{where}: title"),
        engine=_text(data.get("engine", "none"), f"{where}: engine"),
        builds=_text(data["builds"], f"{where}: builds"),
        device=_one_of(data.get("device", "gpu"), ("gpu", "cpu"), f"{where}: device"),
        timeline=_text(data.get("timeline", "overlapped"), f"{where}: timeline"),
        maker=_one_of(data.get("maker", "any"), MAKERS, f"{where}: maker"),
        streams=_one_of(data.get("streams", False), (True, False), f"{where}: streams"),
        microbatch=_whole(data.get("microbatch", 0), f"{where}: microbatch"),
        host_memory=_one_of(data.get("host_memory", "pinned"), ("pinned", "pageable"), f"{where}: host_memory"),
        kernels=_kernels(data["kernels"], where),
        constants=constants,
        digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
    )


def _section(data: object, section: str, where: str) -> dict[str, Constant]:
    shape = SECTIONS[section]
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: {section} is {reprlib.repr(data)}; it lists constants: {_words(shape)}")
    kinds = {name.rstrip("?"): dimension for name, dimension in shape.items()}
    for name in data:
        if name not in kinds:
            raise UserError(f"{where}: {section}.{name} is unknown; {among(name, kinds)}")
    needed = [name for name in shape if not name.endswith("?") and name not in data]
    if data and needed:
        raise UserError(f"{where}: {section}.{needed[0]} is missing")
    return {name: constant(node, kinds[name], f"{where}: {section}.{name}") for name, node in data.items()}


def _words(shape: Mapping[str, str]) -> str:
    return ", ".join(name.rstrip("?") for name in shape)


def constant(node: object, dimension: str, at: str) -> Constant:
    """A number with its kind, its source and its range. Raises UserError."""
    keys = ("value", "range", "kind", "source")
    if not isinstance(node, Mapping) or not {"value", "kind", "source"} <= node.keys() <= set(keys):
        raise UserError(f"{at}: {reprlib.repr(node)}; write {{value: …, range: [low, high], kind: fitted, source: …}}")
    _one_of(node["kind"], KINDS, f"{at}.kind")
    source, value = _text(node["source"], f"{at}.source"), _number(node["value"], dimension, f"{at}.value")
    if "range" not in node and node["kind"] != "read":
        raise UserError(f"{at}: has no range; add range: [low, high], where the true value may lie")
    ends = node.get("range", [node["value"], node["value"]])
    if not isinstance(ends, list) or len(ends) != 2:
        raise UserError(f"{at}.range: {reprlib.repr(ends)} is no range; write [low, high]")
    low, high = (_number(end, dimension, f"{at}.range") for end in ends)
    if not low <= value <= high:
        raise UserError(f"{at}.range: {ends} does not enclose the value {node['value']}")
    return Constant(value, low, high, node["kind"], source, str(node["value"]))


def _number(value: Any, dimension: str, at: str) -> float:
    if dimension == "time":
        return parse(value, "time", at) / 1e12
    if dimension in ("bandwidth", "bytes"):
        return float(parse(value, dimension, at))
    most = 2.0 if dimension == "share" else 1e6
    if type(value) not in (int, float) or not LEAST <= value <= most:
        raise UserError(f"{at}: {reprlib.repr(value)} is no {dimension} from {LEAST:g} to {most:g}")
    return float(value)


def _kernels(data: object, where: str) -> dict[str, int]:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: kernels is {reprlib.repr(data)}; it counts the kernels of {', '.join(PARTS)}")
    for part, count in data.items():
        if part not in PARTS:
            raise UserError(f"{where}: kernels.{part} is unknown; {among(part, PARTS, listing='docs/runtimes.md')}")
        if type(count) is not int or not -100 <= count <= 1000:
            raise UserError(f"{where}: kernels.{part} is {reprlib.repr(count)}; write a whole number of kernels")
    fewer = min(data.get("ungated", 0), 0)  # the one word that takes kernels away
    for part, count in data.items():
        if part != "ungated" and count + (fewer if part in ("ffn", "experts", "shared") else 0) < 0:
            raise UserError(
                f"{where}: kernels.{part} is {count}{f' with ungated {fewer}' * (count >= 0)}, below no kernels at all"
            )
    return dict(data)


def _text(value: object, at: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{at} is {reprlib.repr(value)}; write words")
    return value


def _whole(value: object, at: str) -> int:
    if type(value) is not int or not 0 <= value <= 2**20:
        raise UserError(f"{at} is {reprlib.repr(value)}; write a whole number of tokens")
    return value


def _one_of(value: Any, words: tuple[Any, ...], at: str) -> Any:
    if value not in words or type(value) is not type(words[0]):
        raise UserError(f"{at} is {reprlib.repr(value)}; write one of {', '.join(map(str, words))}")
    return value
