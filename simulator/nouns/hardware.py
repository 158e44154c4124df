"""A machine: memories, links, compute units. Frozen data with the units in the names; no behaviour beyond look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simmoe.simulator.plain import plain


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
    date: str | None = None  # of a price: when it was asked, YYYY, YYYY-MM or YYYY-MM-DD
    condition: str | None = None  # of a price: new or used


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
    peak_bytes_per_s: int | None = None  # what its data sheet says; None: not known


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
    pinned_capacity_bytes: int | None = None  # of pinned host memory; what does not fit is pageable; None: no limit


@dataclass(frozen=True)
class Fabric:
    """What joins the devices: each message takes its latency and its bytes at the rate; one message at a time each way."""

    bytes_per_s: int
    latency_ps: int
    peer: bool = True  # a device reaches the memory of another one; else messages go through host memory


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
    host_wait_ps: int = 0  # a device-to-host synchronisation: until the host has read what the router chose
    hand_over_ps: int | None = None  # a wait of one stream for another; None: not known, as with all that follow
    kernel_floor_ps: int | None = None  # of an empty kernel, back to back
    graph_kernel_floor_ps: int | None = None  # of an empty kernel in a CUDA graph
    processors: int | None = None  # streaming multiprocessors, compute units, GPU cores; of a CPU its cores
    clock_hz: int | None = None  # that the data sheet calls boost
    quantised_bytes_per_s: int | None = (
        None  # at which an engine's quantised matrix-vector kernels read, with all threads
    )
    thread_bytes_per_s: int | None = None  # the same with one thread
    reserved_bytes: int | None = None  # of the memory of this one of several devices; None = as the machine's


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
    link: Link  # expert home -> memory of the first device
    devices: tuple[str, ...]  # names of the compute units that run the model
    reserved_bytes: int  # memory of each device that the model cannot have (operating system, runtime context)
    dram_bytes_per_loaded_byte: int  # unified only: w of the contention law, 1 = the load lands in place
    figures: Mapping[str, Figure] = field(default_factory=dict)  # every number of the file, by its path in it
    digest: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)  # every curve of the file, by its path in it
    power: Power | None = None
    thermal: Thermal | None = None
    modes: tuple[str, ...] = ()  # power modes that `name@mode` chooses
    more_links: Mapping[str, Link] = field(default_factory=dict)  # into the memories of the other devices, by device
    fabric: Fabric | None = None  # between the devices, where there are several

    def __repr__(self) -> str:
        return plain(f"<Hardware {self.name}: {self.title}>")

    @property
    def device(self) -> ComputeUnit:
        return self.units[self.devices[0]]

    @property
    def links(self) -> tuple[Link, ...]:
        """The link into the memory of each device."""
        return (self.link, *(self.more_links[name] for name in self.devices[1:]))

    def alone(self, number: int) -> Hardware:
        """The machine without its other devices."""
        if len(self.devices) == 1:
            return self
        name = self.devices[number]
        reserved = self.units[name].reserved_bytes
        units = {other: unit for other, unit in self.units.items() if other == name or other not in self.devices}
        of_first = "peak.flops." if number else "-"  # what the data sheet of the first one says
        return replace(
            self, units=units, devices=(name,), link=self.links[number], more_links={}, fabric=None,
            reserved_bytes=self.reserved_bytes if reserved is None else reserved,
            figures={path: figure for path, figure in self.figures.items() if not path.startswith(of_first)},
        )  # fmt: skip

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
