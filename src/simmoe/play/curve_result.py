"""What `simmoe.curve` returns: the curve of each policy, the bound of all policies, and runs at the budgets of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simmoe.play import bars
from simmoe.play.identity import eviction_identity, is_bound, sees_the_future
from simmoe.play.result import Run, versions
from simmoe.play.tabular import Record, Tabular
from simmoe.play.workload import Workload
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.workloads.format import plausible
from simmoe.workloads.format import trace as traces


@dataclass(frozen=True)
class Curve:
    """One policy at rising budgets; every point is exact."""

    eviction: str
    budget_bytes: Ints  # [points]
    hits: Ints  # [points], prefill and decode
    misses: Ints
    bytes: Ints  # that are loaded
    decode_hits: Ints
    decode_misses: Ints
    decode_bytes: Ints
    every: bool  # there is a point at each size at which a whole slot more fits

    @property
    def decode_hit_rate(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Share of the requests of decode that are hits; of all where nothing is decoded."""
        asked = self.decode_hits + self.decode_misses
        return self.decode_hits / asked if asked.any() else self.hits / np.maximum(self.hits + self.misses, 1)

    def at(self, budget_bytes: int) -> int:
        """Number of the point of that budget. Raises UserError where there is none."""
        found = int(np.searchsorted(self.budget_bytes, budget_bytes))
        if found == len(self.budget_bytes) or self.budget_bytes[found] != budget_bytes:
            raise UserError(f"the curve of {self.eviction} has no point at {budget_bytes:,} B; see its budget_bytes")
        return found

    def to_json(self) -> dict[str, Any]:
        names = ("budget_bytes", "hits", "misses", "bytes", "decode_hits", "decode_misses", "decode_bytes")
        arrays = {name: getattr(self, name).tolist() for name in names}
        bound = is_bound(self.eviction, None)
        return {"eviction": eviction_identity(self.eviction), "bound": bound, "every": self.every, **arrays}


@dataclass(frozen=True, repr=False)
class CurveResult(Tabular):
    """Curves of several policies on one trace, and, with a machine, runs at the budgets of the table."""

    trace: Trace
    expert_bytes: Ints  # [layers]; of 1 each where no model says sizes
    scope: str
    curves: dict[str, Curve]  # by eviction policy
    budgets: tuple[int, ...]  # of the table
    least_bytes: Ints  # [budgets] that any policy loads
    least_decode_bytes: Ints  # [budgets] the same of decode alone
    workload: Workload | None = None
    runs: Mapping[str, tuple[Run | None, ...]] | None = None  # by policy at each of the budgets; None = it does not fit
    everything: Run | None = None

    brief = ("eviction", "budget_bytes", "decode_hit_rate", "decode_bytes", "tok_s", "most_tok_s")

    def title(self) -> str:
        sizes = max(len(one.hits) for one in self.curves.values())
        return (
            f"Curves of {', '.join(self.curves)}, exact at up to {sizes:,} sizes; the rows are the budgets of the table"
        )

    def records(self) -> list[Record]:
        """A row for each policy and budget of the table; `curves` has every size. most_tok_s: what no policy exceeds."""
        return [self._record(name, n) for name in self.curves for n in range(len(self.budgets))]

    def _record(self, name: str, n: int) -> Record:
        curve, run = self.curves[name], None if self.runs is None else self.runs[name][n]
        here = curve.at(self.budgets[n])
        counted = {field: int(getattr(curve, field)[here]) for field in ("hits", "misses", "bytes", "decode_bytes")}
        return {
            "kind": "simulated", "eviction": name, "budget_bytes": self.budgets[n], **counted,
            "decode_hit_rate": float(curve.decode_hit_rate[here]), "least_bytes": int(self.least_bytes[n]),
            "tok_s": run and run.tok_s, "most_tok_s": self.most_tok_s[n],
        }  # fmt: skip

    @property
    def sized(self) -> bool:
        """Whether a model says how large experts are; else budgets count experts."""
        return self.workload is not None or int(self.expert_bytes.max()) > 1

    @property
    def every_bytes(self) -> int:
        return int(self.expert_bytes.sum()) * self.trace.n_experts

    @property
    def emitted(self) -> int:
        """Decode tokens that were kept."""
        rows = np.repeat(self.trace.phase == DECODE, np.diff(self.trace.pass_ptr))
        return int((self.trace.kept & rows).sum())

    @property
    def most_tok_s(self) -> tuple[float | None, ...]:
        """Tokens a second that no policy exceeds, at each of the budgets; None without a machine or decode."""
        if self.everything is None:
            return (None,) * len(self.budgets)
        return tuple(bars.most_tok_s(self.everything, int(count)) for count in self.least_decode_bytes)

    @property
    def notes(self) -> list[str]:
        """What to know beside the numbers."""
        ahead = [note for name in self.curves for note in sees_the_future(name)]
        return [*plausible.notes(self.trace), *ahead]

    def _row(self, n: int, budget: int) -> dict[str, Any]:
        """Number n of the table as plain data."""
        least = {"least_bytes": int(self.least_bytes[n]), "least_decode_bytes": int(self.least_decode_bytes[n])}
        if self.runs is None:
            return {"budget_bytes": budget, **least}
        tok_s = {name: None if (run := each[n]) is None else run.tok_s for name, each in self.runs.items()}
        return {"budget_bytes": budget, **least, "most_tok_s": self.most_tok_s[n], "tok_s": tok_s}

    def to_json(self) -> dict[str, Any]:
        facts = {"trace": self._trace_facts()} if self.workload is None else self.workload.facts()
        rows = [self._row(n, budget) for n, budget in enumerate(self.budgets)]
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), **facts, "scope": self.scope,
            "expert_bytes": self.expert_bytes.tolist(), "every_bytes": self.every_bytes, "sized": self.sized, "decode_tokens": self.emitted,
            "notes": self.notes,
            "curves": [curve.to_json() for curve in self.curves.values()], "rows": rows,
        }  # fmt: skip

    def _trace_facts(self) -> dict[str, Any]:
        """What was counted, where no machine's facts say it."""
        trace, meta = self.trace, self.trace.meta
        return {
            "model": meta.get("model"), "router": meta.get("router"), "digest": meta.get("digest") or traces.digest(trace),
            "tokens": trace.n_tokens, "layers": trace.n_layers, "experts": trace.n_experts, "top_k": trace.top_k,
        }  # fmt: skip
