"""Costs where equal devices divide all but the routed experts, of which each has some whole: a tensor split with expert parallelism.

Every device has the rows of all sequences, since attention is summed up over all. So nothing is dispatched: each computes its own experts
for all rows, and what they add up is the sum behind the layer (vLLM: --tensor-parallel-size with --enable-expert-parallel).
"""

from __future__ import annotations

from dataclasses import replace

from simmoe.simulator.costs import Chain
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.several import SeveralCosts
from simmoe.simulator.tensor_parallel import Sums, sliced


class TensorExpertCosts(SeveralCosts):
    """Costs by place; all devices run the gaps alike, and the first one's make up the pass."""

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace, layout: Layout, *, graphs: bool = False) -> None:
        self.sums = Sums(hw, model)
        super().__init__(hw, sliced_but_experts(model, layout.devices), trace, layout, graphs=graphs)

    def sums_ps(self, size: PassSize) -> list[int]:
        return self.sums.ps(size)

    def sent_ps(self, rows: int) -> int:
        return 0

    def shared(self, column: int, tokens: int) -> Chain:
        """Each device has a part of the shared experts."""
        costs, layer = self._at(column)
        return costs.shared(layer, tokens)

    def _shared_ps(self, tokens: int) -> int:
        return sum(self.shared(column * self.devices, tokens).ps for column in range(self.trace.n_layers))


def sliced_but_experts(model: ModelShape, devices: int) -> ModelShape:
    """What one of the devices has, if it had all routed experts. Raises UserError where the heads cannot be shared."""
    layers = tuple(
        replace(part, expert=whole.expert) for part, whole in zip(sliced(model, devices).layers, model.layers)
    )
    return replace(sliced(model, devices), layers=layers, low=model.low)
