"""What `simmoe explain` prints: measured beside simulated, one number for each kind of row, and a faster command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from simmoe.explain.expected import Expected, expected
from simmoe.explain.fitted import LINK, RESIDENT_DECODE, Fit, fits, layer_s
from simmoe.explain.rows import PROMPT, Row
from simmoe.play.plan import memory_of
from simmoe.play.plan_search import ENGINES, Choice, Search
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import Flags, written
from simmoe.policies.runtime import SECTIONS
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

FAR = 0.05  # a parameter count that differs more is another model's
WORTH = 1.03  # times as fast: less is not worth another command line
COLUMNS = (
    Column("line"),
    Column("phase", text=True),
    Column("tokens"),
    Column("flags", text=True, rank=1),
    Column("measured tok/s"),
    Column("simulated"),
    Column("simulated/measured"),
)


@dataclass(frozen=True)
class Explained:
    base: Scenario
    rows: list[Expected]
    fits: list[Fit]
    layer_s: float | None  # what a layer costs beside its bytes in decode
    faster: Choice | None
    gain: (
        tuple[float, float] | None
    )  # of `faster`: decode and prompt, simulated over simulated; None: nothing to compare with
    cautions: list[str]


def explained(base: Scenario, rows: Sequence[Row], said: Flags | None) -> Explained:
    """Raises UserError where no row can be simulated."""
    found = [expected(base, row, said) for row in rows]
    played = [one for one in found if one.runs]
    if not played:
        raise UserError(
            f"none of the {len(found)} rows can be simulated; the first, on line {found[0].row.line}: {found[0].why_not}"
        )
    fitted = fits(found)
    decode = next((fit for fit in fitted if fit.kind == RESIDENT_DECODE), None)
    faster, gain = _faster(base, played)
    each = None if decode is None else layer_s(found, decode)
    return Explained(base, found, fitted, each, faster, gain, _cautions(played))


def _cautions(played: list[Expected]) -> list[str]:
    model = played[0].runs[0].workload.model
    params = next((one.row.params for one in played if one.row.params), None)
    notes = [text for one in played for text in _does_not_fit(one)]
    if not params or abs(params / model.total_params - 1) <= FAR:
        return notes
    has = f"{model.name} has {model.total_params / 1e9:.3g} B"
    return [*notes, f"The rows are of a model of {params / 1e9:.3g} B parameters, and {has}: is it the one?"]


def _does_not_fit(one: Expected) -> list[str]:
    """The engine would have refused the flags of a row, or the driver spilled: what is fitted to it means nothing."""
    run = one.runs[0]
    memory = memory_of(run.workload, run.plan)
    if (
        run.workload.runtime is None
        or run.workload.runtime.streams
        or not (short := memory.short_by(memory.left_bytes))
    ):
        return []
    said = (
        f"Line {one.row.line}: the model does not fit on the device with these flags, {nbytes(short)} are missing; name those of the "
        "measurement, such as --flags '-ncmoe 24', before what is fitted is believed."
    )
    return [said]


def _faster(base: Scenario, played: list[Expected]) -> tuple[Choice | None, tuple[float, float] | None]:
    """The best that plan finds for prompts and decode together, where it beats every row in one of them and loses in none."""
    if base.engine_of_runtime().engine not in ENGINES:
        return None, None
    most = [max(one.row.flags.context or 0, (one.row.flags.depth or 0) + (one.row.tokens or 0)) for one in played]
    try:
        search = Search(base, "both", max(*most, 4608))
        choice = search.choice(search.best()[0])
    except UserError:
        return None, None
    best = {PROMPT: 0.0, "decode": 0.0}
    for one in played:
        if one.row.phase in best:
            best[one.row.phase] = max(best[one.row.phase], one.tok_s)
    gain = tuple(
        value / best[name] if best[name] else 1.0
        for name, value in (("decode", choice.decode.value), (PROMPT, choice.prompt.value))
    )
    return (choice, (gain[0], gain[1])) if max(gain) >= WORTH else (None, None)


def show_explained(found: Explained, out: Screen, written_to: str | None) -> None:
    workload = next(one for one in found.rows if one.runs).runs[0].workload
    runtime = found.base.engine_of_runtime()
    out.print(
        f"{len(found.rows)} measured rows beside {workload.memory.what} on {workload.hw.title} under {runtime.title}.",
        lead="Explained: ",
    )
    out.table(Grid(COLUMNS, tuple(_row(one, len(workload.model.layers)) for one in found.rows)))
    for one in found.rows:
        if one.why_not:
            out.print(f"Line {one.row.line} is not simulated: {one.why_not}.")
    for text in found.cautions:
        out.print(text)
    for fit in found.fits:
        out.print(_said(fit))
    if found.layer_s is not None:
        out.print(f"Beside its bytes a layer costs {found.layer_s * 1e6:.3g} µs of a token there.")
    if found.faster is not None and found.gain is not None:
        out.print(
            f"Faster, simulated: decode × {found.gain[0]:.2f}, prompt × {found.gain[1]:.2f} of the best of these rows with"
        )
        out.command(f"llama-server {written(found.faster.flags)}")
    if written_to:
        out.line(f"{written_to}: the engine with what was fitted; --runtime {written_to} plays it")


def _row(one: Expected, layers: int) -> tuple[str, ...]:
    row, flags = one.row, one.row.flags
    words = [f"ngl {flags.gpu_layers}"] if flags.gpu_layers is not None and flags.gpu_layers <= layers else []
    words += [f"ncmoe {flags.cpu_moe_blocks}"] if flags.cpu_moe_blocks else []
    words += [f"ub {flags.microbatch}"] if flags.microbatch else []
    words += [f"d {flags.depth}"] if flags.depth else []
    simulated = (f"{one.tok_s:.4g}", f"{one.ratio:.2f}") if one.runs else ("–", "–")
    return (
        str(row.line),
        row.phase,
        "–" if row.tokens is None else f"{row.tokens:,}",
        ", ".join(words),
        f"{row.tok_s:.4g}",
        *simulated,
    )


def _said(fit: Fit) -> str:
    text = f"{fit.kind}: {fit.rows} {'row' if fit.rows == 1 else 'rows'}, simulated {fit.ratio:.2f} × measured"
    if not fit.paths:
        return f"{text}; no constant is fitted."
    if fit.factor is None or fit.value is None:
        return f"{text}; no value of {fit.paths[0]} explains that: another part is the bottleneck. Usual causes: {fit.cause}."
    text += f"; {fit.paths[0]} of {_value(fit.paths[0], fit.value)} (× {fit.factor:.2f}) explains it"
    if fit.low is None or fit.high is None:
        return f"{text}. Usually behind a difference: {fit.cause}."
    low, high = (_value(fit.paths[0], end) for end in (fit.low, fit.high))
    text += f", {'inside' if fit.inside else 'outside'} the {low} to {high} of other machines"
    return f"{text}. Usual causes: {fit.cause}." if fit.cause else f"{text}."


def _value(path: str, value: float) -> str:
    """A constant in a unit that people read."""
    if path == LINK:
        return f"{value / 1e9:.3g} GB/s"
    section, _, name = path.partition(".")
    dimension = SECTIONS[section].get(name) or SECTIONS[section][f"{name}?"]
    scale, unit = {"time": (1e6, " µs"), "bandwidth": (1e-9, " GB/s")}.get(dimension, (1.0, ""))
    return f"{value * scale:.3g}{unit}" if value * scale < 999.5 else f"{value * scale:,.0f}{unit}"


def to_json(found: Explained) -> dict[str, Any]:
    return {
        "schema": 1, "runtime": found.base.engine_of_runtime().name, "hardware": found.base.machine().name,
        "rows": [
            {
                "line": one.row.line, "phase": one.row.phase, "tokens": one.row.tokens, "measured_tok_s": one.row.tok_s,
                "spread": one.row.spread, "simulated_tok_s": one.tok_s if one.runs else None, "why_not": one.why_not or None,
                "ignored": list(one.row.flags.ignored),
            }
            for one in found.rows
        ],
        "fits": [asdict(fit) | {"inside": fit.inside, "cause": fit.cause or None} for fit in found.fits],
        "layer_s": found.layer_s,
        "faster": found.faster and found.gain and {
            "command": f"llama-server {written(found.faster.flags)}", "decode": found.gain[0], "prompt": found.gain[1],
        },
        "cautions": found.cautions,
    }  # fmt: skip
