"""What the rows themselves tell of the format, the model and the machine that they were measured with, as bundled names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.explain.rows import Row
from simmoe.hardware_profiles.detecting import Found, detect
from simmoe.hardware_profiles.reports import Facts, Gpu
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads import models
from simmoe.workloads.models.formats import STORED, known

SAME = 0.01  # a parameter count that differs less is that model's: 30.53 B in a table, 30,532,122,624 in the shape
NEAR = 0.03  # bytes of a shape that differ more than this from the file's are those of another format
SIZES = {"Small": "S", "Medium": "M", "Large": "L"}
# what llama.cpp calls the types of a file (llama_model_ftype_name), behind the model's name and size
TYPE = re.compile(
    r"\b(?P<plain>F32|F16|BF16|MXFP4 MoE|Q[458]_[01]|Q6_K)$|\b(?P<k>Q[2-5]_K) - (?P<size>Small|Medium|Large)$"
    r"|\b(?P<mix>IQ3_S mix)\b|\b(?P<low>(?:IQ\d|TQ\d)_[A-Z0-9]+) - [\d.]+ bpw|\b(?P<whole>Q2_K)$"
)
PLAIN = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "MXFP4 MoE": "MXFP4_MOE", "Q8_0": "q8_0", "Q6_K": "q6_k"}
ARCHITECTURES = {  # of llama.cpp -> bundled models, which their parameter counts tell apart
    "qwen3moe": ("qwen3-30b-a3b", "qwen3-235b-a22b", "qwen3-coder-480b-a35b"), "qwen3next": ("qwen3-next-80b-a3b",),
    "qwen35moe": ("qwen3.5-35b-a3b",), "gpt-oss": ("gpt-oss-20b", "gpt-oss-120b"), "llama": ("mixtral-8x7b", "mixtral-8x22b"),
    "olmoe": ("olmoe-1b-7b",), "deepseek2": ("deepseek-v2-lite", "deepseek-v3", "kimi-k2", "glm-4.7-flash"),
    "glm4moe": ("glm-4.5-air", "glm-4.5"), "llama4": ("llama-4-scout", "llama-4-maverick"), "minimax-m2": ("minimax-m2",),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """Options that complete a command line, what is to be said of them, and what is still missing."""

    options: dict[str, Any]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def format_of(words: str) -> str | None:
    """The format of what an output says of it, such as Q4_K_M of "qwen3moe 30B.A3B Q4_K - Medium"; None where it says none."""
    found = TYPE.search(words.strip())
    if not found:
        return None
    if found["k"]:
        name, size = found["k"], SIZES[found["size"]]
        return name if (name, size) == ("Q2_K", "M") else f"{name}_{size}"
    plain = found["plain"] or found["whole"] or found["low"]
    return "IQ3_M" if found["mix"] else PLAIN.get(plain, plain)


def told(rows: Sequence[Row], said: Mapping[str, Any], source: str) -> Told:
    """said: options that the caller named; those count, and one that the rows contradict is noted. Raises UserError."""
    row = _one_model(rows, source)
    found, notes = dict[str, Any](), list[str]()
    _machine(row, said, found, notes)
    if "model" not in said and (model := _model(row)):
        found["model"] = model
        notes.append(f"--model {model} ({row.model or row.flags.model})")
    file = format_of(row.format)
    if "format" not in said and file and not _has_bytes({**found, **said}):
        found["format"] = file
        notes.append(f"--format {file} ({row.format})")
    taken = (f"Taken from the output: {'; '.join(notes)}.",) if notes else ()
    return Told(found, (*taken, *_against(row, said)), tuple(_missing({**found, **said})))


def _one_model(rows: Sequence[Row], source: str) -> Row:
    """The row that says most. Raises UserError where the rows are of several models or formats."""
    names = dict.fromkeys((row.model, row.format) for row in rows if row.model or row.format)
    if len(names) > 1:
        several = ", ".join(repr(model or format) for model, format in names)
        raise UserError(f"{source}: the rows are of {len(names)} models or formats ({several}); keep those of one")
    return max(rows, key=lambda row: sum(map(bool, (row.model, row.format, row.device, row.cpu, row.params))))


def _model(row: Row) -> str | None:
    """The file itself where it lies here; else the bundled model of that architecture and so many parameters."""
    if row.flags.model and row.flags.model.endswith(".gguf") and Path(row.flags.model).is_file():
        return row.flags.model
    for name in ARCHITECTURES.get(row.model.partition(" ")[0], ()) if row.params else ():
        if abs(models.load(name).total_params / (row.params or 1) - 1) < SAME:
            return name
    return None


def _machine(row: Row, said: Mapping[str, Any], found: dict[str, Any], notes: list[str]) -> None:
    """A GPU and a host, or a machine of one piece: those that `simmoe hw detect` knows by these very names."""
    if "hw" in said:
        return
    seen = _seen(row)
    if seen.machine and seen.machine.exact and not said.keys() & {"gpu", "host"}:
        found["hw"] = seen.machine.name
        notes.append(f"--hw {seen.machine.name} ({seen.machine.said})")
        return
    for name, part in (("gpu", seen.gpu), ("host", seen.host)):
        if name not in said and part and part.exact:
            found[name] = part.name
            unsure = f"; not known: {part.missing[0].partition(' (')[0]}" if part.missing else ""
            notes.append(f"--{name} {part.name} ({part.said}{unsure})")


def _seen(row: Row) -> Found:
    names = re.sub(r" \(.*?\)", "", row.device).split(", ")
    gpus = tuple(Gpu(name) for name in names if name and name != row.cpu)
    chip = row.cpu if row.cpu.startswith("Apple ") else None
    if len(gpus) > 1 or not (gpus or row.cpu):
        return Found()
    try:
        return detect(Facts(gpus, chip=chip, cpu=row.cpu or None))
    except UserError:  # names that say nothing
        return Found()


def _has_bytes(options: Mapping[str, Any]) -> bool:
    """Whether the model is a file that says the bytes of its tensors."""
    return "model" in options and models.load(options["model"]).format == STORED


def _against(row: Row, said: Mapping[str, Any]) -> list[str]:
    """What the caller says and the rows do not."""
    found, file = list[str](), format_of(row.format)
    if "format" in said and file and known(said["format"]) != known(file):
        found.append(f"--format {said['format']} is played, and the rows are of {file} ({row.format}).")
    gpu = _seen(row).gpu
    if "gpu" in said and gpu and gpu.exact and gpu.name != said["gpu"]:
        found.append(f"--gpu {said['gpu']} is played, and the rows were measured on {gpu.said} ({gpu.name}).")
    return found


def _missing(options: Mapping[str, Any]) -> list[str]:
    found = []
    if not options.keys() & {"hw", "gpu", "host"}:
        found.append("--gpu NAME --host NAME (or --hw; `simmoe hw list`)")
    elif "gpu" in options and "host" not in options:
        found.append("--host NAME (`simmoe hw list --hosts`)")
    if "model" not in options:
        found.append("--model NAME|FILE (`simmoe model list`)")
    if "format" not in options and not _has_bytes(options):
        found.append("--format NAME (how the weights are stored, such as Q4_K_M)")
    return found


def size_caution(row: Row, model: ModelShape) -> str | None:
    """Where the shape's bytes are not those of the file."""
    ours = model.dense_bytes + model.all_expert_bytes
    if not row.size_bytes or abs(ours / row.size_bytes - 1) <= NEAR:
        return None
    return (
        f"The rows' model takes {row.size_bytes / 1e9:.4g} GB, and {model.name} at {model.format} {ours / 1e9:.4g} GB ("
        f"{ours / row.size_bytes - 1:+.0%}): another --format, or a mix of its own; the GGUF file as --model says its real bytes."
    )
