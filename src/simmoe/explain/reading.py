"""The output of a benchmark, or the log of a server -> its rows."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path

from simmoe.explain import batched, given, llama_bench, mlx, served, timings
from simmoe.explain.rows import Row
from simmoe.simulator.errors import UserError

READERS: tuple[Callable[[list[str]], Iterable[Row]], ...] = (
    llama_bench.records,
    llama_bench.table,
    batched.rows,
    timings.rows,
    served.rows,
    mlx.rows,
)
KNOWN = (
    "llama-bench (json, jsonl, md, csv, sql), llama-batched-bench, llama-sweep-bench, the timings of llama-server, llama-cli and "
    "ollama, vLLM's and SGLang's logs and serving benchmarks, mlx_lm, or tok_s=12.3 in place of a file"
)
MOST_BYTES = 50_000_000
MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"))


def measured(source: str) -> list[Row]:
    """Rows of a file, in its order, or of what is typed in its place (tok_s=12.3)."""
    path = Path(source)
    if not path.exists() and "=" in source:
        return given.rows(source)
    return rows_of(_text(path), str(path))


def rows_of(text: str, where: str) -> list[Row]:
    lines = text.splitlines()
    try:
        found = [row for reader in READERS for row in reader(lines)]
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from None
    if not found:
        first = next(
            (f"line {i + 1}: {one.strip()[:80]!r}" for i, one in enumerate(lines) if one.strip()), "the file is empty"
        )
        raise UserError(f"{where}: no measured speed is found ({first}); known are {KNOWN}")
    return sorted(found, key=lambda row: row.line)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has more than {MOST_BYTES // 10**6} MB: cut out the part with the speeds")
        content = path.read_bytes()
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror or problem}") from None
    coding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    return content.decode(coding, errors="replace")
