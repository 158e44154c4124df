"""llama.cpp's speed on this machine beside what simmoe says of it, from a calibration of the machine that runs no llama.cpp."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from simmoe.calibrate.backend import cores
from simmoe.calibrate.machine import Watch
from simmoe.calibrate.profile import BUSY
from tests.real import build, ggufs
from tests.real.shapes import SHAPES

PROMPT, NUMBER, REPEATS = 512, 32, 5  # tokens of a prompt, single tokens, and how often both are timed
LISTEN = 2.0  # seconds in which nothing of ours runs, to hear what others do
WHAT = {
    "prompt": PROMPT,
    "decode": NUMBER,
    "decode behind the prompt": NUMBER,
}  # tokens of each time that the driver prints
BAR = ("prompt", "decode")  # what counts; llama-bench's usual tests

Row = dict[str, Any]


class Busy(Exception):
    """Others use the machine."""


def quiet(force: bool) -> float:
    """Share of all cores that others have now. Raises Busy above a fifth, unless forced."""
    watch = Watch()
    time.sleep(LISTEN)
    foreign = watch.foreign()
    if foreign > BUSY and not force:
        raise Busy(f"other processes take {foreign:.0%} of the cores: end them, or take --force, which is written down")
    return foreign


def calibrated(folder: Path, force: bool) -> Path:
    """A profile of this machine, measured now."""
    profile = folder / "this_machine.yaml"
    _simmoe(
        "calibrate", "--device", "cpu", "--home", "memory", *["--force"] * force, "--out", profile,
        "--save-rows", folder / "this_machine.jsonl",
    )  # fmt: skip
    return profile


def model(name: str) -> Path:
    """The file of a model, written when it is first asked for."""
    path = build.folder() / "models" / f"{name}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        ggufs.write(path.with_suffix(".part"), SHAPES[name]).rename(path)
    return path


def measured(path: Path, threads: int, repeats: int) -> Row:
    """Tokens a second of each thing that is timed: median, least and most."""
    words = [build.driver(), "time", path, threads, PROMPT, NUMBER, repeats]
    lines = subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    columns = zip(*([float(word) for word in line.split()] for line in lines))
    found = {}
    for (what, tokens), seconds in zip(WHAT.items(), columns):
        found[what] = {
            "tok_s": tokens / statistics.median(seconds), "range": [tokens / max(seconds), tokens / min(seconds)],
        }  # fmt: skip
    return found


def routing(path: Path) -> dict[int, dict[int, int]]:
    """For each MoE layer how many tokens of a prompt chose each expert. The last layer computes the last token alone."""
    words = [build.driver(), "routing", path, 1, PROMPT]
    lines = subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split() for line in lines]
    return {
        int(layer): {int(one): int(number) for one, number in (pair.split(":") for pair in pairs)}
        for layer, *pairs in rows
    }


def predicted(profile: Path, path: Path, threads: int) -> dict[str, float]:
    """The same three speeds as `simmoe run` tells them."""
    behind, empty = (_played(profile, path, threads, prompt) for prompt in (PROMPT, 1))
    return {
        "prompt": behind["prompt_tok_s"], "decode": empty["tok_s"], "decode behind the prompt": behind["tok_s"],
    }  # fmt: skip


def _played(profile: Path, path: Path, threads: int, prompt: int) -> dict[str, Any]:
    text = _simmoe(
        "run", "--hw", profile, "--model", path, "--format", "stored", "--runtime", "llama_cpp_cpu", "--threads", threads,
        "--routing", "uniform", "--prompt", prompt, "--generate", NUMBER, "--json",
    )  # fmt: skip
    return dict(json.loads(text))


def _simmoe(*words: object) -> str:
    whole = [sys.executable, "-m", "simmoe", *map(str, words)]
    return subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(folder: Path, force: bool, repeats: int = REPEATS) -> Row:
    """Calibrates, then measures and predicts every model at one and two threads."""
    foreign = [quiet(force)]
    profile, found = calibrated(folder, force), list[Row]()
    for name in SHAPES:
        path = model(name)
        foreign.append(quiet(force))
        for threads in (1, 2):
            seen, said = measured(path, threads, repeats), predicted(profile, path, threads)
            for what in WHAT:
                row = {
                    "model": name,
                    "threads": threads,
                    "what": what,
                    "measured": seen[what]["tok_s"],
                    "range": seen[what]["range"],
                }
                found.append({**row, "predicted": said[what], "counts": what in BAR})
    return {
        "llama_cpp_python": build.VERSION, "device": _processor(), "day": datetime.date.today().isoformat(), "foreign": max(foreign),
        "repeats": repeats, "rows": found,
    }  # fmt: skip


def _processor() -> str:
    """As the system names it, with the cores that may be used."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {cores()} cores"


def errors(rows: list[Row]) -> list[float]:
    """By how much the predicted speed is beside the measured one, of the rows that count."""
    return [abs(row["predicted"] / row["measured"] - 1) for row in rows if row["counts"]]


def table(found: Row) -> str:
    """In Markdown."""
    rows = found["rows"]
    lines = ["| model | threads | tok/s of | measured | range | simulated | error |", "|---|--:|---|--:|--:|--:|--:|"]
    for row in rows:
        low, high = row["range"]
        cells = (
            row["model"], row["threads"], row["what"], f"{row['measured']:.1f}", f"{low:.1f} to {high:.1f}",
            f"{row['predicted']:.1f}", f"{row['predicted'] / row['measured'] - 1:+.0%}" + (" (outside the bar)" * (not row["counts"])),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    some = errors(rows)
    where = f"{found['device']}, {found['day']}, medians of {found['repeats']} repeats, {found['foreign']:.0%} of the cores taken by others"
    end = f"{where}. Mean error {statistics.mean(some):.1%}, worst {max(some):.1%} of the {len(some)} rows inside the bar."
    return "\n".join([*lines, "", end])
