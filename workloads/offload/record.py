"""What a run of the offload runtime leaves behind: its routing as a trace, every hit and load, and what took how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format import trace as traces
from simmoe.workloads.offload.layout import Floats, Ids
from simmoe.workloads.offload.slots import Decision
from simmoe.workloads.offload.weather import Weather


@dataclass
class Samples:
    """Reference operations, measured between the passes of a run; nanoseconds."""

    dense: list[int] = field(default_factory=list)  # what lies between the experts of two MoE layers
    expert: list[int] = field(default_factory=list)  # an expert that has been in its slot
    fresh: list[int] = field(default_factory=list)  # one that has just been copied
    beside: list[int] = field(default_factory=list)  # one while another is copied
    copy: list[int] = field(default_factory=list)  # the link's own time for one load
    wake: list[int] = field(default_factory=list)  # what a round trip of one load takes beside


@dataclass
class Log:
    """Filled while a run plays."""

    n_experts: int
    meta: dict[str, Any]
    ids: list[list[Ids]] = field(default_factory=list)  # [passes][layers] of (rows, k)
    hit: list[list[list[int]]] = field(default_factory=list)  # [passes][layers] of experts that were hits
    phase: list[int] = field(default_factory=list)
    sequence: list[Ids] = field(default_factory=list)  # [passes] of (rows)
    position: list[Ids] = field(default_factory=list)
    pass_ns: list[int] = field(default_factory=list)
    decide_ns: list[int] = field(default_factory=list)  # [events] until the first load can be issued
    submit_ns: list[int] = field(default_factory=list)  # [loads] of the computing thread
    loads: list[tuple[int, int]] = field(default_factory=list)  # (event, object), prefetches included
    hits: int = 0
    misses: int = 0
    on_cpu: int = 0
    substituted: int = 0
    dropped: int = 0
    low: int = 0  # of the misses: copies of low precision
    gates: list[list[Floats]] = field(
        default_factory=list
    )  # [passes][layers] of (rows, k); no layers where nothing is given
    most_resident: int = 0  # slots
    logits: list[Tensor] = field(default_factory=list)  # [passes]
    samples: Samples = field(default_factory=Samples)

    def begin(self, phase: int, sequence: Ids, position: Ids) -> None:
        """A forward pass over rows of these sequences at these positions."""
        self.phase.append(phase)
        self.sequence.append(sequence)
        self.position.append(position)
        self.ids.append([])
        self.hit.append([])
        self.gates.append([])

    def event(self, column: int, ids: Ids, gate: Floats | None, decision: Decision, resident: int) -> None:
        """What MoE layer `column` asked and what was decided."""
        number = len(self.decide_ns)
        self.ids[-1].append(ids)
        self.gates[-1] += [] if gate is None else [gate]
        self.hit[-1].append([placed.obj - column * self.n_experts for placed in decision.hits])
        self.loads += [(number, placed.obj) for placed in (*decision.loads, *decision.prefetches)]
        self.hits += len(decision.hits)
        self.misses += len(decision.loads) + len(decision.low)
        self.on_cpu += len(decision.on_cpu)
        self.substituted += len(decision.instead)
        self.dropped += len(decision.dropped)
        self.low += len(decision.low)
        self.most_resident = max(self.most_resident, resident)

    def flags(self) -> npt.NDArray[np.bool_]:
        """bool [tokens, layers, k]: the expert of each occurrence was resident at its event's start."""
        passes = zip(self.ids, self.hit)
        return np.concatenate([np.stack([np.isin(i, h) for i, h in zip(ids, hits)], 1) for ids, hits in passes])

    def trace(self, layer_index: Ids) -> Trace:
        """The routing that was played, in trace format v1."""
        ids = np.concatenate([np.stack(layers, 1) for layers in self.ids]).astype(np.int16)
        sizes = [len(rows) for rows in self.sequence]
        no_expert = bool((ids < 0).all(2).any())
        meta = {"schema_version": 1, "n_experts": self.n_experts, "top_k": ids.shape[2], **self.meta}
        return traces.check(
            Trace(
                expert_ids=ids,
                layer_index=layer_index.astype(np.int16),
                pass_ptr=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
                phase=np.array(self.phase, np.int8),
                sequence=np.concatenate(self.sequence).astype(np.int32),
                position=np.concatenate(self.position).astype(np.int32),
                gate_weights=self._gate_weights(),
                meta=meta | ({"null_experts": True} if no_expert else {}),
            ),
            "recorded trace",
        )

    def _gate_weights(self) -> npt.NDArray[np.float16] | None:
        """[tokens, layers, k], where every event was given them."""
        if not all(self.gates):
            return None
        return np.concatenate([np.stack(layers, 1) for layers in self.gates]).astype(np.float16)


@dataclass(frozen=True)
class Played:
    """One run of the runtime. Counts and flags mean what those of `simmoe.replay` mean."""

    trace: Trace
    hit: npt.NDArray[np.bool_]  # [tokens, layers, k]
    hits: int
    misses: int
    on_cpu: int
    substituted: int
    dropped: int
    low: int  # of the misses: copies of low precision
    evictions: int
    bytes: int
    expert_bytes: int  # of one expert, as stored
    peak_resident_bytes: int
    loads: list[tuple[int, int]]  # (event, object) in order of issue
    pass_ns: Ids  # [passes] wall time
    decide_ns: Ids  # [events]
    submit_ns: Ids  # [loads]
    logits: list[Tensor]  # [passes]; empty for a run of synthetic weights
    samples: Samples
    weather: Weather

    @property
    def wall_s(self) -> float:
        return float(self.pass_ns.sum()) / 1e9
