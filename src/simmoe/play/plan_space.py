"""What an engine lets one set for a model on a machine, and what of that fits: the base of the engines that `simmoe plan` searches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

from simmoe.play.buffers import BESIDE_BYTES, of_graph
from simmoe.play.plan_fit import Fit
from simmoe.play.plan_setup import Setup
from simmoe.policies.flags import Flags
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime

MICROBATCHES = (512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Space:
    """The options of one engine. Less away from the card is never slower, so for each size of a pass only the least that fits counts."""

    shapes: dict[str | None, ModelShape]  # by format of the KV cache
    hw: Hardware
    runtime: Runtime
    context: int
    prompt: int  # tokens that are read
    goal: str

    kv_formats: ClassVar[tuple[str | None, ...]] = (None, "fp8")  # the usual one, and one of 8 bits
    unit: ClassVar[str] = ""  # of what is away
    yours: ClassVar[str] = "YOUR_MODEL"  # where the model is no file that the engine opens

    # --- of each engine ---------------------------------------------------------------------------------------------

    @property
    def most_away(self) -> int:
        """What can be away from the card at all."""
        raise NotImplementedError

    def device(self, setup: Setup) -> dict[str, int]:
        """Bytes on the card by kind, with their total."""
        raise NotImplementedError

    def host_held(self, setup: Setup) -> int:
        """Bytes in host memory."""
        raise NotImplementedError

    def options(self, setup: Setup) -> dict[str, Any]:
        """Options of a scenario that say the same."""
        raise NotImplementedError

    def flags(self, setup: Setup, file: str) -> Flags:
        raise NotImplementedError

    def command(self, flags: Flags) -> str:
        """The line to paste."""
        raise NotImplementedError

    def offloads(self) -> tuple[bool, ...]:
        """Whether large passes may copy what is away, in the order in which it is tried."""
        return (True,)

    def sensible(self, setup: Setup) -> bool:
        """Whether it could be worth playing."""
        plain = self.least(setup.microbatch, None, setup.op_offload)
        return setup.kv_format is None or plain is None or setup.away < plain  # 8 bits cost precision

    # --- what fits --------------------------------------------------------------------------------------------------

    @property
    def room_bytes(self) -> int:
        return self.hw.device_memory.capacity_bytes - self.hw.reserved_bytes

    @property
    def host_bytes(self) -> int | None:
        """Memory in which lies what is away; None where there is no CPU beside the device, or both share one memory."""
        cpu = self.hw.cpu
        return None if cpu is None or self.hw.unified else self.hw.tiers[cpu.memory].capacity_bytes

    def free(self, setup: Setup) -> int:
        return self.room_bytes - self.device(setup)["total"]

    def host_left(self, setup: Setup) -> int | None:
        return None if self.host_bytes is None else self.host_bytes - self.host_held(setup)

    def least(self, microbatch: int, kv: str | None, offload: bool) -> int | None:
        """The least that must be away so that the rest fits into the card, and that into host memory; None: no number does."""
        key = (microbatch, kv, offload)
        if key not in self._least:
            self._least[key] = self._found(microbatch, kv, offload)
        return self._least[key]

    @cached_property
    def _least(self) -> dict[tuple[int, str | None, bool], int | None]:
        return {}

    def _found(self, microbatch: int, kv: str | None, offload: bool) -> int | None:
        setups = (Setup(microbatch, away, kv, offload) for away in range(self.most_away + 1))
        fits = next((one for one in setups if self.free(one) >= 0), None)
        if fits is None or (fits.away and (self.host_left(fits) or -1) < 0):
            return None
        return fits.away

    def candidates(self) -> list[Setup]:
        """For each KV format, and each least number that is away for some size of a pass: one setup."""
        found = dict[tuple[int, str | None, bool, int], Setup]()
        smallest = self.goal == "decode"  # which decodes alike whatever the size, and leaves more memory free
        for kv, size, offload in product(self.kv_formats, self.microbatches, self.offloads()):
            away = self.least(size, kv, offload)
            if away is None or not self.sensible(Setup(size, away, kv, offload)):
                continue
            key = (
                away,
                kv,
                offload,
                0 if away else size,
            )  # with everything on the card only the size is left to choose
            if key not in found or not smallest:
                found[key] = Setup(size, away, kv, offload)
        return list(found.values())

    @property
    def microbatches(self) -> list[int]:
        """A pass larger than the prompt changes nothing."""
        return [size for size in MICROBATCHES if size <= max(self.prompt, MICROBATCHES[0])]

    @property
    def easiest(self) -> Setup:
        """What takes the least of the card."""
        return Setup(MICROBATCHES[0], self.most_away, self.kv_formats[-1], self.offloads()[-1])

    def on(self, hw: Hardware) -> Space:
        """The same question about another machine."""
        return replace(self, hw=hw)

    def again(self, setup: Setup) -> Setup | None:
        """The same choice with the least away that fits here; None: nothing fits."""
        away = self.least(setup.microbatch, setup.kv_format, setup.op_offload)
        return None if away is None else setup._replace(away=away)

    def fitted(self, setup: Setup) -> Fit | None:
        """What llama-fit-params would print beside this choice; None: another engine."""
        return None

    def activations(self, setup: Setup) -> int:
        """What a pass computes in, and what the driver keeps."""
        return of_graph(self.shapes[setup.kv_format], setup.microbatch, ()) + BESIDE_BYTES


def summed(parts: dict[str, int]) -> dict[str, int]:
    return {**parts, "total": sum(parts.values())}
