"""Router logits, from which top-k is taken: npy or npz [tokens, layers, experts], or safetensors.

transformers returns them with `output_router_logits=True`, one [tokens, experts] for each layer
(https://huggingface.co/docs/transformers/main/model_doc/mixtral). npz: `router_logits`. safetensors: one tensor
`router_logits`, or one for each layer, whose name holds the number of the layer (`model.layers.3.mlp.gate`). top-k must be said. Of equal
logits the expert with the lower number is taken, and ties at the last slot are counted in the notes. A router that selects by something
else than its logits, such as a bias (DeepSeek-V3) or groups of experts, is not imported right from them: record its choice.
"""

from __future__ import annotations

import re

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import TELL, Stated, prompt_rows, request, trace
from simmoe.workloads.foreign.file import Array, File

KEY = "router_logits"
LAYER = re.compile(r"(?:^|[._])(\d+)(?=[._]|$)")


def recognises(file: File) -> bool:
    npy = file.npy
    if npy is not None:
        return npy.ndim == 3 and npy.dtype.kind == "f" and bool((npy < 0).any() or (npy != np.floor(npy)).any())
    return KEY in file.names or bool(file.tensors)


def read(file: File, stated: Stated) -> Trace:
    logits, layers = _logits(file)
    if logits.ndim != 3 or logits.dtype.kind != "f" or not logits.size:
        file.fail(f"logits are {logits.dtype} of shape {logits.shape}; they must be floats [tokens, layers, experts]")
    if (bad := np.argwhere(~np.isfinite(logits))).size:
        file.fail("logit of token {}, layer column {}, expert {} is not finite".format(*bad[0]))
    if stated.top_k is None:
        file.fail(f"logits do not say top-k; {TELL} --top-k K")
    if not 1 <= stated.top_k <= logits.shape[2]:
        file.fail(f"top-{stated.top_k} of {logits.shape[2]} experts cannot be")
    ids, ties = top_k(logits, stated.top_k)
    prompt, notes = prompt_rows(file, stated, len(ids))
    if ties:
        notes.append(
            f"{ties:,} of {ids.shape[0] * ids.shape[1]:,} choices were ties at the last slot; the lower number was taken"
        )
    return trace(file, stated, request(0, ids, prompt), layers=layers, experts=logits.shape[2], notes=notes)


def top_k(logits: Array, k: int) -> tuple[Array, int]:
    """(ids in falling order of their logit, how often the last of them equals one that is left out)."""
    order = np.argsort(-logits.astype(np.float64), axis=-1, kind="stable")
    if k == logits.shape[-1]:
        return order, 0
    edge = np.take_along_axis(logits, order[..., k - 1 : k + 1], -1)
    return order[..., :k], int((edge[..., 0] == edge[..., 1]).sum())


def _logits(file: File) -> tuple[Array, list[int] | None]:
    if file.npy is not None:
        return file.npy, None
    if file.names:
        return file.array(KEY), None
    if KEY in file.tensors:
        return file.tensors[KEY], None
    by_layer: dict[int, Array] = {}
    for name, tensor in file.tensors.items():
        found = LAYER.search(name)
        if found is None or tensor.ndim != 2:
            file.fail(
                f"tensor {name!r} of shape {tensor.shape} is no {KEY} [tokens, experts] of a layer; its name must hold the layer's number"
            )
        if int(found[1]) in by_layer:
            file.fail(f"tensor {name!r} is a second one of layer {found[1]}")
        by_layer[int(found[1])] = tensor
    layers = sorted(by_layer)
    if len({by_layer[layer].shape for layer in layers}) != 1:
        file.fail(f"its layers have logits of different shapes: {[by_layer[layer].shape for layer in layers][:4]}")
    return np.stack([by_layer[layer] for layer in layers], 1), layers
