"""What `simmoe explain` prints: measured beside simulated, one number for each kind of row, and a faster command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from simmoe.explain.causes import INSTEAD, RESIDENT_DECODE
from simmoe.explain.expected import Expected, expected
from simmoe.explain.faster import Faster, faster
from simmoe.explain.fitted import LINK, Fit, fits, layer_s
from simmoe.explain.rows import Row
from simmoe.explain.told import size_caution
from simmoe.play.plan import memory_of
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import Flags, written
from simmoe.policies.runtime import SECTIONS
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

FLAGS = {  # that make an engine keep a part of the model off the device
    "llama.cpp": "-ncmoe 24", "ik_llama.cpp": "-ncmoe 24", "vllm": "--cpu-offload-gb 8", "ktransformers": "--kt-num-gpu-experts 8",
}  # fmt: skip
FAR = 0.05  # a parameter count that differs more is another model's
COLUMNS = (
    Column("line"),
    Column("phase", text=True),
    Column("tokens"),
    Column("flags", text=True, rank=1),
    Column("measured tok/s"),
    Column("simulated"),
    Column("range"),
    Column("simulated/measured", rank=1),
    Column("measured is", text=True),
)


@dataclass(frozen=True)
class Explained:
    base: Scenario
    rows: list[Expected]
    fits: list[Fit]
    layer_s: float | None  # what a layer costs beside its bytes in decode
    faster: Faster | None
    cautions: list[str]
    notes: tuple[str, ...]  # what was taken from the output, and what contradicts it


def explained(base: Scenario, rows: Sequence[Row], said: Flags | None, notes: tuple[str, ...] = ()) -> Explained:
    """Raises UserError where no row can be simulated."""
    found = [expected(base, row, said) for row in rows]
    played = [one for one in found if one.runs]
    if not played:
        raise UserError(
            f"none of the {len(found)} rows can be simulated; the first, on line {found[0].row.line}: {found[0].why_not}"
        )
    fitted = fits(found)
    decode = next((fit for fit in fitted if fit.kind == RESIDENT_DECODE), None)
    better = faster(base, played)
    each = None if decode is None else layer_s(found, decode)
    return Explained(base, found, fitted, each, better, _cautions(played), notes)


def _cautions(played: list[Expected]) -> list[str]:
    model = played[0].runs[0].workload.model
    params = next((one.row.params for one in played if one.row.params), None)
    notes = [text for one in played for text in _does_not_fit(one)]
    if not params or abs(params / model.total_params - 1) <= FAR:
        return [*notes, *(caution for one in played[:1] if (caution := size_caution(one.row, model)))]
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
    example = FLAGS.get(run.workload.runtime.engine)
    such = f", such as --flags '{example}'," if example else ""
    said = (
        f"Line {one.row.line}: the model does not fit on the device with these flags, {nbytes(short)} are missing; name those of the "
        f"measurement{such} before what is fitted is believed."
    )
    return [said]


def show_explained(found: Explained, out: Screen, written_to: str | None) -> None:
    workload = next(one for one in found.rows if one.runs).runs[0].workload
    runtime = found.base.engine_of_runtime()
    rows = f"{len(found.rows)} measured {'row' if len(found.rows) == 1 else 'rows'}"
    out.print(
        f"{rows} beside {workload.memory.what} on {workload.hw.title} under {runtime.title}.",
        lead="Explained: ",
    )
    for text in found.notes:
        out.print(text)
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
    if found.faster is not None:
        gains = ", ".join(f"{phase} × {gain:.2f}" for phase, gain in found.faster.gains.items())
        out.print(f"Faster, simulated: {gains} of the best of these rows at their own lengths, with")
        out.command(command_of(found.faster.flags))
    if written_to:
        out.line(f"{written_to}: the engine with what was fitted; --runtime {written_to} plays it")


def command_of(flags: Flags) -> str:
    return f"llama-server {written(flags)}"


def _row(one: Expected, layers: int) -> tuple[str, ...]:
    row, flags = one.row, one.row.flags
    words = [f"ngl {flags.gpu_layers}"] if flags.gpu_layers is not None and flags.gpu_layers <= layers else []
    words += [f"ncmoe {flags.cpu_moe_blocks}"] if flags.cpu_moe_blocks else []
    words += [f"ub {flags.microbatch}"] if flags.microbatch else []
    words += [f"d {flags.depth}"] if flags.depth else []
    simulated = ("–", "–", "–", "–")
    if one.runs:
        where = "inside" if one.inside else "slower" if row.tok_s < one.low else "faster"
        simulated = (f"{one.tok_s:.4g}", f"{one.low:.4g}–{one.high:.4g}", f"{one.ratio:.2f}", where)
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
    outside = fit.rows - fit.expected
    instead = not fit.possible or (bool(fit.paths) and fit.value is None and fit.ratio < 1 and fit.kind in INSTEAD)
    text += (
        "; inside what is expected" if not outside else f"; {outside} outside what is expected" if fit.expected else ""
    )
    if fit.paths:
        text += f"; {_number(fit)}"
    elif outside:
        text += "; no constant is fitted" + f": {fit.why}" * bool(fit.why)
    return f"{text}. Usual causes: {fit.cause}." if fit.cause and not instead else f"{text}."


def _number(fit: Fit) -> str:
    """What one constant would have to be, and whether it can be."""
    path = fit.paths[0]
    if fit.factor is None or fit.value is None:
        rest = f". What else it may be: {INSTEAD[fit.kind]}" if fit.ratio < 1 and fit.kind in INSTEAD else ""
        return f"no value of {path} explains that: another part is the bottleneck{rest}"
    text = f"{path} of {_value(path, fit.value)} (× {fit.factor:.2f})"
    if not fit.possible and fit.most is not None:
        most = f"{_value(path, fit.most)}, {fit.why}"
        return f"{text} would explain it and cannot be: the most is {most}. What else it may be: {INSTEAD[fit.kind]}"
    others = "" if fit.low is None or fit.high is None else f"{_value(path, fit.low)} to {_value(path, fit.high)}"
    if fit.expected == fit.rows:
        return f"{text} would make them equal" + (f" (other machines: {others})" if others else "")
    where = f", {'inside' if fit.inside else 'outside'} the {others} of other machines" if others else ""
    return f"{text} explains it{where}"


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
                "spread": one.row.spread, "simulated_tok_s": one.tok_s if one.runs else None,
                "range_tok_s": [one.low, one.high] if one.runs else None, "inside": one.inside if one.runs else None,
                "why_not": one.why_not or None,
                "ignored": list(one.row.flags.ignored),
            }
            for one in found.rows
        ],
        "fits": [asdict(fit) | {"inside": fit.inside, "possible": fit.possible, "cause": fit.cause or None} for fit in found.fits],
        "layer_s": found.layer_s,
        "faster": found.faster and {"command": command_of(found.faster.flags), **found.faster.gains},
        "cautions": found.cautions, "notes": list(found.notes),
    }  # fmt: skip
