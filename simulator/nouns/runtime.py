"""What an engine costs beside bytes and FLOPs: how many kernels it launches, and constants that hold on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from simmoe.simulator.plain import plain


@dataclass(frozen=True)
class Constant:
    """One number of an engine in SI units, how it is known, what it was fitted on, and where the true value may lie."""

    value: float
    low: float  # low <= value <= high
    high: float
    kind: str  # fitted | measured | read (in its source text) | assumed
    source: str
    text: str  # as the file writes it


@dataclass(frozen=True)
class Runtime:
    """An engine as data. Paths of constants are those of its file, such as decode.kernel."""

    name: str
    title: str
    engine: str  # whose flags it understands; empty = none
    builds: str  # which builds the constants are of
    device: str  # gpu or cpu: what computes all that no placement leaves to another unit
    timeline: str  # policies/timeline: what waits for what in a layer
    maker: str  # of the devices that its constants are of: nvidia, amd, apple, any
    streams: bool  # loads what is not resident; False: what does not fit is refused
    microbatch: int  # tokens of a prompt that it reads in one pass; 0 = all
    host_memory: str  # pinned or pageable: where it keeps what crosses the link
    kernels: Mapping[str, int]  # launched in one pass, by part of a layer and by word of Layer.features
    constants: Mapping[str, Constant]
    digest: str = ""

    def __repr__(self) -> str:
        return plain(f"<Runtime {self.name}: {self.title}>")

    def of(self, path: str) -> float | None:
        """A constant; None where the engine has none of that kind."""
        found = self.constants.get(path)
        return None if found is None else found.value

    def known(self, path: str) -> float:
        """A constant that every file with its section has."""
        return self.constants[path].value

    @property
    def carries(self) -> bool:
        """Whether large passes carry the CPU's experts over the link."""
        return any(f"link.offload_{what}" in self.constants for what in ("tokens", "rows"))

    @property
    def only_stores(self) -> bool:
        """Whether host memory only keeps weights, which every pass reads over the link: the engine computes nothing on the CPU."""
        return self.of("link.offload_tokens") == 1 and self.of("cpu.memory") is None

    @property
    def slowest(self) -> Runtime:
        return self._at_ends(False)

    @property
    def fastest(self) -> Runtime:
        return self._at_ends(True)

    def _at_ends(self, fast: bool) -> Runtime:
        """Every constant at the end of its range at which the engine is faster, or slower; sizes stay, as those of a machine do."""
        changed = {
            path: replace(one, value=one.low if fast == (path in SLOWER_WHEN_MORE) else one.high)
            for path, one in self.constants.items()
            if path not in SIZES
        }
        return replace(self, constants={**self.constants, **changed})


SLOWER_WHEN_MORE = frozenset({
    "decode.kernel", "decode.layer", "decode.pass", "prompt.rows", "cpu.layer", "link.offload_tokens", "link.offload_rows",
})  # fmt: skip
SIZES = frozenset({"buffers.beside"})
