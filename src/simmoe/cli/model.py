"""simmoe model: import shapes."""

from __future__ import annotations

import argparse
from pathlib import Path


def model_import(a: argparse.Namespace) -> None:
    """simmoe model import"""
    from simmoe.simulator.files import check_outputs
    from simmoe.simulator.units import nbytes
    from simmoe.workloads import models
    from simmoe.workloads.importers import model as importer

    check_outputs({"--out": a.out}, [a.file])
    shape = importer.import_model(Path(a.file))
    if a.name:
        shape["name"] = a.name
    out = Path(a.out or f"{shape['name']}.yaml")
    importer.write_shape(shape, out, force=a.force)
    model = models.load(str(out))
    print(
        f"{out}: {model.total_params / 1e9:.2f} B parameters, {len(model.moe_layers)} MoE layers, top-{model.top_k}; at {model.format} "
        f"{nbytes(model.dense_bytes)} dense + {nbytes(model.all_expert_bytes)} of routed experts"
    )
