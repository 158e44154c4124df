"""Timings that llama-server, llama-cli, ollama and KTransformers' local_chat print behind each request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from simmoe.explain.rows import DECODE, PROMPT, Row, flags_of, number
from simmoe.simulator.errors import UserError

TIMED = re.compile(r"(prompt )?eval time\s*=\s*([\d.]+) ms /\s*(\d+) (?:tokens|runs)")
COUNT = re.compile(r"(?:^|\s)(prompt )?eval count:\s+(\d+) token")
RATE = re.compile(r"(?:^|\s)(prompt )?eval rate:\s+([\d.]+) tokens/s")
DRAFTED = re.compile(r"draft acceptance (?:rate )?\s*=")
LOGGED = (  # what llama.cpp logs of the run -> its flag
    ("-c", re.compile(r"llama_context(?:_\w+)?: n_ctx\s+= (\d+)")),
    ("-b", re.compile(r"llama_context(?:_\w+)?: n_batch\s+= (\d+)")),
    ("-ub", re.compile(r"llama_context(?:_\w+)?: n_ubatch\s+= (\d+)")),
    ("-fa", re.compile(r"llama_context(?:_\w+)?: flash_attn\s+= (\w+)")),
    ("-ngl", re.compile(r"offloaded (\d+)/\d+ layers to GPU")),
    ("-t", re.compile(r"system_info: n_threads = (\d+)")),
    ("-m", re.compile(r"loaded meta data with .* from (\S+) \(version")),
)
SIZE = re.compile(r"file size\s+= ([\d.]+) (MiB|GiB)")
TYPE = re.compile(r"(?:file type|model ftype)\s+= (.+)")
PARAMS = re.compile(r"model params\s+= ([\d.]+) B")
NAME = re.compile(r"general\.name\s+= (.+)")
DEVICE = re.compile(r"(?:Device 0: |GPU name:\s+|ggml_vulkan: 0 = )(.+?)(?:,| \||$)")
LEAST = 2  # tokens: one is no speed


def rows(lines: list[str]) -> Iterator[Row]:
    if drafted := next((i + 1 for i, one in enumerate(lines) if DRAFTED.search(one)), 0):
        raise UserError(f"line {drafted}: the run drafted tokens, and speculative decoding is not simulated")
    words, about = _logged(lines)
    read = 0
    for line, phase, tokens, seconds in (*_timed(lines), *_rated(lines)):
        if tokens < LEAST or not seconds:
            continue
        where = f"line {line}"
        work = [("-p", tokens)] if phase == PROMPT else [("-n", tokens), *([("-d", read)] if read else [])]
        read = tokens if phase == PROMPT else 0
        yield Row(line, phase, tokens / seconds, flags_of("llama.cpp", [*words.items(), *work], where), **about)


def _timed(lines: list[str]) -> Iterator[tuple[int, str, int, float]]:
    for i, one in enumerate(lines):
        if found := TIMED.search(one):
            yield i + 1, PROMPT if found[1] else DECODE, int(found[3]), float(found[2]) / 1e3


def _rated(lines: list[str]) -> Iterator[tuple[int, str, int, float]]:
    """A count and, some lines behind it, its rate."""
    counts: dict[str, int] = {}
    for i, one in enumerate(lines):
        if found := COUNT.search(one):
            counts[PROMPT if found[1] else DECODE] = int(found[2])
        elif found := RATE.search(one):
            phase = PROMPT if found[1] else DECODE
            if phase in counts:
                tokens = counts.pop(phase)
                yield i + 1, phase, tokens, tokens / number(found[2], f"line {i + 1}")


def _logged(lines: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Flags and the model, as the log of the same run says them; what stands last counts, as a server may load twice."""
    words: dict[str, str] = {}
    about: dict[str, Any] = {}
    for one in lines:
        for flag, pattern in LOGGED:
            if found := pattern.search(one):
                words[flag] = found[1]
        if found := SIZE.search(one):
            about["size_bytes"] = round(float(found[1]) * {"MiB": 2**20, "GiB": 2**30}[found[2]])
        if found := TYPE.search(one):
            about["format"] = found[1].strip()
        if found := PARAMS.search(one):
            about["params"] = round(float(found[1]) * 1e9)
        if found := NAME.search(one):
            about["model"] = found[1].strip()
        if (found := DEVICE.search(one)) and "device" not in about:
            about["device"] = found[1].strip()
    return words, about
