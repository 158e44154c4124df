"""What the launches of a workload cost: on an ideal machine or under its engine, on one card or several, behind a draft or without."""

from __future__ import annotations

from functools import partial
from typing import Any

from simmoe.play.draft_model import draft_model_ps
from simmoe.play.setting import Setting
from simmoe.simulator.card_costs import CardCosts
from simmoe.simulator.costs import Costs
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.tensor_parallel import TensorParallelCosts


def costs_of(workload: Setting) -> Costs:
    found = _of_target(workload)
    if workload.speculation is None:
        return found
    if workload.draft_model is None:
        found.draft(workload.speculation.draft_ps(workload.trace))
    else:
        found.draft(draft_model_ps(partial(_of_draft, workload), workload.draft_model, workload.trace))
    return found


def _of_target(workload: Setting) -> Costs:
    hw, model, trace, runtime, knobs = workload.hw, workload.model, workload.trace, workload.runtime, workload.knobs
    if workload.alike > 1:
        return TensorParallelCosts(hw, model, trace, graphs=workload.graphs)
    if runtime is None:
        return Costs(hw, model, trace, graphs=workload.graphs)
    how: dict[str, Any] = {
        "threads": knobs.threads, "batch_threads": knobs.batch_threads, "offload": knobs.op_offload,
        "cpu_blocks": workload.cpu_blocks, "kv_on_cpu": not knobs.kv_offload, "head_on_cpu": knobs.gpu_layers == 0,
    }  # fmt: skip
    if owners := workload.owners:
        return CardCosts(hw, model, trace, runtime, owners, **how)
    return RuntimeCosts(hw, model, trace, runtime, **how)


def _of_draft(workload: Setting, model: ModelShape, trace: Trace) -> Costs:
    """Of a draft, of which the CPU has nothing where there is a GPU."""
    hw, runtime, knobs = workload.hw, workload.runtime, workload.knobs
    if runtime is None:
        return Costs(hw, model, trace, graphs=workload.graphs)
    return RuntimeCosts(hw, model, trace, runtime, threads=knobs.threads, batch_threads=knobs.batch_threads)
