"""simmoe model: list, show and import shapes."""

from __future__ import annotations

import argparse
from pathlib import Path

from simmoe.cli.common import print_json


def model_list(a: argparse.Namespace) -> None:
    """simmoe model list"""
    from simmoe.show.grid import Column, Grid
    from simmoe.show.screen import Screen
    from simmoe.simulator.units import nbytes
    from simmoe.workloads import models

    shapes = [models.load(name) for name in models.available()]
    rows = [
        {"name": m.name, "params": m.total_params, "moe_layers": len(m.moe_layers), "experts": m.n_experts, "top_k": m.top_k,
         "expert_bytes": m.all_expert_bytes, "dense_bytes": m.dense_bytes, "format": m.format}
        for m in shapes
    ]  # fmt: skip
    if a.json:
        print_json({"schema": 1, "models": rows})
        return
    out = Screen()
    out.print("Bundled model shapes, in the format that they were released in; others with --format")
    columns = (Column("name", text=True), Column("parameters"), Column("MoE layers", 1), Column("experts"), Column("top-k"),
               Column("format", 3, text=True), Column("of routed experts"), Column("dense", 2))  # fmt: skip
    cells = (
        (str(row["name"]), _billions(m.total_params), *(str(row[key]) for key in ("moe_layers", "experts", "top_k", "format")),
         nbytes(m.all_expert_bytes), nbytes(m.dense_bytes))
        for row, m in zip(rows, shapes)
    )  # fmt: skip
    out.table(Grid(columns, tuple(cells)))


def _billions(params: int) -> str:
    return f"{params / 1e9:,.0f} B" if params >= 1e12 else f"{params / 1e9:.3g} B"


def model_show(a: argparse.Namespace) -> None:
    """simmoe model show"""
    from simmoe.show import layers
    from simmoe.show.screen import Screen
    from simmoe.simulator.nouns.model import FEATURES
    from simmoe.simulator.units import nbytes
    from simmoe.workloads import models

    model = models.load(a.name, a.format)
    kinds = layers.by_kind(model)
    if a.json:
        said = {"name": model.name, "format": model.format, "params": model.total_params, "top_k": model.top_k,
                "expert_bytes": model.all_expert_bytes, "dense_bytes": model.dense_bytes, "digest": model.digest}  # fmt: skip
        print_json({"schema": 1, **said, "kinds": [layers.as_json(*each) for each in kinds.items()]})
        return
    out = Screen()
    out.print(
        f"{model.name} at {model.format}: {_billions(model.total_params)} parameters, {len(model.layers)} layers, top-{model.top_k}; "
        f"{nbytes(model.dense_bytes)} dense + {nbytes(model.all_expert_bytes)} of routed experts"
    )
    for each in kinds.items():
        out.print(f"  {layers.line(*each)}")
    for word in sorted({word for kind in kinds for word in kind.features}):
        out.print(f" {FEATURES[word]}", lead=f"{word}:")
    if model.caution:
        out.print(model.caution)


def model_import(a: argparse.Namespace) -> None:
    """simmoe model import"""
    from simmoe.show.screen import Screen
    from simmoe.simulator.files import check_outputs
    from simmoe.simulator.units import nbytes
    from simmoe.workloads import models
    from simmoe.workloads.importers import model as importer

    check_outputs({"--out": a.out}, [a.file])
    shape = importer.import_model(Path(a.file))
    if a.name:
        shape["name"] = a.name
    models.shape(shape, a.file)  # before anything is written
    out = Path(a.out or f"{shape['name']}.yaml")
    importer.write_shape(shape, out, force=a.force)
    model = models.load(str(out))
    idle = sum((layer.n_experts - model.top_k) * layer.expert.params for layer in model.layers if layer.n_experts)
    Screen().line(
        f"{out}: {model.total_params / 1e9:.2f} B parameters, {(model.total_params - idle) / 1e9:.2f} B of them for each token, "
        f"{len(model.moe_layers)} MoE layers, top-{model.top_k}; at {model.format} "
        f"{nbytes(model.dense_bytes)} dense + {nbytes(model.all_expert_bytes)} of routed experts"
    )
    if model.caution:
        Screen().print(model.caution)
