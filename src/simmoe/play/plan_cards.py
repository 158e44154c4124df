"""What llama.cpp and ik_llama.cpp let one set over several cards: beside all that one card has the split of the layers (-ts).

What a card holds is asked of the run itself, so that a line that is planned is one that runs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from simmoe.play.cards import CardsMemory
from simmoe.play.cards_fit import least_over_cards, split_that_fits
from simmoe.play.plan_fit import Fit
from simmoe.play.plan_llama import LlamaCpp
from simmoe.play.plan_setup import Setup
from simmoe.play.plan_space import Space
from simmoe.play.workload import Workload
from simmoe.policies.flags import Flags
from simmoe.simulator.nouns.hardware import Hardware


class LlamaCards(LlamaCpp):
    """For each least number of blocks on the CPU the splits that llama.cpp deals of itself, that fill the first cards, and the last."""

    def workload(self, microbatch: int, kv: str | None, offload: bool) -> Workload:
        """With layers dealt by the cards' memories."""
        key = (microbatch, kv, offload)
        if key not in self._workloads:
            self._workloads[key] = Workload(
                self.hw, None, self.shapes[kv], runtime=self.runtime, context=self.context, microbatch=microbatch, op_offload=offload,
                prompt=1, generate=1,
            )  # fmt: skip
        return self._workloads[key]

    @cached_property
    def _workloads(self) -> dict[tuple[int, str | None, bool], Workload]:
        return {}

    def memory(self, setup: Setup) -> CardsMemory:
        workload = self.workload(setup.microbatch, setup.kv_format, setup.op_offload)
        memory = workload.split(setup.split).memory
        assert isinstance(memory, CardsMemory)
        return memory.with_blocks(setup.away)

    # --- what fits --------------------------------------------------------------------------------------------------

    @property
    def room_bytes(self) -> int:
        each = [self.hw.alone(card) for card in range(len(self.hw.devices))]
        return sum(one.device_memory.capacity_bytes - one.reserved_bytes for one in each)

    def device(self, setup: Setup) -> dict[str, int]:
        memory = self.memory(setup)
        held = memory.split(memory.left_bytes)
        return {"compute" if name == "buffers" else name: count for name, count in held.items()}

    def free(self, setup: Setup) -> int:
        """Of all cards together; what they are short of, where one is."""
        memory = self.memory(setup)
        return -memory.short_by(memory.left_bytes) or super().free(setup)

    def _found(self, microbatch: int, kv: str | None, offload: bool) -> int | None:
        found = least_over_cards(self.workload(microbatch, kv, offload))
        if found is None or (found[0] and (self.host_left(Setup(microbatch, found[0], kv, offload)) or -1) < 0):
            return None
        return found[0]

    def candidates(self) -> list[Setup]:
        return [one for setup in super().candidates() for one in self.dealt(setup)]

    def dealt(self, setup: Setup) -> list[Setup]:
        """The same with each split that fits, each split of the layers once."""
        workload = self.workload(setup.microbatch, setup.kv_format, setup.op_offload)
        left = self.memory(setup).left
        splits = [None, *(split_that_fits(workload, left, last) for last in (False, True))]
        found = {self.memory(one).owners: one for one in reversed([setup._replace(split=split) for split in splits])}
        return [one for one in reversed(found.values()) if self.memory(one).whole]

    def again(self, setup: Setup) -> Setup | None:
        fewest = super().again(setup)
        return None if fewest is None else self.dealt(fewest._replace(split=None))[0]

    def on(self, hw: Hardware) -> Space:
        own = {name: getattr(self, name) for name in ("shapes", "runtime", "context", "prompt", "goal")}
        return replace(self, hw=hw) if len(hw.devices) > 1 else LlamaCpp(hw=hw, **own)

    # --- as it is said ----------------------------------------------------------------------------------------------

    def options(self, setup: Setup) -> dict[str, Any]:
        return {**super().options(setup), "tensor_split": setup.split}

    def flags(self, setup: Setup, file: str) -> Flags:
        split = None if setup.split is None else tuple(map(float, setup.split.split("/")))
        return replace(super().flags(setup, file), tensor_split=split)

    def fitted(self, setup: Setup) -> Fit | None:
        return None  # its rule for several cards is another one
