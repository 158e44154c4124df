"""The table of absolute speed: errors first by machine and then over machines, in a terminal, as markdown and as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.sweeps.validation.absolute import rows as table
from simmoe.sweeps.validation.absolute.playing import Outcome

FOLDER = Path(__file__).parent
PLAYED = FOLDER / "played.json"
RULE = FOLDER / "rule.md"
LEFT_OUT = FOLDER / "left_out.csv"
FEWEST_MACHINES = 3  # a class with fewer has no bar, but for AMD and MLX
CLASSES = {  # of rows: what the table calls them, and the bars for mean and median in percent
    "cuda decode": ("llama.cpp CUDA, decode", 13, 10), "amd decode": ("llama.cpp on AMD, decode", 15, 11),
    "mlx decode": ("MLX, decode (a model left out)", 18, 15), "metal decode": ("llama.cpp Metal, decode", None, None),
    "nvidia vulkan decode": ("llama.cpp Vulkan on NVIDIA, decode", None, None),
    "cpu experts decode, known": ("experts on the CPU, decode, the host's rate known", 13, 10),
    "cpu experts decode": ("experts on the CPU, decode, only its RAM known", 30, 25),
    "layers on cpu decode": ("whole layers on the CPU (-ngl), decode", None, None),
    "kv on cpu decode": ("the cache in host memory (-nkvo), decode", None, None),
    "cpu only decode": ("CPU only, decode", None, 25),
    "cuda prompt": ("llama.cpp CUDA, prompts", 22, 16), "cuda few rows": ("llama.cpp CUDA, passes of 2 tokens", None, None),
    "amd prompt": ("llama.cpp Vulkan and ROCm, prompts", 28, 20), "mlx prompt": ("MLX, prompts (a model left out)", None, None),
    "metal prompt": ("llama.cpp and ik_llama.cpp Metal, prompts", None, None),
    "offload prompt": ("prompts with op offload, the link's rate known", 20, 10),
    "cpu experts prompt": ("prompts with experts computed on the CPU", None, None),
    "cpu only prompt": ("CPU only, prompts", None, None),
}  # fmt: skip
REPORTED = (
    "layers on cpu decode",
    "kv on cpu decode",
)  # kinds of rows that count in no total: single rows of one machine
POOLED = {
    "amd vulkan decode": "amd decode", "amd rocm decode": "amd decode", "amd vulkan prompt": "amd prompt",
    "amd rocm prompt": "amd prompt",
}  # fmt: skip
HEADINGS = (
    "engine, kind of machine, phase", "rows", "machines", "mean", "median", "worst", "in band", "band", "ideal: mean", "ideal: median",
    "bar", "reached",
)  # fmt: skip
ORDER_APART = 0.05  # measured speeds that differ by more are compared in pairs
WORST = 20
SERIES = 3  # runs of one series of which the order is printed


@dataclass(frozen=True)
class Line:
    """One class."""

    name: str
    outcomes: tuple[Outcome, ...]  # judged ones
    bars: tuple[int | None, int | None]

    @property
    def by_machine(self) -> dict[str, list[Outcome]]:
        found: dict[str, list[Outcome]] = {}
        for one in self.outcomes:
            found.setdefault(one.row.machine, []).append(one)
        return found

    def errors(self, ideal: bool = False) -> list[float]:
        """Of each machine the mean error of its rows."""
        return [fmean(off(one, ideal) for one in each) for each in self.by_machine.values()]

    @property
    def has_bar(self) -> bool:
        few = len(self.by_machine) < FEWEST_MACHINES
        return any(self.bars) and (not few or self.name.startswith(("llama.cpp on AMD", "llama.cpp Vulkan and", "MLX")))

    @property
    def reached(self) -> bool:
        found = (fmean(self.errors()), median(self.errors()))
        return all(bar is None or 100 * value <= bar for value, bar in zip(found, self.bars))


def off(one: Outcome, ideal: bool = False) -> float:
    return abs((one.ideal if ideal else one.predicted) / one.row.measured - 1)


def lines(outcomes: Sequence[Outcome], known: Sequence[Outcome] = ()) -> list[Line]:
    """known: the rows of experts on the CPU once more, with the rate of the host."""
    groups: dict[str, list[Outcome]] = {name: [] for name in CLASSES}
    for one in outcomes:
        if one.judged:
            groups[POOLED.get(one.row.kind, one.row.kind)].append(one)
    groups["cpu experts decode, known"] = [one for one in known if one.judged]
    return [
        Line(CLASSES[name][0], tuple(found), (CLASSES[name][1], CLASSES[name][2]))
        for name, found in groups.items()
        if found
    ]


def cells(line: Line) -> list[str]:
    errors, ideal = line.errors(), line.errors(True)
    worst = max(line.outcomes, key=off)
    widths = [(one.high - one.low) / 2 / one.predicted for one in line.outcomes]
    bar = " / ".join("–" if one is None else f"{one} %" for one in line.bars) if line.has_bar else ""
    inside = fmean(one.inside for one in line.outcomes)
    return [
        line.name, str(len(line.outcomes)), str(len(errors)), f"{fmean(errors):.1%}", f"{median(errors):.1%}",
        f"{worst.error:+.0%} ({worst.row.id})", f"{inside:.0%}", f"±{median(widths):.0%}", f"{fmean(ideal):.0%}", f"{median(ideal):.0%}",
        bar, ("yes" if line.reached else "no") if bar else "",
    ]  # fmt: skip


def order(outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """Pairs of one model, file, engine and metric whose speeds differ by more than 5 %, and how many of them are in order."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for one in outcomes:
        if one.judged and one.row.kind not in REPORTED:
            row = one.row
            groups.setdefault((row.model, row.quant, row.engine, row.phase, row.top_k), []).append(one)
    pairs = [
        (a, b)
        for group in groups.values()
        for a, b in combinations(group, 2)
        if abs(a.row.measured / b.row.measured - 1) > ORDER_APART
    ]
    right = sum((a.predicted > b.predicted) == (a.row.measured > b.row.measured) for a, b in pairs)
    return len(pairs), right


def totals(outcomes: Sequence[Outcome]) -> list[str]:
    judged = [one for one in outcomes if one.judged and one.row.kind not in REPORTED]
    pairs, right = order(outcomes)
    widths = [(one.high - one.low) / 2 / one.predicted for one in judged]
    marked = sum(bool(one.row.flagged) for one in outcomes)
    not_played = sum(bool(one.why_not) for one in outcomes)
    reported = sum(one.judged and one.row.kind in REPORTED for one in outcomes)
    return [
        f"{len(judged)} of {len(outcomes)} rows are judged; {marked} are marked and {not_played} not played, dense controls among them.",
        f"{reported} rows with whole layers or the cache on the CPU are reported only: they count in none of the following.",
        f"{fmean(one.inside for one in judged):.0%} of the judged rows lie inside their band, whose median width is ±{median(widths):.0%}.",
        f"{right} of {pairs} pairs of one model, file, engine and metric that are more than 5 % apart are in order ({right / pairs:.1%}).",
        *sweeps(judged),
    ]  # fmt: skip


def sweeps(judged: Sequence[Outcome]) -> list[str]:
    """The order within each series of runs that differ in the number of layers whose experts the CPU has, and in nothing else."""
    series: dict[tuple[str, ...], dict[int, Outcome]] = {}
    for one in judged:
        row = one.row
        if row.phase == "decode" and row.kind == "cpu experts decode":
            key = (row.machine, row.engine, row.model, row.quant, str(row.threads), str(row.depth))
            series.setdefault(key, {})[row.on_cpu] = one
    said = []
    for (machine, engine, model, *_), found in series.items():
        if len(found) >= SERIES:
            pairs, right = order(found.values())
            counts = ", ".join(map(str, sorted(found)))
            said.append(
                f"{machine}, {engine}, {model} with the experts of N = {counts} layers on the CPU: {right} of {pairs} pairs in order."
            )
    return said


def show(outcomes: Sequence[Outcome], known: Sequence[Outcome], out: Screen) -> None:
    out.print(
        ": engines as they were measured, constants fitted without the machine that is predicted.",
        lead="Absolute speed",
    )
    out.table(_grid(HEADINGS, [cells(line) for line in lines(outcomes, known)]))
    for text in totals(outcomes):
        out.print(text)


def _grid(headings: Sequence[str], body: Sequence[Sequence[str]]) -> Grid:
    texts = {HEADINGS[0], "worst", "bar", "reached", "row", "why"}
    return Grid(tuple(Column(name, 1, text=name in texts) for name in headings), tuple(map(tuple, body)))


# --- docs/validation.md -------------------------------------------------------------------------------------------------


def section(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> str:
    """What the page says of absolute speed."""
    worst = sorted((one for one in outcomes if one.judged), key=lambda one: (-off(one), one.row.id))[:WORST]
    marked = [one for one in outcomes if one.row.flagged and not one.why_not]
    parts = [
        "## Absolute speed", INTRODUCTION, _markdown(HEADINGS, [cells(line) for line in lines(outcomes, known)]),
        "\n".join(f"- {text}" for text in totals(outcomes)),
        f"### The {WORST} worst rows", _markdown(ROW_HEADINGS, [_row(one) for one in worst]),
        "### Rows that are marked", _markdown(ROW_HEADINGS, [_row(one) for one in marked]),
        RULE.read_text("utf-8").strip().replace("## ", "### "), "What was left out, by reason:", left_out(),
    ]  # fmt: skip
    return "\n\n".join(parts)


INTRODUCTION = """Engines as they were measured, `simmoe validate absolute`: every usable public measurement, played with an engine's
costs (`--runtime`) and constants that were fitted without the machine that is predicted (MLX: without the model). Errors are first
averaged by machine, then over machines. The band puts the ranges of the runtime's constants together as independent errors, with what
the laws leave on machines that they were not fitted on (14 % in decoding, 25 % in prompts, chosen over all rows); `ideal` is the same run
without an engine's costs."""
ROW_HEADINGS = ("row", "engine", "machine", "model, file", "what", "measured", "predicted", "error", "ideal", "why")


def _row(one: Outcome) -> list[str]:
    row = one.row
    what = f"{row.phase} {row.tokens}" + (f" at {row.depth:,}" if row.depth else "")
    return [
        row.id, f"{row.engine} {row.build}".strip(), row.machine, f"{row.model} {row.quant}", what, f"{row.measured:.4g}",
        f"{one.predicted:.4g}", f"{one.error:+.0%}", f"{one.ideal:.4g}", why(row),
    ]  # fmt: skip


def why(row: table.Row) -> str:
    """What is known of a row that is far off; not explained where nothing is."""
    if row.flagged:
        return row.flagged
    return next((said for said, asked in REASONS.items() if asked(row)), "not explained")


REASONS: dict[str, Callable[[table.Row], bool]] = {
    "ik_llama.cpp takes longer than copy and products in passes of 1,024 tokens and more: not explained": lambda row: (
        row.kind == "offload prompt" and row.engine.startswith("ik") and row.microbatch >= 1024
    ),
    "random tokens reach few of its experts, and only those are copied or computed": lambda row: (
        row.model == "gpt-oss-120b" and row.phase == "prompt"
    ),
    "few threads of a rented CPU: the rate of a thread is not known": lambda row: (
        row.host == "h200_vm" and 0 < row.threads < 16
    ),
    "weights that are not repacked for the CPU": lambda row: "-rtr 0" in row.flags,
    "a build of early 2025, weights on one of two sockets": lambda row: row.build == "early 2025",
    "two sockets under Windows, 20 threads: the memory of one is assumed": lambda row: row.host == "xeon_6138",
    "prompts on a CPU go by engine, build and instructions: one rate of a core does not carry": lambda row: (
        row.kind in ("cpu experts prompt", "cpu only prompt")
    ),
    "attention with a cache in host memory: what the CPU's kernels of it reach is not fitted, and this is the only row": lambda row: (
        row.kind == "kv on cpu decode"
    ),
    "an engine's early build for this format": lambda row: row.build == "2025" and row.model.startswith("gpt-oss"),
    "attention at depth under Vulkan in a build of 2025": lambda row: (
        "7423" in row.build and "Vulkan" in row.engine and row.depth > 0
    ),
    "one of two machines, whose constants come from the other": lambda row: row.kind.startswith("amd"),
    "ik_llama.cpp reads the same model 1.7 times as fast on the same machine": lambda row: (
        row.kind == "metal prompt" and row.engine == "llama.cpp Metal"
    ),
}


def left_out() -> str:
    """The counts of left_out.csv as a table."""
    with LEFT_OUT.open(encoding="utf-8", newline="") as file:
        body = list(csv.reader(file))
    return _markdown(body[0], body[1:])


def _markdown(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    every = [headings, ["---"] * len(headings), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in one) + " |" for one in every)


# --- JSON -----------------------------------------------------------------------------------------------------------------


def to_json(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "schema": 1,
        "kind": "absolute",
        "rows": [_said(one) for one in outcomes],
        "known": [_said(one) for one in known],
    }


def _said(one: Outcome) -> dict[str, Any]:
    if one.why_not:
        return {"id": one.row.id, "why_not": one.why_not}
    numbers = {name: float(f"{getattr(one, name):.6g}") for name in ("predicted", "low", "high", "ideal")}
    return {"id": one.row.id, **numbers}


def from_json(data: dict[str, Any]) -> tuple[list[Outcome], list[Outcome]]:
    """What to_json wrote, beside the rows of this version."""
    known_rows = {row.id: row for row in table.read()}

    def outcomes(said: list[dict[str, Any]]) -> list[Outcome]:
        return [
            Outcome(known_rows[one["id"]], **{key: value for key, value in one.items() if key != "id"}) for one in said
        ]

    return outcomes(data["rows"]), outcomes(data["known"])


def played() -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes that are committed beside the rows: `simmoe validate absolute --json > played.json` makes them."""
    return from_json(json.loads(PLAYED.read_text("utf-8")))
