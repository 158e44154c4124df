"""Expert activation matrices of MoE-Infinity: npy [sequences, layers, experts], how often each sequence used each expert.

https://github.com/TorchMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py (`load_trace`, `trace_collection`): float32, whole numbers.
Entries of zeros are places that were never filled.
"""

from __future__ import annotations

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.foreign.counts import drawn, whole
from simmoe.workloads.foreign.file import File


def recognises(file: File) -> bool:
    npy = file.npy
    return (
        npy is not None
        and npy.ndim == 3
        and npy.dtype.kind == "f"
        and bool((npy >= 0).all() and (npy == np.floor(npy)).all())
    )


def read(file: File, stated: Stated) -> Trace:
    npy = file.npy
    if npy is None or npy.ndim != 3:
        file.fail("is no npy file of [sequences, layers, experts]")
    return drawn(file, stated, [one for one in whole(file, npy, "the array") if one.any()], "MoE-Infinity")
