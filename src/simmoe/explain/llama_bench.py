"""llama-bench: its records (json, jsonl, csv, sql) and its tables (md), of llama.cpp and ik_llama.cpp."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from simmoe.explain.rows import BOTH, DECODE, PROMPT, Row, flags_of, number
from simmoe.explain.table import Line, tables
from simmoe.policies.flags import Flags
from simmoe.simulator.errors import UserError

SHORT = {  # what a table calls a field of a record
    "ngl": "n_gpu_layers", "threads": "n_threads", "sm": "split_mode", "nkvo": "no_kv_offload", "fa": "flash_attn", "lm": "load_mode",
    "embd": "embeddings", "nopo": "no_op_offload", "noh": "no_host", "rpk": "repack", "dev": "devices", "ts": "tensor_split",
    "ot": "tensor_buft_overrides", "mmap": "use_mmap", "ncmoe": "n_cpu_moe", "mla": "mla_attn", "amb": "attn_max_batch", "gr": "reuse",
    "fmoe": "fused_moe", "ger": "grouped_er", "no-fug": "no_fused_up_gate", "no-ooae": "no_ooae", "th": "n_threads",
}  # fmt: skip
SPELLED = {  # field -> flag
    "n_gpu_layers": "-ngl", "n_cpu_moe": "-ncmoe", "n_threads": "-t", "n_batch": "-b", "n_ubatch": "-ub", "type_k": "-ctk",
    "type_v": "-ctv", "split_mode": "-sm", "no_kv_offload": "-nkvo", "flash_attn": "-fa", "load_mode": "-lm", "no_op_offload": "-nopo",
    "no_host": "--no-host", "repack": "--repack", "tensor_split": "-ts", "tensor_buft_overrides": "-ot", "override_tensor": "-ot",
    "use_mmap": "-mmp", "n_depth": "-d", "n_prompt": "-p", "n_gen": "-n", "rtr": "-rtr", "mla_attn": "-mla", "no_ooae": "-no-ooae",
    "fused_moe": "-fmoe", "grouped_er": "-ger", "ser": "-ser",
}  # fmt: skip
UNSAID = {  # values that say nothing
    "tensor_split": ("0", "0.00"), "tensor_buft_overrides": ("none", ""), "override_tensor": ("none", ""), "n_cpu_moe": ("0", "none"),
    "ser": ("-1,0", "-1,0.000000", "0"), "type_k": ("",), "type_v": ("",), "n_threads": ("",), "load_mode": ("",),
    "n_prompt": ("0",), "n_gen": ("0",),
}  # fmt: skip
PLAIN = {  # fields that change nothing in the simulation, or are fields of Row
    *("build_commit", "build_number", "cpu_info", "gpu_info", "backends", "model_filename", "model_type", "model_size", "model_n_params"),
    *("cpu_mask", "cpu_strict", "poll", "main_gpu", "devices", "embeddings", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts"),
    *("use_direct_io", "samples_ns", "samples_ts", "lazy_mode", "fit_target", "fit_min_ctx", "f16_kv", "cuda", "opencl", "vulkan"),
    *("kompute", "metal", "sycl", "rpc", "gpu_blas", "blas", "backend", "mul_mat_q", "low_vram", "model", "size", "params", "test", "t/s"),
}  # fmt: skip
OF_FORK = {
    "rtr",
    "mla_attn",
    "attn_max_batch",
    "fused_moe",
    "grouped_er",
    "reuse",
    "ser",
    "no_ooae",
    "no_fused_up_gate",
}
TEST = re.compile(r"(?:pp ?(\d+))?\+?(?:tg ?(\d+))?(?:@pp(\d+))?(?: ?@ ?d(\d+))?")
UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "M": 10**6, "B": 10**9, "T": 10**12}
MARK = '"avg_ts"'
LIST = re.compile(r'\[(\{("build_commit".*)?)?')  # the line in which a list of records begins, whatever follows there
BUILD = re.compile(r"build: ([0-9a-f]{6,}) \((\d+)\)")


def records(lines: list[str]) -> Iterator[Row]:
    """Rows of json, jsonl, csv and sql."""
    for line, record in (*_json(lines), *_csv(lines), *_sql(lines)):
        if isinstance(record, dict) and "avg_ts" in record:
            yield _row(line, {name: str(value) for name, value in record.items()})


def table(lines: list[str]) -> Iterator[Row]:
    """Rows of the tables of a text."""
    build = next((found for found in map(BUILD.search, lines) if found), None)
    for line in tables(lines):
        if {"model", "test", "t/s"} <= line.cells.keys():
            record = _of_table(line)
            if build:
                record |= {"build_commit": build[1], "build_number": build[2]}
            yield _row(line.number, record)


def _json(lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of one line (jsonl), and those of a list that goes over several (json)."""
    start = next((i for i, one in enumerate(lines) if LIST.fullmatch(one.strip())), len(lines))
    end = next(
        (i for i in range(len(lines) - 1, start - 1, -1) if lines[i].rstrip().endswith(("]", "}]"))), len(lines) - 1
    )
    for i, one in enumerate(lines):
        if not start <= i <= end and one.startswith("{") and one.rstrip().endswith("}") and MARK in one:
            yield i + 1, _loaded(one, i + 1)
    if any(MARK in one for one in lines[start : end + 1]):
        for record in _loaded("\n".join(lines[start : end + 1]), start + 1):
            yield start + 1, record


def _loaded(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UserError(f"line {line} begins JSON that cannot be read: {problem}") from None


def _csv(lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    start = next(
        (i for i, one in enumerate(lines) if "build_commit" in one and "," in one and not one.startswith("INSERT")),
        None,
    )
    if start is None or lines[start].lstrip().startswith(("{", "[", '"build_commit":', "CREATE")):
        return
    names = next(csv.reader([lines[start]]))
    for i in range(start + 1, len(lines)):
        values = next(csv.reader([lines[i]]), [])
        if len(values) == len(names):
            yield i + 1, dict(zip(names, values, strict=True))
        elif len(values) > 1:
            raise UserError(f"line {i + 1}: {len(values)} values, but the head has {len(names)} names")


def _sql(lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, one in enumerate(lines):
        if found := re.match(r"INSERT INTO \w+ \((.*?)\) VALUES \('(.*)'\);", one.strip()):
            names, values = found[1].split(", "), found[2].split("', '")
            if len(names) != len(values):
                raise UserError(f"line {i + 1}: {len(values)} values for {len(names)} names")
            yield i + 1, dict(zip(names, values, strict=True))


def _of_table(line: Line) -> dict[str, str]:
    """A line of a table as the record that it was made from."""
    where = f"line {line.number}"
    cells = {SHORT.get(name, name): value for name, value in line.cells.items()}
    test = TEST.fullmatch(cells["test"].strip("*` "))
    if not test or not (test[1] or test[2]):
        raise UserError(
            f"{where}: test {cells['test']!r} is not known; such as pp512, tg128, pp512+tg128 or tg128 @ d4096"
        )
    speeds = re.split(r"\s*(?:Â?±|\+/-|\+-)\s*", cells["t/s"].strip("*` "))
    depth = int(test[4] or 0) + int(test[3] or 0)
    found = {**cells, "n_prompt": test[1] or "0", "n_gen": test[2] or "0", "n_depth": str(depth), "avg_ts": speeds[0]}
    found |= {"model_type": cells["model"], "stddev_ts": speeds[1] if len(speeds) > 1 else ""}
    if "size" in cells:
        found["model_size"] = str(round(_measured(cells["size"], where)))
    if "params" in cells:
        found["model_n_params"] = str(round(_measured(cells["params"], where)))
    return found


def _measured(text: str, where: str) -> float:
    amount, _, unit = text.partition(" ")
    if unit not in UNITS:
        raise UserError(f"{where}: {text!r} must be a number and one of {', '.join(UNITS)}")
    return number(amount, where) * UNITS[unit]


def _row(line: int, record: Mapping[str, str]) -> Row:
    where = f"line {line}"
    prompt, generate = (
        int(number(record.get(name, 0), where)) if record.get(name, "0") != "0" else 0 for name in ("n_prompt", "n_gen")
    )
    if not prompt and not generate:
        raise UserError(f"{where}: n_prompt and n_gen are both 0")
    spread = record.get("stddev_ts", "")
    return Row(
        line,
        BOTH if prompt and generate else PROMPT if prompt else DECODE,
        number(record["avg_ts"], where),
        _flags(record, where),
        None if spread in ("", "0", "0.0", "0.00", "0.000000") else number(spread, where),
        record.get("model_type", ""),
        _whole(record, "model_size", where),
        _whole(record, "model_n_params", where),
        record.get("backends", record.get("backend", "")),
        record.get("gpu_info", "") or record.get("cpu_info", ""),
        " ".join(record[name] for name in ("build_commit", "build_number") if record.get(name)),
        record.get("cpu_info", ""),
        record.get("model_type", ""),
    )


def _whole(record: Mapping[str, str], name: str, where: str) -> int | None:
    return round(number(record[name], where)) if record.get(name) else None


def _flags(record: Mapping[str, str], where: str) -> Flags:
    engine = "ik_llama.cpp" if OF_FORK & record.keys() else "llama.cpp"
    if record.get("embeddings", "0").lower() in ("1", "true"):
        raise UserError(f"{where}: a run that embeds generates no text")
    words = []
    for name, value in record.items():
        if name in SPELLED and value not in UNSAID.get(name, ()):
            words.append((SPELLED[name], "auto" if name == "flash_attn" and value == "-1" else value))
    if record.get("model_filename"):
        words.append(("-m", record["model_filename"]))
    unknown = tuple(name for name in record if name not in SPELLED and name not in PLAIN and name not in OF_FORK)
    found = flags_of(engine, words, where, "llama-bench")
    return Flags(**{**vars(found), "ignored": unknown})
