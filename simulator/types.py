"""The nouns: hardware, model shapes, traces. Frozen data with the units in the names; no behaviour beyond look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

PREFILL, DECODE = 0, 1  # values of Trace.phase


# --- hardware -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One number of a machine: value in the base unit of its field, how it is known, and where it comes from."""

    value: int
    kind: str  # nominal | measured | assumed
    source: str
    text: str  # the quantity as the profile writes it, such as "204.8 GB/s"
    low: int  # what the true value may be: low <= value <= high
    high: int
    dimension: str  # what it measures: bandwidth, time, ...; see docs/hardware_format.md


@dataclass(frozen=True)
class Curve:
    """A share of a rate at some sizes or depths, how it is known, and where it comes from."""

    points: tuple[tuple[int, float], ...]  # (bytes or requests in flight, share), rising
    kind: str
    source: str


@dataclass(frozen=True)
class Tier:
    """A memory or a store: device HBM, host DRAM, flash."""

    name: str
    capacity_bytes: int
    bytes_per_s: int  # what the whole tier delivers to all its readers together
    queue: tuple[tuple[int, float], ...] = ()  # (requests in flight, share of bytes_per_s); () = always all of it


@dataclass(frozen=True)
class Upstream:
    """A store before Link.src, such as an NVMe drive behind host DRAM."""

    src: str
    bytes_per_s: int
    latency_ps: int
    pipelined: bool  # the link may send on what has arrived; False: only a whole expert


@dataclass(frozen=True)
class Managed:
    """Memory whose pages the driver moves when they are touched."""

    bytes_per_s: int
    page_bytes: int
    fault_ps: int  # fixed cost of one page


@dataclass(frozen=True)
class Link:
    """A FIFO path along which an expert is loaded."""

    src: str
    dst: str
    bytes_per_s: int
    latency_ps: int
    efficiency: tuple[tuple[int, float], ...] = ()  # (bytes of a transfer, share of bytes_per_s); () = always all of it
    pageable_bytes_per_s: int | None = None  # out of pageable host memory; None: not known
    duplex: str = "full"  # full: both directions at once; half: they take turns
    upstream: Upstream | None = None
    write_bytes_per_s: int | None = None  # from dst back to src; None = bytes_per_s
    host_memory: str = "pinned"  # how the engine allocates what it loads from: pinned, pageable or managed
    managed: Managed | None = None
    queue_depth: int | None = None  # reads that the engine keeps in flight; None = enough for bytes_per_s


@dataclass(frozen=True)
class ComputeUnit:
    """A GPU (or a CPU): what one launch costs, how fast it reads its memory, how fast it computes."""

    name: str
    memory: str  # name of the tier it reads
    bytes_per_s: int
    launch_ps: int
    flops_per_s: Mapping[str, int]  # by number format, dense (no structured sparsity)
    softness: float | None = None  # p >= 1 of (memory^p + compute^p)^(1/p); None = the larger of the two
    grouped_launch_ps: int | None = None  # of one fused launch over routed experts; None = launch_ps
    grouped_bytes_per_s: int | None = None  # reached by that launch; None = bytes_per_s
    grouped_softness: float | None = None  # of that launch, as softness; None = the larger of the two
    graph_launch_ps: int | None = None  # of a launch inside a CUDA graph; None: not known


@dataclass(frozen=True)
class Power:
    """Electric power and energy; None where the profile does not say."""

    idle_uw: int | None = None  # microwatts
    max_uw: int | None = None
    byte_aj: int | None = None  # attojoules per byte of device-memory traffic
    link_byte_aj: int | None = None  # attojoules per byte over the link
    flop_aj: int | None = None  # attojoules per FLOP


@dataclass(frozen=True)
class Thermal:
    """One thermal resistance between the chip and the air."""

    mk_per_w: int  # millikelvin per watt
    limit_mc: int  # thousandths of a degree Celsius at which clocks are cut
    ambient_mc: int


@dataclass(frozen=True)
class Hardware:
    """One machine. `unified`: the link writes into the memory that the compute unit reads."""

    name: str
    title: str
    unified: bool
    tiers: Mapping[str, Tier]
    units: Mapping[str, ComputeUnit]
    link: Link  # expert home -> device memory
    devices: tuple[str, ...]  # names of the compute units that run the model; one today
    reserved_bytes: int  # device memory that the model cannot have (operating system, runtime context)
    dram_bytes_per_loaded_byte: int  # unified only: w of the contention law, 1 = the load lands in place
    figures: Mapping[str, Figure] = field(default_factory=dict)  # every number of the file, by its path in it
    digest: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)  # every curve of the file, by its path in it
    power: Power | None = None
    thermal: Thermal | None = None
    modes: tuple[str, ...] = ()  # power modes that `name@mode` chooses

    @property
    def device(self) -> ComputeUnit:
        return self.units[self.devices[0]]

    @property
    def cpu(self) -> ComputeUnit | None:
        """The first unit that is no device: it could compute experts where they are stored."""
        return next((unit for name, unit in self.units.items() if name not in self.devices), None)

    @property
    def device_memory(self) -> Tier:
        return self.tiers[self.device.memory]

    @property
    def home(self) -> Tier:
        """The tier that holds every expert that is not resident."""
        return self.tiers[self.link.upstream.src if self.link.upstream else self.link.src]


# --- model shapes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A group of weights that one launch reads: stored bytes, and FLOPs per token that passes through it."""

    params: int
    bytes: int
    flops_per_token: int


NO_PART = Part(0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """One transformer layer. A dense layer has `ffn` and no experts; an MoE layer has `n_experts` > 0."""

    attention: Part  # attention, norms and router: timeline part (a)
    kv_bytes_per_position: int  # KV cache of one position of one sequence
    flops_per_position: int  # score and value products, for each (token, attended position)
    ffn: Part = NO_PART  # dense FFN
    shared: Part = NO_PART  # shared experts, all of them together
    expert: Part = NO_PART  # ONE routed expert
    n_experts: int = 0


@dataclass(frozen=True)
class ModelShape:
    """Bytes and FLOPs of each part of a model in one storage format."""

    name: str
    format: str  # storage format of the weights: fp32, fp16, ..., or "stored" for real file sizes
    compute: str  # number format of the arithmetic: a key of ComputeUnit.flops_per_s
    layers: tuple[Layer, ...]
    top_k: int
    head: Part  # final norm and LM head
    embedding: Part  # input embedding (zero when tied: counted in the head), resident, look-up free
    source: str = ""
    digest: str = ""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        return tuple(i for i, layer in enumerate(self.layers) if layer.n_experts)

    @property
    def expert_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [moe_layers]: stored bytes of one expert of each MoE layer."""
        return np.array([self.layers[i].expert.bytes for i in self.moe_layers], np.int64)

    @property
    def all_expert_bytes(self) -> int:
        return sum(layer.n_experts * layer.expert.bytes for layer in self.layers)

    @property
    def dense_bytes(self) -> int:
        """Everything that is not a routed expert: always resident."""
        per_layer = sum(x.attention.bytes + x.ffn.bytes + x.shared.bytes for x in self.layers)
        return per_layer + self.head.bytes + self.embedding.bytes

    @property
    def total_params(self) -> int:
        per_layer = sum(
            x.attention.params + x.ffn.params + x.shared.params + x.n_experts * x.expert.params for x in self.layers
        )
        return per_layer + self.head.params + self.embedding.params

    @property
    def kv_bytes_per_position(self) -> int:
        return sum(layer.kv_bytes_per_position for layer in self.layers)


# --- traces ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trace:
    """Which experts every token used in every MoE layer: trace format v1, see docs/trace_format.md."""

    expert_ids: npt.NDArray[np.int16]  # [tokens, moe_layers, top_k], -1 = slot unused
    layer_index: npt.NDArray[np.int16]  # [moe_layers], model layer of each column
    pass_ptr: npt.NDArray[np.int64]  # [passes + 1], rows of a pass are contiguous
    phase: npt.NDArray[np.int8]  # [passes], 0 prefill, 1 decode
    sequence: npt.NDArray[np.int32]  # [tokens]
    position: npt.NDArray[np.int32]  # [tokens], position within the sequence
    meta: Mapping[str, Any]
    gate_weights: npt.NDArray[np.float16] | None = None  # shape of expert_ids
    predict_lead: npt.NDArray[np.int16] | None = None  # [P]
    predicted_ids: npt.NDArray[np.int16] | None = None  # [P, tokens, moe_layers, p]

    @property
    def n_tokens(self) -> int:
        return int(self.expert_ids.shape[0])

    @property
    def n_layers(self) -> int:
        return int(self.expert_ids.shape[1])

    @property
    def top_k(self) -> int:
        return int(self.expert_ids.shape[2])

    @property
    def n_passes(self) -> int:
        return int(self.phase.shape[0])

    @property
    def n_experts(self) -> int:
        return int(self.meta["n_experts"])
