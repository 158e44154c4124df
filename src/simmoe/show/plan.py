"""What `simmoe plan` prints: a table of the best command lines, the lines, and what would help."""

from __future__ import annotations

from dataclasses import replace

from simmoe.play.buffers import BESIDE_BYTES
from simmoe.play.plan_fit import MARGIN_BYTES, Fit
from simmoe.play.plan_search import BEST, GENERATED, TIE, Search, speed_of
from simmoe.play.plan_setup import Choice, Speed
from simmoe.play.planning import CommandLines
from simmoe.show.grid import Column, Grid, only
from simmoe.show.screen import Screen
from simmoe.simulator.units import nbytes

SHOWN = 2  # patterns of a long -ot
GOALS = {
    "decode": "most tokens a second behind a prompt",
    "prompt": "most tokens a second of a prompt",
    "both": "least time for prompt and answer",
}
COLUMNS = (
    Column("", text=True),
    Column("decode tok/s"),
    Column("prompt tok/s"),
    Column("TTFT", rank=2),
    Column("in and out"),
    Column("card left"),
    Column("host left", rank=3),
    Column("decode waits for", text=True, rank=1),
    Column("prompt waits for", text=True, rank=1),
)


def show_plan(found: CommandLines, out: Screen) -> None:
    search = found.search
    model = search.shapes[None]
    out.print(
        f"{model.name} at {model.format} on {search.hw.title} under {search.runtime.title}, context {search.context:,}. Best: "
        f"{GOALS[search.goal]} of {search.prompt:,} tokens and {GENERATED} behind it; all simulated, with the ends of the profile's and "
        f"the engine's ranges and what its laws leave.{_host(search)}",
        lead="Simulated: ",
    )
    for text in found.notes:
        out.print(text)
    out.table(_table(found))
    tied = search.ties([one.setup for one in found.choices])
    if tied > 1:
        equal = f"{', '.join(f'{i}.' for i in range(1, tied))} and {tied}."
        out.print(f"{equal} are equal within {TIE:.0%}; the one that leaves more {_memory(search)} stands first.")
    if len(found.choices) < BEST:
        out.print("Command lines that are slower than one of these at prompts and at decode are left out.")
    for i, choice in enumerate(found.choices):
        out.print(f"{i + 1}.")
        out.command(choice.command)
    if not search.is_file:
        out.print(f"{_stands_for(found)} of the model.")
    _show_more(found, out)


def _table(found: CommandLines) -> Grid:
    """Without a card of its own memory there is one memory, and a CPU may be the device."""
    search = found.search
    grid = Grid(COLUMNS, tuple(_row(i + 1, one) for i, one in enumerate(found.choices)))
    if _apart(search):
        return grid
    device = "CPU" if search.hw.device.name == "cpu" else "device"
    rows = tuple(tuple(device if cell == "device" else cell for cell in row) for row in grid.rows)
    columns = tuple(replace(one, name="memory left") if one.name == "card left" else one for one in COLUMNS)
    return only(Grid(columns, rows), [i for i, one in enumerate(columns) if one.name != "host left"])


def _apart(search: Search) -> bool:
    """Whether the device has a memory of its own."""
    return search.space.host_bytes is not None


def _memory(search: Search) -> str:
    return "of the card's memory" if _apart(search) else "memory"


def _row(rank: int, choice: Choice) -> tuple[str, ...]:
    host = "–" if choice.host_left_bytes is None else nbytes(choice.host_left_bytes)
    return (
        f"{rank}.", _speed(choice.decode), _speed(choice.prompt), _seconds(choice.ttft_s), _seconds(choice.seconds),
        nbytes(choice.device_left_bytes), host, choice.decode_bound, choice.prompt_bound,
    )  # fmt: skip


def _speed(speed: Speed) -> str:
    return f"{_number(speed.value)} ({_number(speed.low)}–{_number(speed.high)})"


def _seconds(time: Speed) -> str:
    return f"{time.value:.3g} s ({time.high:.3g}–{time.low:.3g})"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _show_more(found: CommandLines, out: Screen) -> None:
    best, search = found.choices[0], found.search
    parts = ", ".join(f"{name} {nbytes(size)}" for name, size in best.device.items() if name != "total")
    cards = len(search.hw.devices)
    where = f"On the card{'s' * (cards > 1)}" if _apart(search) else "In memory"
    each = " on each" if cards > 1 else ""
    kept = f"{nbytes(BESIDE_BYTES)} of compute{each} are what {_driver(search)} keeps beside its buffers (assumed)"
    out.print(f"{where} with 1.: {parts}; {kept}.")
    if all(one.setup.kv_format for one in found.choices) and (plain := search.plainest()):
        decode, prompt = (_number(speed_of(search.played(plain, which))) for which in (True, False))
        out.print(
            f"A KV cache in {best.setup.kv_format} costs precision; without, the best has decode {decode}, prompt {prompt} tok/s:"
        )
        out.command(search.line(plain))
    for gain in found.gains:
        out.print(f"With {gain.what}: decode {gain.decode - 1:+.0%}, prompt {gain.prompt - 1:+.0%}.")
    if found.fit is not None and best.setup.away:
        _show_fit(found.fit, best, out)
    if best.flags.mmap is False:
        out.print(
            "-lm none (older builds: --no-mmap) keeps the CPU's experts in pinned memory, from which copies are faster."
        )


def _show_fit(fit: Fit, best: Choice, out: Screen) -> None:
    kept = f"keeps {nbytes(MARGIN_BYTES)} of the card free where this keeps {nbytes(BESIDE_BYTES)}"
    out.print(
        f"llama-fit-params at the same -ub {best.setup.microbatch} would leave the experts of the last {fit.blocks} blocks to the CPU, of "
        f"the first of them perhaps a part, where 1. leaves those of the first {best.setup.away}: it {kept}, fills the card up by parts of "
        "a block, which no -ncmoe says, and weighs neither -ub nor the KV format by speed. It would print (--json has all of it):"
    )
    head, *patterns = fit.line.split(",")
    shown = [head, *patterns] if len(patterns) <= SHOWN else [head, patterns[0], "…", patterns[-1]]
    out.print(", ".join(shown))


def _stands_for(found: CommandLines) -> str:
    yours = [word for word in found.choices[0].command.split() if word.startswith("YOUR")]
    return f"{' and '.join(yours)} {'stand for your files' if yours[1:] else 'stands for your file'}"


def _host(search: Search) -> str:
    """How much memory the CPU's experts have room in; empty where there is none beside the device's."""
    cpu = search.hw.cpu
    host_bytes = search.space.host_bytes
    if cpu is None or host_bytes is None:
        return ""
    return (
        f" Host memory: {host_bytes / 2**30:,.0f} GiB, as the profile says (--set tiers.{cpu.memory}.capacity=128GiB)."
    )


def _driver(search: Search) -> str:
    return "CUDA" if "CUDA" in search.runtime.title else "the driver"
