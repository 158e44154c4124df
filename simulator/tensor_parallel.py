"""Costs where equal devices divide every layer among them: a tensor split. All do the same at the same time, so one of them is timed.

Of attention each device has some heads, of all other matrices a part of the rows or columns. What they compute of a layer is a share of
the sum that the next part reads, so they add up (all-reduce) behind attention and behind the experts or the dense FFN (Megatron-LM,
arXiv:1909.08053).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simmoe.simulator.costs import Costs
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import Cache, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics.all_reduce import all_gather, all_reduce
from simmoe.simulator.several import ACTIVATION_BYTES, require_width


class Sums:
    """What devices that divide a model send each other to add up what each computed."""

    def __init__(self, hw: Hardware, model: ModelShape) -> None:
        require_width(model)
        assert hw.fabric is not None  # of a machine of several devices
        self.devices, self.fabric, self.width = len(hw.devices), hw.fabric, model.width
        self.logits, self.before = model.head.params // model.width, sums_before(model)

    def ps(self, size: PassSize) -> list[int]:
        """Before each gap of a pass, and behind the last one."""
        one, gathered = self._sum(size)[0], self._gathered(size)[0]
        return [*(count * one for count in self.before), gathered]

    def count_bytes(self, size: PassSize) -> int:
        """What all devices send in a pass."""
        return sum(self.before) * self._sum(size)[1] + self._gathered(size)[1]

    def _sum(self, size: PassSize) -> tuple[int, int]:
        """Time and bytes of a sum of the hidden states of a pass."""
        count_bytes = size.tokens * self.width * ACTIVATION_BYTES
        return all_reduce(count_bytes, self.devices, self.fabric.bytes_per_s, self.fabric.latency_ps)

    def _gathered(self, size: PassSize) -> tuple[int, int]:
        """The same of the logits, of which each device has those of its words."""
        count_bytes = size.sequences * self.logits * ACTIVATION_BYTES
        return all_gather(count_bytes, self.devices, self.fabric.bytes_per_s, self.fabric.latency_ps)


class TensorParallelCosts(Costs):
    """Costs of one of the devices, all of which load, compute and wait alike."""

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace, *, graphs: bool = False) -> None:
        self.sums, self.alike = Sums(hw, model), len(hw.devices)
        super().__init__(hw, sliced(model, self.alike), trace, graphs=graphs)
        self.layout = Layout(self.alike, np.zeros((trace.n_layers, trace.n_experts), np.int64), sliced=True)

    def sums_ps(self, size: PassSize) -> list[int]:
        return self.sums.ps(size)


def sums_before(model: ModelShape) -> tuple[int, ...]:
    """Sums over the devices since the decisions before each MoE layer's, and (last) since the last ones: of the rows that the embedding
    looks up, of attention, of dense FFNs, of the experts."""
    found, count = list[int](), 1
    for layer in model.layers:
        count += "no_mixer" not in layer.features
        if layer.n_experts:
            found.append(count)
            count = 1
        else:
            count += layer.ffn.bytes > 0
    return (*found, count)


def sliced(model: ModelShape, devices: int) -> ModelShape:
    """What one device has of a model. Raises UserError where the heads cannot be shared."""
    parts = {layer: _layer(model, layer, devices) for layer in dict.fromkeys(model.layers)}
    return replace(
        model, layers=tuple(parts[layer] for layer in model.layers), head=_share(model.head, devices),
        embedding=_share(model.embedding, devices), low=tuple(_share(part, devices) for part in model.low),
    )  # fmt: skip


def padded(model: ModelShape, devices: int) -> ModelShape:
    """The model with experts of as many bytes as all devices have of them: parts that are alike."""
    layers = {one: replace(one, expert=_padded(one.expert, devices)) for one in dict.fromkeys(model.layers)}
    low = tuple(_padded(part, devices) for part in model.low)
    return replace(model, layers=tuple(layers[one] for one in model.layers), low=low)


def caches_of_all(model: ModelShape, devices: int) -> ModelShape:
    """The model with caches and recurrent states of as many bytes as all devices have of them: more, where several have the same heads."""
    layers = {one: _with_caches(one, _layer(model, one, devices), devices) for one in dict.fromkeys(model.layers)}
    return replace(model, layers=tuple(layers[one] for one in model.layers))


def _with_caches(layer: Layer, part: Layer, devices: int) -> Layer:
    caches = (replace(one, bytes_per_position=devices * one.bytes_per_position) for one in part.caches)
    return replace(layer, caches=tuple(caches), state_bytes=devices * part.state_bytes)


def _padded(part: Part, devices: int) -> Part:
    return replace(part, bytes=devices * -(-part.bytes // devices))


def _share(part: Part, devices: int) -> Part:
    return Part(*(-(-number // devices) for number in (part.params, part.bytes, part.flops_per_token)))


def _layer(model: ModelShape, layer: Layer, devices: int) -> Layer:
    _require_heads(model, layer, devices)
    caches = tuple(_cache(cache, devices) for cache in layer.caches)
    own = _less(_less(layer.attention, layer.common), layer.keys)
    keys = _share(layer.keys, _owners(max((cache.kv_heads for cache in layer.caches), default=0), devices))
    ffn, shared, expert = (_share(part, devices) for part in (layer.ffn, layer.shared, layer.expert))
    return replace(
        layer, attention=_more(_more(_share(own, devices), layer.common), keys), caches=caches,
        state_bytes=-(-layer.state_bytes // devices), keys=keys, ffn=ffn, shared=shared, expert=expert,
    )  # fmt: skip


def _cache(cache: Cache, devices: int) -> Cache:
    """One row for all heads is on each device; where there are fewer KV heads than devices, several devices have the same one."""
    held = -(-cache.bytes_per_position // _owners(cache.kv_heads, devices))
    flops = -(-cache.flops_per_position // devices) if cache.heads else cache.flops_per_position
    return replace(cache, bytes_per_position=held, flops_per_position=flops)


def _owners(kv_heads: int, devices: int) -> int:
    """Among how many devices keys and values are divided."""
    return min(max(kv_heads, 1), devices)


def _more(one: Part, other: Part) -> Part:
    return Part(
        one.params + other.params, one.bytes + other.bytes, one.flops_per_token + other.flops_per_token
    )  # fmt: skip


def _less(one: Part, other: Part) -> Part:
    return Part(
        one.params - other.params, one.bytes - other.bytes, one.flops_per_token - other.flops_per_token
    )  # fmt: skip


def _require_heads(model: ModelShape, layer: Layer, devices: int) -> None:
    if layer.caches and not any(cache.heads for cache in layer.caches):
        raise UserError(
            f"the model {model.name} does not say how many heads its attention has, of which each device takes some; add heads and "
            "kv_heads to its caches (docs/models.md)"
        )
    for cache in layer.caches:
        if not _shared_by(cache, devices):
            fit = [str(n) for n in range(2, 65) if _shared_by(cache, n)]
            among = f"name {', '.join(fit)} devices" if fit else "use another timeline"
            raise UserError(
                f"{model.name} has {cache.heads} heads and {cache.kv_heads or 'no'} KV heads, which {devices} devices cannot share evenly; "
                f"{among}"
            )


def _shared_by(cache: Cache, devices: int) -> bool:
    """Whether each device gets as many heads, and whole KV heads or one of them."""
    kv_heads = cache.kv_heads or 1
    return cache.heads % devices == 0 and (kv_heads % devices == 0 or devices % kv_heads == 0)
