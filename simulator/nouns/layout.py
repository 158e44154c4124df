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

    @cached_property
    def gaps(self) -> tuple[int, ...]:
        """[layers + 1] device that runs what stands before each MoE layer, and behind the last: the device that has all experts of
        the layer, or the first where several have some."""
        alone = np.where((self.unit == self.unit[:, :1]).all(axis=1), self.unit[:, 0], 0)
        homes = np.where(alone < self.devices, alone, 0).tolist()
        return (*homes, homes[-1])

    def of(self, device: int) -> Flags:
        """bool [objects]: the device has it."""
        mine: Flags = self.unit.reshape(-1) == device
        return mine
