"""Which unit of a machine has which routed expert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simmoe.simulator.arrays import Flags, Ints


@dataclass(frozen=True, eq=False)
class Layout:
    """Which unit has each routed expert for good. Devices are units 0 … devices - 1."""

    devices: int
    unit: Ints  # int [layers, experts]
    replicated: bool = False  # each device runs all else too, for sequences of its own (simulator/data_parallel.py)
    sliced: bool = False  # each has a part of every expert, and of all else (simulator/tensor_parallel.py)
    shared: bool = False  # each has a part of all but the experts (simulator/tensor_experts.py)

    @property
    def everywhere(self) -> bool:
        """Whether each device runs what is no expert, the whole of it or a part."""
        return self.replicated or self.shared

    @cached_property
    def gaps(self) -> tuple[int, ...]:
        """[layers + 1] device that runs what stands before each MoE layer, and behind the last: the first of the devices that have
        some of the layer's experts; where none has any, the first of all. The first of all, too, where each runs it."""
        if self.everywhere:
            return (0,) * (len(self.unit) + 1)
        first = self.unit.min(axis=1)
        homes = np.where(first < self.devices, first, 0).tolist()
        return (*homes, homes[-1])

    def of(self, device: int) -> Flags:
        """bool [objects]: the device has it, or a part of it."""
        mine: Flags = (self.unit.reshape(-1) == device) | self.sliced
        return mine
