"""simmoe runtime: the engines whose costs a run can have."""

from __future__ import annotations

import argparse

from simmoe.cli.common import print_json


def runtime_list(a: argparse.Namespace) -> None:
    """simmoe runtime list"""
    from simmoe.policies import runtime as runtimes
    from simmoe.show.grid import Column, Grid
    from simmoe.show.screen import Screen

    known = [runtimes.load(name) for name in runtimes.names() if name != runtimes.IDEAL]
    if a.json:
        print_json({"schema": 1, "runtimes": [runtimes.said(one) for one in (None, *known)]})
        return
    columns = (
        Column("name", text=True),
        Column("what", text=True),
        Column("missing experts", text=True),
        Column("tokens a pass"),
    )
    rows = [
        (runtimes.IDEAL, "each launch costs its bytes or its FLOPs alone", "loaded", "as recorded"),
        (runtimes.USUAL, "llama.cpp as the machine has it: CUDA, ROCm, Metal or CPU", "refused", "512"),
    ]
    rows += [
        (
            one.name,
            one.title,
            "loaded" if one.streams else "refused",
            f"{one.microbatch:,}" if one.microbatch else "all",
        )
        for one in known
    ]
    Screen().table(Grid(columns, tuple(rows)))


def runtime_show(a: argparse.Namespace) -> None:
    """simmoe runtime show"""
    from simmoe.policies import runtime as runtimes
    from simmoe.show.grid import Column, Grid
    from simmoe.show.screen import Screen
    from simmoe.simulator.errors import UserError

    if a.name == runtimes.IDEAL:
        raise UserError("ideal has no constants: each launch costs its bytes or its FLOPs, at the rates of the profile")
    if a.name == runtimes.USUAL:
        raise UserError(
            "usual is no one engine: it is the llama.cpp of the machine, llama_cpp_metal of an Apple one, llama_cpp_rocm of an AMD one, "
            "llama_cpp_cpu without a GPU, else llama_cpp_cuda; show one of these"
        )
    one, out = runtimes.load(a.name), Screen()
    if a.json:
        print_json(runtimes.said(one))
        return
    out.print(f"{one.title}: builds {one.builds}")
    columns = (
        Column("constant", text=True),
        Column("value"),
        Column("range"),
        Column("kind", text=True),
        Column("source", text=True),
    )
    rows = [
        (path, figure.text, _range(path, figure.low, figure.high), figure.kind, figure.source)
        for path, figure in one.constants.items()
    ]
    out.table(Grid(columns, tuple(rows)))
    counts = ", ".join(f"{part} {count}" for part, count in one.kernels.items())
    out.print(f"Kernels of one pass, by part of a layer: {counts or 'none counted'}.")
    missing = "loads what is missing" if one.streams else "refuses what does not fit"
    much = f"prompts in passes of {one.microbatch:,} tokens" if one.microbatch else "prompts in one pass"
    out.print(f"It {missing}; {much}; experts in {one.host_memory} host memory; timeline {one.timeline}.")


def _range(path: str, low: float, high: float) -> str:
    """Ends of a range in the unit of the constant."""
    from simmoe.policies import runtime as runtimes
    from simmoe.simulator.units import text

    if low == high:
        return "–"
    section, _, name = path.partition(".")
    kind = runtimes.SECTIONS[section].get(name) or runtimes.SECTIONS[section][f"{name}?"]
    scale = {"time": 1e12, "bandwidth": 1.0, "bytes": 1.0}.get(kind)
    ends = (f"{end:g}" if scale is None else text(round(end * scale), kind) for end in (low, high))
    return " to ".join(ends)
