"""Activation statistics of KTransformers, which are those of SGLang's recorder: how often each expert was used, `.pt` or JSON.

https://github.com/kvcache-ai/ktransformers, doc/en/kt-kernel/experts-sched-Tutorial.md (`--init-expert-location activation_stats.pt`) and
https://github.com/sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py (`_StatAccumulator.dump`): a dictionary with
`logical_count` [steps, layers, experts], or [layers, experts]. The steps are a ring buffer, so their order is not known: they are added up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.foreign.counts import drawn, whole
from simmoe.workloads.foreign.file import File
from simmoe.workloads.foreign.torch_file import contents, is_torch

KEY = "logical_count"


def recognises(file: File) -> bool:
    if is_torch(file):
        said = contents(file)
        return isinstance(said, np.ndarray) or (isinstance(said, dict) and "records" not in said)
    return len(file.records) == 1 and isinstance(file.records[0][1], dict) and KEY in file.records[0][1]


def read(file: File, stated: Stated) -> Trace:
    said: Any = contents(file) if is_torch(file) else file.records[0][1]
    if isinstance(said, dict) and KEY not in said:
        file.fail(f"has the keys {', '.join(map(str, said))[:100]}; statistics of use have {KEY!r}")
    values = said[KEY] if isinstance(said, dict) else said
    if is_torch(file) and not isinstance(values, np.ndarray):
        file.fail(f"{KEY} is no tensor")
    try:
        numbers = np.array(values)
    except ValueError as error:
        file.fail(f"{KEY} is no array: {error}")
    counts = whole(file, numbers, KEY)
    if counts.ndim not in (2, 3) or not counts.size:
        file.fail(f"{KEY} has shape {counts.shape}; it must be [steps, layers, experts] or [layers, experts]")
    return drawn(file, stated, [counts.reshape(-1, *counts.shape[-2:]).sum(0)], "KTransformers")
