"""The measurements, one row of rows.csv each."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

ROWS = Path(__file__).parent / "rows.csv"


@dataclass(frozen=True)
class Row:
    """One measured speed of one sequence, and what is known of the setup; empty texts and 0 say that a column does not apply."""

    id: str
    source: str
    engine: str  # family and backend: llama.cpp CUDA, ik_llama.cpp CPU, MLX ...
    build: str
    model: str  # bundled, or in models.yaml
    quant: str  # in the words of the source
    format: str  # how the bytes of the file are found: shapes.py
    file_bytes: int
    gpu: str  # name of a profile; empty: the CPU alone
    host: str
    flags: str  # in the engine's own words
    phase: str  # decode | prompt
    tokens: int  # generated, or of the prompt
    depth: int  # positions that are there before
    microbatch: int  # tokens that a pass reads at most
    threads: int
    on_cpu: int  # layers whose experts lie in host memory, counted over the blocks from 0, dense ones too
    cpu_share: float  # of such a layer's expert bytes; 1 where empty
    kv: str  # format of the KV cache; empty: f16
    top_k: int  # where it is not the model's
    misses: float  # experts loaded for each pass, of a cache over the link
    measured: float  # tok/s
    kind: str  # column `class`: the class that errors are printed by
    machine: str  # device and host, however the source names them
    assumed: str
    flagged: str  # why the row is neither fitted nor judged

    @property
    def mean_depth(self) -> float:
        """Positions that the middle token of a decode run finds."""
        return self.depth + self.tokens / 2 if self.phase == "decode" else float(self.depth)

    @property
    def pass_tokens(self) -> int:
        """Tokens that a pass reads."""
        return 1 if self.phase == "decode" else min(self.microbatch, self.tokens)


def read(path: Path = ROWS) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> Row:
    line["kind"] = line.pop("class")
    empty = {"cpu_share": 1.0}
    kinds = {one.name: str(one.type) for one in fields(Row)}
    made = {"int": int, "float": float, "str": str}
    return Row(
        **{
            name: made[kinds[name]](text) if text else empty.get(name, made[kinds[name]]())
            for name, text in line.items()
        }
    )
