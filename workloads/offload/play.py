"""Plays a model behind the offload runtime: real text through a bundled model, or a given routing through random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.offload.layout import Bytes, Ids, Layout, image_of
from simmoe.workloads.offload.record import Log, Played
from simmoe.workloads.offload.rounding import low_bytes
from simmoe.workloads.offload.runtime import Options, Runtime
from simmoe.workloads.offload.samples import Sampler
from simmoe.workloads.offload.synthetic import Dense
from simmoe.workloads.offload.weather import Watch, Weather, steady
from simmoe.workloads.oracle_moe.backbone import GPT, Routing


class Offloaded(nn.Module):
    """Stands in a block where its experts stood."""

    def __init__(self, runtime: Runtime, column: int) -> None:
        super().__init__()
        self.runtime, self.column = runtime, column

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        ids = routing.experts.flatten(0, 1).numpy()  # (N, k)
        gate = routing.gate.flatten(0, 1).numpy().astype(np.float16)  # (N, k), as a trace holds it
        y = self.runtime.layer(self.column, x.flatten(0, 1), ids, gate).view(*routing.experts.shape, -1)  # (B, T, k, d)
        weights = without(routing.weights, self.runtime.dropped) if self.runtime.dropped else routing.weights
        return (y * weights.unsqueeze(-1)).sum(2)  # (B, T, d)


def without(weights: Tensor, places: list[int]) -> Tensor:
    """Weights (B, T, k) of which those places are 0; what is left of a token adds up to as much as before."""
    kept = weights.clone()
    kept.view(-1)[places] = 0
    left = kept.sum(-1, keepdim=True)
    return torch.where(left > 0, kept * weights.sum(-1, keepdim=True) / left, kept)


def play_text(model: GPT, tokens: Ids, prefill: int, options: Options, widen: int = 1) -> Played:
    """Each row of `tokens`, int64 [sequences, T], as one prefill pass and a decode pass for every further token.

    The text is given (teacher-forced), so that runs under different budgets see the same tokens. `widen`: see image_of.
    """
    if options.sample:
        raise UserError("reference operations are sampled in runs of play_trace; set sample=False for text")
    if not 0 <= prefill <= tokens.shape[1]:
        raise UserError(f"a prefill of {prefill} tokens does not fit into sequences of {tokens.shape[1]}")
    columns = [i for i, block in enumerate(model.blocks) if block.router is not None]
    if not columns:
        raise UserError("the model has no MoE layer to offload; train it with another router than 'dense'")
    experts: list[Any] = [model.blocks[i].ffn for i in columns]
    layout, image = image_of(experts, widen)
    log = Log(len(experts[0].w1), {})
    with Runtime(layout, image, log, experts[0].scale, options) as runtime, _settled(runtime) as watch:
        with _offloaded(model, columns, runtime):
            for number, row in enumerate(torch.from_numpy(tokens)):
                _sequence(model, row, number, prefill, log)
        return _played(runtime, np.array(columns), watch.weather())


def _sequence(model: GPT, row: Tensor, number: int, prefill: int, log: Log) -> None:
    """One sequence through the model, its experts already offloaded."""
    past = None
    cuts = [0, *range(prefill, len(row) + 1)] if prefill else range(len(row) + 1)
    for first, last in pairwise(cuts):
        phase = PREFILL if prefill and not first else DECODE
        log.begin(phase, np.full(last - first, number), np.arange(first, last))
        began = time.perf_counter_ns()
        output = model(row[None, first:last], past)
        log.pass_ns.append(time.perf_counter_ns() - began)
        log.logits.append(output.logits[0])
        past = output.past


def play_trace(
    trace: Trace, layout: Layout, image: Bytes, options: Options, progress: Callable[[int, int], None] | None = None
) -> Played:
    """The routing of `trace` through random experts, `image` of layout.random_image, and synthetic dense layers."""
    log = Log(trace.n_experts, {k: v for k, v in trace.meta.items() if k not in ("digest", "quality")})
    with Runtime(layout, image, log, 1, options) as runtime, _settled(runtime) as watch:
        dense, sampler = Dense(layout.d_model, trace, options.seed), Sampler(runtime, options.seed)
        for number, (first, last) in enumerate(pairwise(trace.pass_ptr.tolist())):
            log.begin(int(trace.phase[number]), trace.sequence[first:last], trace.position[first:last])
            ids = [layer.astype(np.int64) for layer in trace.expert_ids[first:last].transpose(1, 0, 2)]
            x = dense.start(last - first)
            began = time.perf_counter_ns()
            for column, chosen in enumerate(ids):
                x, h = dense.layer(column, x, number)
                x = dense.add(x, runtime.layer(column, h, chosen))
            log.pass_ns.append(time.perf_counter_ns() - began)
            if options.sample and log.phase[-1] == DECODE:
                sampler(partial(dense.again, x=x, number=number, k=trace.top_k), x)
            if progress:
                progress(number + 1, trace.n_passes)
        return _played(runtime, trace.layer_index, watch.weather())


@contextmanager
def _settled(runtime: Runtime) -> Iterator[Watch]:
    cores = runtime.options.cores
    with steady(cores[0] if cores else None), torch.no_grad():
        yield Watch()


@contextmanager
def _offloaded(model: GPT, columns: list[int], runtime: Runtime) -> Iterator[None]:
    """The experts of `model` replaced by the runtime; as before afterwards."""
    blocks: list[Any] = [model.blocks[i] for i in columns]
    before, training = [block.ffn for block in blocks], model.training
    model.eval()
    for column, block in enumerate(blocks):
        block.ffn = Offloaded(runtime, column)
    try:
        yield
    finally:
        for block, experts in zip(blocks, before):
            block.ffn = experts
        model.train(training)


def _played(runtime: Runtime, layer_index: Ids, weather: Weather) -> Played:
    log, nbytes = runtime.log, runtime.layout.nbytes
    return Played(
        trace=log.trace(layer_index),
        hit=log.flags(),
        hits=log.hits,
        misses=log.misses,
        on_cpu=log.on_cpu,
        substituted=log.substituted,
        dropped=log.dropped,
        low=log.low,
        evictions=runtime.slots.evictions,
        bytes=len(log.loads) * nbytes
        + (log.low * low_bytes(runtime.layout, runtime.options.rule.low_bits) if runtime.options.rule else 0),
        expert_bytes=nbytes,
        peak_resident_bytes=log.most_resident * nbytes,
        loads=log.loads,
        pass_ns=np.array(log.pass_ns),
        decide_ns=np.array(log.decide_ns),
        submit_ns=np.array(log.submit_ns),
        logits=log.logits,
        samples=log.samples,
        weather=weather,
    )
