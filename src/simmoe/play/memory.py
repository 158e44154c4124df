"""One memory figure split into dense weights, KV cache and routed experts; says when a model does not fit and what would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simmoe.play.kinds import bytes_of
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.units import nbytes


def kv_bytes(model: ModelShape, trace: Trace, context: int, sequences: int | None = None) -> int:
    """KV cache of `context` positions for so many sequences; None means as many as the widest pass holds."""
    if context < 1:
        raise UserError(f"--context {context} is not a number of positions; give 1 or more")
    if sequences is not None:
        return model.kv_bytes_per_position * context * sequences
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    pairs = np.unique(np.stack((number, trace.sequence)), axis=1)
    return model.kv_bytes_per_position * context * int(np.bincount(pairs[0]).max())


@dataclass(frozen=True)
class Memory:
    """The device memory of a machine for one model and context."""

    hw: Hardware
    model: ModelShape
    kv_bytes: int

    @property
    def what(self) -> str:
        return f"{self.model.name} at {self.model.format}"

    @property
    def usable_bytes(self) -> int:
        return self.hw.device_memory.capacity_bytes - self.hw.reserved_bytes

    @property
    def room_bytes(self) -> int:
        """What is left for routed experts; negative when the rest alone does not fit."""
        return self.usable_bytes - self.model.dense_bytes - self.kv_bytes

    @property
    def holds_bytes(self) -> int:
        """Routed experts that the device really holds."""
        return min(self.room_bytes, self.model.all_expert_bytes)

    def split(self, budget_bytes: int, buffer_bytes: int = 0) -> dict[str, int]:
        parts = {"dense": self.model.dense_bytes, "kv": self.kv_bytes, "experts": budget_bytes}
        if buffer_bytes:
            parts["prefetch buffers"] = buffer_bytes
        return {**parts, "total": sum(parts.values())}

    def short_by(self, budget_bytes: int) -> int:
        """Bytes that are missing for this budget; 0 when it fits."""
        return max(budget_bytes - self.room_bytes, 0)

    def require(self, budget_bytes: int) -> None:
        """Raises UserError when the budget does not fit on the device, or the experts that are not resident not on their tier."""
        one, every, home = int(self.model.expert_bytes.max()), self.model.all_expert_bytes, self.hw.home
        rest = f"dense weights {nbytes(self.model.dense_bytes)}, KV cache {nbytes(self.kv_bytes)}"
        rest += f" ({self.model.caution})" * bool(self.model.caution)
        if self.short_by(one):
            raise DoesNotFit(
                f"{self.what} does not fit on {self.hw.name}: {rest} and one expert {nbytes(one)} exceed the usable "
                f"{nbytes(self.usable_bytes)} by "
                f"{nbytes(self.short_by(one))}; choose a smaller --format or --context, or a larger machine"
            )
        if self.short_by(budget_bytes):
            raise DoesNotFit(
                f"{nbytes(budget_bytes)} of experts do not fit on {self.hw.name}: short by {nbytes(self.short_by(budget_bytes))} of "
                f"{nbytes(self.usable_bytes)} usable ({rest}); --budget {self.room_bytes // 10**6}MB would fit"
            )
        if budget_bytes < every and home.capacity_bytes < every:
            raise DoesNotFit(
                f"the experts of {self.what} ({nbytes(every)}) do not fit on {home.name} of {self.hw.name}: short by "
                f"{nbytes(every - home.capacity_bytes)}; choose a smaller --format or a larger {home.name}"
            )

    def require_buffers(self, budget_bytes: int, buffer_bytes: int) -> None:
        """Raises DoesNotFit when prefetch buffers leave the budget too little room."""
        if short := self.short_by(budget_bytes + buffer_bytes):
            raise DoesNotFit(
                f"prefetch buffers of {nbytes(buffer_bytes)} do not fit on {self.hw.name} beside {nbytes(budget_bytes)} of experts: short "
                f"by {nbytes(short)} of {nbytes(self.usable_bytes)} usable; lower --budget by that, or --prefetch-into cache"
            )


def budget_of(memory: Memory, budget: int | str | None, total: int | str | None) -> int:
    """Bytes of routed experts that --budget (experts alone) or --memory (dense + KV + experts) ask for, at most all of them."""
    if budget is not None and total is not None:
        raise UserError("give --budget (experts only) or --memory (dense weights + KV cache + experts), not both")
    every = memory.model.all_expert_bytes
    if total is not None:
        wanted = bytes_of(total, None, "--memory") - memory.model.dense_bytes - memory.kv_bytes
        if wanted < int(memory.model.expert_bytes.max()):
            least = memory.model.dense_bytes + memory.kv_bytes + int(memory.model.expert_bytes.max())
            raise UserError(
                f"--memory {total} is too small for {memory.what}: the least is {nbytes(least)} "
                "(dense weights, KV cache and one expert)"
            )
        return min(wanted, every)
    if budget is not None:
        return min(bytes_of(budget, every, "--budget"), every)
    memory.require(int(memory.model.expert_bytes.max()))
    return memory.holds_bytes


def page_cache_of(hw: Hardware, size: int | str) -> int:
    """Bytes that --page-cache gives to what was read from a store behind the link's memory; 0 = no page cache."""
    count_bytes, host = bytes_of(size, None, "--page-cache"), hw.tiers[hw.link.src]
    if count_bytes and hw.link.upstream is None:
        raise UserError(
            f"--page-cache {size}: the experts of {hw.name} live on {hw.home.name}, with no memory between it and the device; name a "
            "machine with link.upstream, such as rtx_4090_nvme, or leave --page-cache out"
        )
    if count_bytes > host.capacity_bytes:
        raise UserError(
            f"--page-cache {size} is more than {host.name} of {hw.name} has, {nbytes(host.capacity_bytes)}; lower it"
        )
    return count_bytes
