"""llama-batched-bench and ik_llama.cpp's llama-sweep-bench: a prompt and a decode speed in each line, as a table or as jsonl."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from simmoe.explain.rows import DECODE, PROMPT, Row, flags_of, number
from simmoe.explain.table import tables
from simmoe.simulator.errors import UserError

SETTINGS = re.compile(r"\b(n_batch|n_ubatch|flash_attn|n_gpu_layers|n_threads|n_threads_batch|n_kv_max) = (-?\d+)")
SPELLED = {
    "n_batch": "-b",
    "n_ubatch": "-ub",
    "flash_attn": "-fa",
    "n_gpu_layers": "-ngl",
    "n_threads": "-t",
    "n_threads_batch": "-tb",
    "n_kv_max": "-c",
}
COLUMNS = {"PP": "pp", "TG": "tg", "B": "pl", "N_KV": "n_kv", "S_PP t/s": "speed_pp", "S_TG t/s": "speed_tg"}


def rows(lines: list[str]) -> Iterator[Row]:
    settings = {
        name: value
        for one in lines
        if "n_kv_max" in one and not one.startswith("{")
        for name, value in SETTINGS.findall(one)
    }
    for line in tables(lines):
        if {"PP", "TG", "N_KV", "S_PP t/s", "S_TG t/s"} <= line.cells.keys():
            yield from _rows(
                line.number, {COLUMNS[name]: value for name, value in line.cells.items() if name in COLUMNS}, settings
            )
    for i, one in enumerate(lines):
        if one.startswith("{") and '"speed_pp"' in one:
            yield from _rows(i + 1, *_record(one, i + 1))


def _record(text: str, line: int) -> tuple[dict[str, str], dict[str, str]]:
    try:
        found = {name: str(value) for name, value in json.loads(text).items()}
    except ValueError as problem:
        raise UserError(f"line {line} is JSON that cannot be read: {problem}") from None
    return found, {name: value for name, value in found.items() if name in SPELLED}


def _rows(line: int, cells: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[Row]:
    """In a sweep (no column B) N_KV is what the cache holds before the prompt is read; in a batched run what it holds at the end."""
    where = f"line {line}"
    sweep = "pl" not in cells
    prompt, generate = (int(number(cells[name], where)) for name in ("pp", "tg"))
    before = int(cells["n_kv"]) if sweep and cells["n_kv"].isdecimal() else 0
    words = [
        (SPELLED[name], "auto" if (name, value) == ("flash_attn", "-1") else value) for name, value in settings.items()
    ]
    words += [] if sweep else [("-np", cells["pl"])]
    engine = "ik_llama.cpp" if sweep else "llama.cpp"
    for phase, name, tokens, depth in (
        (PROMPT, "speed_pp", ("-p", prompt), before),
        (DECODE, "speed_tg", ("-n", generate), before if sweep else prompt),
    ):
        flags = flags_of(engine, [*words, tokens, ("-d", depth)], where)
        yield Row(line, phase, number(cells[name], where), flags)
