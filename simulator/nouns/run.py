"""What a run leaves behind: times by pass, spans, counts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Clocks:
    """What a clock measures while it plays, by pass, in picoseconds."""

    start_ps: list[int] = field(default_factory=list)
    end_ps: list[int] = field(default_factory=list)
    stall_ps: list[int] = field(default_factory=list)  # compute unit waiting for an expert to arrive
    slowed_ps: list[int] = field(default_factory=list)  # compute time added by transfers into the same memory
    cpu_ps: list[int] = field(default_factory=list)  # compute unit waiting for experts that the CPU computes
    experts_ps: list[int] = field(
        default_factory=list
    )  # routed experts computed, as long as it takes while nothing slows it
    link_busy_ps: int = 0

    def add(self, start: int, end: int, stall: int, slowed: int, cpu: int, experts: int) -> None:
        self.start_ps.append(start)
        self.end_ps.append(end)
        self.stall_ps.append(stall)
        self.slowed_ps.append(slowed)
        self.cpu_ps.append(cpu)
        self.experts_ps.append(experts)


@dataclass
class Spans:
    """Every launch, transfer and decision of a run, in picoseconds."""

    launches: list[tuple[str, int, int]] = field(default_factory=list)  # (name, start, duration)
    transfers: list[tuple[int, int, int]] = field(default_factory=list)  # (object, start, duration)
    decisions: list[int] = field(default_factory=list)  # [events] when the decisions of each event are made

    def launch(self, name: str, start: int, lasts: int) -> None:
        self.launches.append((name, start, lasts))

    def transfer(self, obj: int, start: int, lasts: int) -> None:
        self.transfers.append((obj, start, lasts))


@dataclass(frozen=True)
class Counts:
    """What one phase asked of the cache. Requests are distinct experts of an event; bytes are all bytes that crossed the link."""

    tokens: int
    requests: int
    hits: int
    misses: int  # loaded
    on_cpu: int  # missing and computed on the CPU
    evictions: int
    prefetches: int
    bytes: int
    write_back_bytes: int = 0  # evicted experts copied back; not in bytes

    @property
    def hit_rate(self) -> float | None:
        return self.hits / self.requests if self.requests else None
