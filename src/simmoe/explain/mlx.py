"""mlx_lm.generate and mlx_lm.benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterator

from simmoe.explain.rows import DECODE, PROMPT, Row, behind_prompt, flags_of, number

SPOKEN = re.compile(r"(Prompt|Generation): (\d+) tokens, ([\d.]+) tokens-per-sec")
ASKED = re.compile(r"Timing with prompt_tokens=(\d+), generation_tokens=(\d+), batch_size=(\d+)")
TRIAL = re.compile(r"(?:Trial \d+|Averages):\s+prompt_tps=([\d.]+), generation_tps=([\d.]+)")


def rows(lines: list[str]) -> Iterator[Row]:
    yield from _generate(lines)
    yield from _benchmark(lines)


def _generate(lines: list[str]) -> Iterator[Row]:
    read = 0
    for i, one in enumerate(lines):
        if found := SPOKEN.search(one):
            where, tokens = f"line {i + 1}", int(found[2])
            if found[1] == "Prompt":
                read = tokens
                yield Row(i + 1, PROMPT, number(found[3], where), flags_of("mlx", [("--prompt-tokens", read)], where))
            else:
                flags = flags_of("mlx", [("--prompt-tokens", read), ("--max-tokens", tokens)], where)
                yield Row(i + 1, DECODE, number(found[3], where), behind_prompt(flags))


def _benchmark(lines: list[str]) -> Iterator[Row]:
    """The averages; of an output that was cut off before them, each trial."""
    asked = next((found for found in map(ASKED.search, lines) if found), None)
    trials = [(i + 1, found) for i, one in enumerate(lines) if (found := TRIAL.search(one))]
    averages = [(line, found) for line, found in trials if found[0].startswith("Averages")]
    for line, found in averages or trials:
        where = f"line {line}"
        words = [("--prompt-tokens", asked[1]), ("--max-tokens", asked[2]), ("--batch-size", asked[3])] if asked else []
        flags = flags_of("mlx", words, where)
        yield Row(line, PROMPT, number(found[1], where), flags)
        yield Row(line, DECODE, number(found[2], where), behind_prompt(flags))
