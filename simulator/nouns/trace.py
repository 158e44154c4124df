"""A routing trace: which experts every token used in every MoE layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.nouns.picked import taken
from simmoe.simulator.plain import plain

PREFILL, DECODE = 0, 1  # values of Trace.phase


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
    emitted: npt.NDArray[np.int8] | None = (
        None  # [tokens], 1 = its token was kept, 0 = a guess that its verify pass rejected
    )
    reads: npt.NDArray[np.bool_] | None = (
        None  # [tokens], of a played trace: the row reads a prompt though its pass is decode
    )

    def __repr__(self) -> str:
        made = " ".join(str(word) for word in (self.meta.get("model"), self.meta.get("router")) if word)
        shape = (
            f"{self.n_tokens:,} tokens × {self.n_layers} layers × top-{self.top_k} of {self.meta.get('n_experts', '?')}"
        )
        return plain(f"<Trace{f' of {made}' if made else ''}: {shape}, {self.n_passes:,} passes>")

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
    def kept(self) -> npt.NDArray[np.bool_]:
        """[tokens]: the token of the row was kept. Without `emitted` every row is."""
        flags: npt.NDArray[np.bool_] = np.ones(self.n_tokens, bool) if self.emitted is None else self.emitted == 1
        return flags

    @property
    def decodes(self) -> npt.NDArray[np.bool_]:
        """[tokens]: the row decodes; else it reads a prompt. A decode pass may hold rows of both kinds."""
        mine: npt.NDArray[np.bool_] = np.repeat(self.phase == DECODE, np.diff(self.pass_ptr))
        return mine if self.reads is None else mine & ~self.reads

    @property
    def n_experts(self) -> int:
        return int(self.meta["n_experts"])

    def taken(self, rows: npt.ArrayLike | slice, pass_ptr: npt.ArrayLike, phase: npt.ArrayLike) -> Trace:
        """These rows of the trace, in this order, in these passes. A digest would be that of the recorded passes: it is left out."""
        names = ("expert_ids", "sequence", "position", "gate_weights", "emitted", "reads")
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        pass_ptr, phase = np.asarray(pass_ptr, np.int64), np.asarray(phase, np.int8)
        moved: Mapping[str, Any] = {
            name: taken(one, rows) if one.ndim > 1 else one[rows]
            for name in names
            if (one := getattr(self, name)) is not None
        }
        guesses = None if self.predicted_ids is None else self.predicted_ids[:, rows]
        meta = {key: value for key, value in self.meta.items() if key != "digest"}
        return replace(self, **moved, pass_ptr=pass_ptr, phase=phase, predicted_ids=guesses, meta=meta)
