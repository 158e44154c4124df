"""vLLM and SGLang: lines of their servers' logs, and the result of their serving benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from simmoe.explain.rows import DECODE, PROMPT, Row, behind_prompt, flags_of, middle, number
from simmoe.simulator.errors import UserError

VLLM = re.compile(
    r"Avg prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) tokens/s, Running: (\d+) reqs"
)
SGLANG = re.compile(
    r"Decode batch.*?#running-req: (\d+), .*?#(?:full )?token: (\d+),.*?gen throughput \(token/s\): ([\d.]+)"
)
PREFILL = re.compile(r"Prefill batch.*?#new-seq: (\d+), #new-token: (\d+),.*?input throughput \(token/s\): ([\d.]+)")
RESULT = "Serving Benchmark Result"
CONCURRENT = ("Maximum request concurrency", "Max request concurrency")
MEANS = {"ttft": "Mean TTFT (ms)", "tpot": "Mean TPOT (ms)"}


def rows(lines: list[str]) -> Iterator[Row]:
    yield from _vllm(lines)
    yield from _sglang(lines)
    for i, one in enumerate(lines):
        if RESULT in one:
            yield from _benchmark(lines, i)


def _vllm(lines: list[str]) -> Iterator[Row]:
    """Decode alone: intervals without a prompt, those with the same number of requests together; the first and last are cut short."""
    seen: dict[int, list[tuple[int, float]]] = {}
    for i, one in enumerate(lines):
        if (found := VLLM.search(one)) and not float(found[1]) and float(found[2]) and int(found[3]):
            seen.setdefault(int(found[3]), []).append((i + 1, float(found[2])))
    for running, speeds in seen.items():
        tok_s, spread = middle([speed for _, speed in speeds])
        flags = flags_of("vllm", [("--max-num-seqs", running)], f"line {speeds[0][0]}")
        yield Row(speeds[0][0], DECODE, tok_s, flags, spread)


def _sglang(lines: list[str]) -> Iterator[Row]:
    """The same of SGLang, which KTransformers runs on; what the caches hold is its #token."""
    seen: dict[int, list[tuple[int, float, int]]] = {}
    for i, one in enumerate(lines):
        if (found := SGLANG.search(one)) and int(found[1]) and float(found[3]):
            seen.setdefault(int(found[1]), []).append((i + 1, float(found[3]), int(found[2])))
        elif (found := PREFILL.search(one)) and float(found[3]):
            flags = flags_of(
                "sglang", [("--input-len", found[2]), ("--max-running-requests", found[1])], f"line {i + 1}"
            )
            yield Row(i + 1, PROMPT, float(found[3]), flags)
    for running, speeds in seen.items():
        tok_s, spread = middle([one[1] for one in speeds])
        depth = round(middle([one[2] for one in speeds])[0] / running)
        found_flags = flags_of(
            "sglang", [("--max-running-requests", running), ("--input-len", depth)], f"line {speeds[0][0]}"
        )
        yield Row(speeds[0][0], DECODE, tok_s, behind_prompt(found_flags), spread)


def _benchmark(lines: list[str], start: int) -> Iterator[Row]:
    """Time per output token of so many requests at once; the time to the first token is a prompt speed where requests come one by one."""
    where, said = f"line {start + 1}", _said(lines, start)
    running = next((said[name] for name in CONCURRENT if name in said), "")
    if not running.isdecimal():
        raise UserError(f"{where}: how many requests ran at once is not said: run with --max-concurrency")
    completed = number(said.get("Successful requests", 0), where)
    prompt = round(number(said.get("Total input tokens", 0), where) / completed)
    generate = round(number(said.get("Total generated tokens", 0), where) / completed)
    engine = "sglang" if "Backend" in said and "sglang" in said["Backend"] else "vllm"
    words = [("--max-concurrency", running), ("--input-len", prompt), ("--output-len", generate)]
    if running == "1" and MEANS["ttft"] in said:
        yield Row(
            start + 1, PROMPT, prompt / number(said[MEANS["ttft"]], where) * 1e3, flags_of(engine, words[:2], where)
        )
    if MEANS["tpot"] in said:
        speed = int(running) / number(said[MEANS["tpot"]], where) * 1e3
        yield Row(start + 1, DECODE, speed, behind_prompt(flags_of(engine, words, where)))


def _said(lines: list[str], start: int) -> dict[str, str]:
    said: dict[str, str] = {}
    for one in lines[start + 1 :]:
        name, colon, value = one.strip().partition(":")
        if set(one.strip()) == {"="}:
            break
        if colon:
            said.setdefault(name.strip(), value.strip())
    return said
