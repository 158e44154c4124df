"""What each memory of a machine holds: dense weights, KV cache, routed experts; says when a model does not fit and what would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simmoe.play.buffers import of_graph
from simmoe.play.kinds import bytes_of
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import NO_LAYER, Layer, ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.units import nbytes

MICROBATCH = 512  # tokens that an engine reads at a time: llama.cpp's -ub, its default


def kv_bytes(
    model: ModelShape, trace: Trace, context: int, sequences: int | None = None, microbatch: int = MICROBATCH
) -> int:
    """KV cache and recurrent state of so many sequences of `context` positions; None means as many as the widest pass holds."""
    if context < 1:
        raise UserError(f"--context {context} is not a number of positions; give 1 or more")
    if sequences is None:
        number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
        pairs = np.unique(np.stack((number, trace.sequence)), axis=1)
        sequences = int(np.bincount(pairs[0]).max())
    return model.kv_bytes(context, microbatch) * sequences


@dataclass(frozen=True)
class Memory:
    """The memories of a machine for one model, context and placement: each holds what its unit computes."""

    hw: Hardware
    model: ModelShape
    kv_bytes: int
    left: tuple[int, ...] | None = None  # experts of each MoE layer that the placement left to the device; None = all
    pass_tokens: int = 0  # of the largest pass for which an engine reserves buffers; 0 = it reserves none
    carries: bool = False  # they have room for a matrix of the CPU's experts, which large passes carry
    beside_bytes_of_engine: int = 0  # what it keeps beside its buffers
    draft_bytes: int = 0  # of a draft model, with its KV cache
    host_dense_bytes: int = 0  # dense weights of whole layers that the CPU has
    host_kv_bytes: int = 0  # KV cache in host memory

    @property
    def what(self) -> str:
        return f"{self.model.name} at {self.model.format}"

    @property
    def usable_bytes(self) -> int:
        return self.hw.device_memory.capacity_bytes - self.hw.reserved_bytes

    @property
    def left_bytes(self) -> int:
        """Routed experts that the placement left to the device."""
        return int((self.left_each * self.model.expert_bytes).sum())

    @property
    def low_bytes(self) -> int:
        """Low copies of them."""
        return sum(part.bytes * n for part, n in zip(self.model.low, self.left_each.tolist()))

    @property
    def left_each(self) -> Ints:
        """int64 [layers]: experts of each MoE layer that the placement left to the device."""
        every = [self.model.layers[i].n_experts for i in self.model.moe_layers]
        return np.array(every if self.left is None else self.left, np.int64)

    @property
    def cpu_bytes(self) -> int:
        """Routed experts that the placement left to the CPU."""
        return self.model.all_expert_bytes - self.left_bytes

    @property
    def _cpu_beside(self) -> bool:
        return self.hw.cpu is not None and self.hw.cpu.memory == self.hw.device.memory

    @property
    def beside_bytes(self) -> int:
        """The CPU's experts, where the CPU computes in the memory of the device."""
        return self.cpu_bytes if self._cpu_beside else 0

    @property
    def least_bytes(self) -> int:
        """The largest expert that the placement left to the device; 0 where it left none."""
        return int((self.model.expert_bytes * (self.left_each > 0)).max(initial=0))

    @property
    def room_bytes(self) -> int:
        """What is left for the device's routed experts; negative when the rest alone does not fit."""
        rest = self.dense_bytes + self.device_kv_bytes + self.beside_bytes + self.engine_bytes + self.draft_bytes
        return self.usable_bytes - rest

    @property
    def dense_bytes(self) -> int:
        """Dense weights on the device."""
        return self.model.dense_bytes - self.host_dense_bytes

    @property
    def device_kv_bytes(self) -> int:
        """KV cache on the device."""
        return self.kv_bytes - self.host_kv_bytes

    @property
    def engine_bytes(self) -> int:
        """What the engine needs on the device beside weights and caches."""
        layers = [self.model.layers[i] for i in self.model.moe_layers]
        return self._engine_bytes(
            layer for layer, left in zip(layers, self.left_each.tolist()) if left < layer.n_experts
        )

    def _engine_bytes(self, of_cpu: Iterable[Layer]) -> int:
        """The same where the CPU has experts of those layers."""
        if not self.pass_tokens:
            return 0
        return of_graph(self.model, self.pass_tokens, of_cpu if self.carries else ()) + self.beside_bytes_of_engine

    @property
    def holds_bytes(self) -> int:
        """Routed experts that the device really holds."""
        return min(self.room_bytes, self.left_bytes)

    @property
    def rest(self) -> str:
        """What the device memory holds beside its routed experts."""
        text = f"dense weights {nbytes(self.dense_bytes)}, KV cache {nbytes(self.device_kv_bytes)}"
        text += f" ({self.model.caution})" * bool(self.model.caution)
        text += f", buffers of the engine {nbytes(self.engine_bytes)}" * bool(self.engine_bytes)
        text += f", draft model {nbytes(self.draft_bytes)}" * bool(self.draft_bytes)
        return text + (f", experts of the CPU {nbytes(self.beside_bytes)}" if self.beside_bytes else "")

    def share(self, budget_bytes: int) -> float:
        """A budget as a part of the experts that the placement left to the device; 1 where it left none."""
        return budget_bytes / self.left_bytes if self.left_bytes else 1.0

    def split(self, budget_bytes: int, buffer_bytes: int = 0, low_bytes: int = 0) -> dict[str, int]:
        """What the device memory holds. low_bytes: for low copies."""
        parts = {"dense": self.dense_bytes, "kv": self.device_kv_bytes, "experts": budget_bytes}
        if self.engine_bytes:
            parts["buffers"] = self.engine_bytes
        if self.draft_bytes:
            parts["draft model"] = self.draft_bytes
        if self.beside_bytes:
            parts["experts of the CPU"] = self.beside_bytes
        if buffer_bytes:
            parts["prefetch buffers"] = buffer_bytes
        if low_bytes:
            parts["low copies"] = low_bytes
        return {**parts, "total": sum(parts.values())}

    def others(self, budget_bytes: int, page_cache_bytes: int = 0, emptied: bool = False) -> dict[str, dict[str, int]]:
        """What each other memory holds: the CPU's experts, the page cache, and the home what may be loaded: nothing when all that the
        placement left to the device is resident for good. emptied: slots start empty, so that all may be loaded."""
        hw, cpu, loads = self.hw, self.hw.cpu, emptied or budget_bytes < self.left_bytes
        parts = [
            (cpu.memory if cpu else hw.link.src, "experts of the CPU", self.cpu_bytes - self.beside_bytes),
            (cpu.memory if cpu else hw.link.src, "layers of the CPU", self.host_dense_bytes),
            (cpu.memory if cpu else hw.link.src, "KV", self.host_kv_bytes),
            (hw.link.src, "page cache", page_cache_bytes),
            (hw.home.name, "experts to load", self.left_bytes if loads else 0),
            (hw.home.name, "low copies to load", self.low_bytes if loads else 0),
        ]
        found = dict[str, dict[str, int]]()
        for tier, what, count in parts:
            if count:
                found.setdefault(tier, {})[what] = count
        return {tier: {**held, "total": sum(held.values())} for tier, held in found.items()}

    def short_by(self, budget_bytes: int) -> int:
        """Bytes that are missing for this budget; 0 when it fits."""
        return max(budget_bytes - self.room_bytes, 0)

    def least_blocks(self, budget_bytes: int) -> int | None:
        """The fewest blocks from 0 whose experts the CPU has to take so that all others fit where this budget does; None: no number."""
        left, cpu, room = self.model.all_expert_bytes, 0, budget_bytes + self.beside_bytes + self.engine_bytes
        for n, layer in enumerate((*self.model.layers, NO_LAYER)):
            if left + cpu * self._cpu_beside + self._engine_bytes(self.model.layers[:n]) <= room:
                return n
            left, cpu = left - layer.expert_bytes, cpu + layer.expert_bytes
        return None

    def require(self, budget_bytes: int, page_cache_bytes: int = 0, emptied: bool = False) -> None:
        """Raises DoesNotFit when the budget does not fit on the device, or what another memory has to hold not there."""
        self.require_device(budget_bytes)
        self.require_others(budget_bytes, page_cache_bytes, emptied)

    def require_device(self, budget_bytes: int) -> None:
        """Raises DoesNotFit when the budget does not fit on the device."""
        one = self.least_bytes
        if self.short_by(one):
            expert = f" and one expert {nbytes(one)}" if one else ""
            raise DoesNotFit(
                f"{self.what} does not fit on {self.hw.name}: {self.rest}{expert} exceed the usable {nbytes(self.usable_bytes)} by "
                f"{nbytes(self.short_by(one))}"
            )
        if self.short_by(budget_bytes):
            raise DoesNotFit(
                f"{nbytes(budget_bytes)} of experts do not fit on {self.hw.name}: short by {nbytes(self.short_by(budget_bytes))} of "
                f"{nbytes(self.usable_bytes)} usable ({self.rest})"
            )

    def require_others(self, budget_bytes: int, page_cache_bytes: int = 0, emptied: bool = False) -> None:
        """Raises DoesNotFit when what another memory has to hold does not fit there."""
        for name, held in self.others(budget_bytes, page_cache_bytes, emptied).items():
            total = held.pop("total")
            if short := max(total - self.hw.tiers[name].capacity_bytes, 0):
                what = ", ".join(f"{part} {nbytes(count)}" for part, count in held.items())
                raise DoesNotFit(
                    f"{self.what} does not fit on {name} of {self.hw.name}: {what} are short by {nbytes(short)} of "
                    f"{nbytes(self.hw.tiers[name].capacity_bytes)}"
                )

    def require_kv(self, context: int, sequences: int, microbatch: int) -> None:
        """Raises UserError where the KV cache of so many sequences of `context` positions does not fit beside the dense weights alone."""
        room, one = max(self.usable_bytes - self.model.dense_bytes, 0), self.model.kv_bytes(context, microbatch)
        if one * sequences <= room:
            return
        fits, beyond = 0, context
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            fits, beyond = (middle, beyond) if self.model.kv_bytes(middle, microbatch) <= room else (fits, middle)
        most = f"{room // one:,} such sequences" if room >= one else f"one sequence of {fits:,} positions"
        raise UserError(
            f"{self.what} does not fit on {self.hw.name}: the KV cache of {sequences:,} x {context:,} positions takes "
            f"{nbytes(one * sequences)}, and {nbytes(room)} are left beside the dense weights, enough for {most}"
        )

    def require_buffers(self, budget_bytes: int, buffer_bytes: int, low_bytes: int = 0) -> None:
        """Raises DoesNotFit when prefetch buffers, or those for low copies that are forgotten, leave the budget too little room."""
        if low_bytes and (short := self.short_by(budget_bytes + buffer_bytes + low_bytes)):
            raise DoesNotFit(
                f"{nbytes(low_bytes)} of low copies do not fit on {self.hw.name} beside {nbytes(budget_bytes)} of experts: short by "
                f"{nbytes(short)} of {nbytes(self.usable_bytes)} usable; lower --budget by that, or give them a part with --low-budget"
            )
        if short := self.short_by(budget_bytes + buffer_bytes):
            raise DoesNotFit(
                f"prefetch buffers of {nbytes(buffer_bytes)} do not fit on {self.hw.name} beside {nbytes(budget_bytes)} of experts: short "
                f"by {nbytes(short)} of {nbytes(self.usable_bytes)} usable; lower --budget by that, or --prefetch-into cache"
            )


def budget_of(memory: Memory, budget: int | str | None, total: int | str | None) -> int:
    """Bytes of the device's routed experts that --budget (experts alone) or --memory (dense + KV + experts) ask for, at most all that
    the placement left to the device; a percentage is of these."""
    if budget is not None and total is not None:
        raise UserError("give --budget (experts only) or --memory (dense weights + KV cache + experts), not both")
    if total is not None:
        needed = memory.usable_bytes - memory.room_bytes
        wanted = bytes_of(total, None, "--memory") - needed
        if wanted < memory.least_bytes:
            expert = " and one expert" if memory.least_bytes else ""
            raise UserError(
                f"--memory {total} is too small for {memory.what}: the least is {nbytes(needed + memory.least_bytes)} "
                f"({memory.rest}{expert})"
            )
        return min(wanted, memory.left_bytes)
    if budget is not None:
        return min(bytes_of(budget, memory.left_bytes, "--budget"), memory.left_bytes)
    memory.require(max(memory.holds_bytes, memory.least_bytes))
    return memory.holds_bytes


def beyond_of(memory: Memory, budget: int | str | None) -> int:
    """Bytes that --budget asks for beyond all experts that the placement left to the device."""
    return 0 if budget is None else max(bytes_of(budget, memory.left_bytes, "--budget") - memory.left_bytes, 0)


def bound_of(memory: Memory, which: str, budget: int | str | None, total: int | str | None) -> int:
    """Bytes of the device's routed experts that a bound keeps resident. Raises UserError for a budget that does not hold them."""
    if which == "nothing":
        return 0
    if (budget, total) != (None, None) and budget_of(memory, budget, total) < memory.left_bytes:
        asked = f"--budget {budget}" if total is None else f"--memory {total}"
        raise UserError(
            f"{asked} holds less than the bound everything, {nbytes(memory.left_bytes)} of experts; leave one of them out"
        )
    return memory.left_bytes


def page_cache_of(hw: Hardware, size: int | str, least_bytes: int) -> int:
    """Bytes that --page-cache gives to what was read from a store behind the link's memory; 0 = no page cache.

    least_bytes: the smallest expert. Raises UserError.
    """
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
    if 0 < count_bytes < least_bytes:
        raise UserError(
            f"--page-cache {size} is below one expert, {least_bytes:,} B, so it would keep nothing; raise it, or leave it out"
        )
    return count_bytes
