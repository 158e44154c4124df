"""The tables of docs/performance.md, made of the figures of one run; nothing in them is typed.

A table stands between `<!-- benchmark NAME -->` and `<!-- end -->`. Tables of figures that a run did not make stay as they are.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
LANES = ("a100", "jetson_orin"), ("qwen3_30b_general", "gptoss20b_gpqa", "phone_gemma4_26b")  # of benchmarks/lanes.py
OURS, ONE, THEIRS = "events + clock", "one-expert events", "libcachesim"
LEAST = {"fifo": 2.0, "lfu": 2.5, "lfu_resident": 2.5, "belady": 2.5}  # × libcachesim with clocks; 1.5 for all others
Figures = Mapping[str, float]


def tables(found: Figures, lanes: Sequence[str], rounds: int) -> dict[str, str]:
    """The text of each table, by its name. lanes: lines of benchmarks/lanes.py; none where only a group was run."""
    policies = {policy: row for policy, row in _by_policy(found).items() if row}
    made = {"machine": _machine(rounds), "lanes": "\n".join(lanes)} if lanes else {}  # of a whole run
    plain = {
        name: value
        for name, value in found.items()
        if f", {THEIRS}" not in name and OURS not in name and ONE not in name
    }
    groups: dict[str, Callable[[str], bool]] = {
        "curves": lambda name: " sizes" in name or "curve" in name,
        "start": lambda name: "CPU s" in name,
        "engines": lambda name: not (" sizes" in name or "curve" in name or "CPU s" in name),
    }
    for name, mine in groups.items():
        rows = {what: value for what, value in (found if name == "curves" else plain).items() if mine(what)}
        made[name] = _figures(rows) if rows else ""
    if policies:
        made["peer"] = _peer(policies, OURS)
        made["peer one"] = _peer(policies, ONE)
        made["goals"] = _goals(policies)
    return {name: text for name, text in made.items() if text}


def write(made: Mapping[str, str], path: Path = PAGE) -> None:
    """Put them where they belong. Raises ValueError for a table that has no place."""
    text = path.read_text("utf-8")
    for name, table in made.items():
        place = re.compile(f"(<!-- benchmark {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"{path.name} has no place for the table {name!r}")
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)  # type: ignore[misc]
    path.write_text(text, "utf-8")


def number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _machine(rounds: int) -> str:
    names = ("numpy", "numba", "simpy", "libcachesim")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    load = os.getloadavg()[0]
    return (
        f"Made by `python -m benchmarks --rounds {rounds} --page` on {date.today().isoformat()}: {os.cpu_count()} cores ({_processor()}), "
        f"Python {platform.python_version()}, {libraries};\nload of the machine at the end, this process included: {load:.1f}."
    )


def _processor() -> str:
    found = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    return found[1] if found else platform.processor() or platform.machine()


def _figures(rows: Figures) -> str:
    return "\n".join(
        ["| figure | value |", "|---|---|", *(f"| {what} | {number(value)} |" for what, value in rows.items())]
    )


def _by_policy(found: Figures) -> dict[str, dict[str, dict[str, float]]]:
    """ns per access by policy, trace and contestant."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in found.items():
        if match := re.fullmatch(rf"(.*), (\w+), ({re.escape(OURS)}|{ONE}|{THEIRS}), ns/access", name):
            rows.setdefault(match[2], {}).setdefault(match[1], {})[match[3]] = value
    return rows


def _peer(policies: Mapping[str, Mapping[str, Mapping[str, float]]], contestant: str) -> str:
    """A row for each policy: ours and libcachesim's time on each trace, and how many times as long libcachesim takes."""
    traces = list(next(iter(policies.values())))
    lines = [f"| policy | {' | '.join(traces)} |", "|---" * (len(traces) + 1) + "|"]
    for policy, row in policies.items():
        cells = (
            f"{number(row[trace][contestant])}, {number(row[trace][THEIRS])}: **{row[trace][THEIRS] / row[trace][contestant]:.2f}**"
            for trace in traces
        )
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _goals(policies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = ["| policy | goal | reached, least to most | on how many traces |", "|---|---|---|---|"]
    for policy, row in policies.items():
        ratios, goal = [one[THEIRS] / one[OURS] for one in row.values()], LEAST.get(policy, 1.5)
        enough = sum(ratio >= goal for ratio in ratios)
        lines.append(f"| {policy} | {goal:g} | {min(ratios):.2f} – {max(ratios):.2f} | {enough} of {len(ratios)} |")
    return "\n".join(lines)
