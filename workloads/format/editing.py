"""Parts of a trace, and several traces as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

PLACES = tuple[int, int]  # the first and the last of several, both of them included


def cut(
    trace: Trace,
    *,
    rows: Sequence[PLACES] = (),
    passes: Sequence[PLACES] = (),
    sequences: Sequence[PLACES] = (),
    layers: Sequence[PLACES] = (),
) -> Trace:
    """What all of these name; an empty one names everything. A pass keeps those of its rows that stay. Raises UserError."""
    of_row = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    stays = _named(np.arange(trace.n_tokens), rows, "--rows") & _named(of_row, passes, "--passes")
    stays &= _named(trace.sequence, sequences, "--sequences")
    if not stays.any():
        raise UserError("nothing is left of the trace; name rows, passes and sequences that go together")
    lengths = np.bincount(of_row[stays], minlength=trace.n_passes)
    left = lengths > 0
    part = trace.taken(np.flatnonzero(stays), np.cumsum([0, *lengths[left]]), trace.phase[left])
    part = _of_layers(part, _named(part.layer_index, layers, "--layers")) if layers else part
    said = {"rows": rows, "passes": passes, "sequences": sequences, "layers": layers}
    taken = {name: ",".join(f"{a}-{b}" for a, b in places) for name, places in said.items() if places}
    return replace(part, meta={**part.meta, "cut": taken})


def _named(numbers: Ints, places: Sequence[PLACES], option: str) -> Flags:
    """Which of the numbers lie in one of the places; all of them if there are none. Raises UserError for a place without any."""
    found = np.zeros(len(numbers), bool) if places else np.ones(len(numbers), bool)
    for first, last in places:
        inside = (numbers >= first) & (numbers <= last)
        if not inside.any():
            raise UserError(
                f"{option} {first}-{last}: the trace has none of them; they go from {numbers.min()} to {numbers.max()}"
            )
        found |= inside
    return found


def _of_layers(trace: Trace, stays: Flags) -> Trace:
    """Guesses are left out: what a guess is ahead of is counted in layers."""
    gates = None if trace.gate_weights is None else trace.gate_weights[:, stays]
    ids, index = trace.expert_ids[:, stays], trace.layer_index[stays]
    meta = {**trace.meta, "null_experts": True} if (ids < 0).all(2).any() else trace.meta
    return replace(
        trace, expert_ids=ids, layer_index=index, gate_weights=gates, predict_lead=None, predicted_ids=None, meta=meta
    )


def join(traces: Sequence[Trace], names: Sequence[str]) -> Trace:
    """The traces one after the other, as sequences of one. Raises UserError where they are of different geometry."""
    first = traces[0]
    for name, one in zip(names, traces):
        for (what, value), other in zip(_geometry(one).items(), _geometry(first).values()):
            if value != other:
                raise UserError(
                    f"{name} has {what} {value}, {names[0]} {other}; only traces of one model can be joined"
                )
    sequences = [np.unique(one.sequence, return_inverse=True)[1].reshape(-1) for one in traces]  # numbered from 0
    lengths, last = (
        np.cumsum([0, *(one.n_tokens for one in traces)]),
        np.cumsum([0, *(int(each.max()) + 1 for each in sequences)]),
    )
    both = {name: [getattr(one, name) for one in traces] for name in ("gate_weights", "emitted")}
    kept = {name: np.concatenate(all_of) for name, all_of in both.items() if all(one is not None for one in all_of)}
    meta = {
        key: value
        for key, value in first.meta.items()
        if key != "digest" and all(one.meta.get(key) == value for one in traces)
    }
    meta |= {"null_experts": True} if any(one.meta.get("null_experts") for one in traces) else {}
    ends = [one.pass_ptr[1:] + begin for one, begin in zip(traces, lengths)]
    return Trace(
        expert_ids=np.concatenate([one.expert_ids for one in traces]), layer_index=first.layer_index,
        pass_ptr=np.concatenate([[0], *ends]).astype(np.int64), phase=np.concatenate([one.phase for one in traces]),
        sequence=np.concatenate([each + begin for each, begin in zip(sequences, last)]).astype(np.int32),
        position=np.concatenate([one.position for one in traces]), meta={**meta, "joined": list(names)},
        gate_weights=kept.get("gate_weights"), emitted=kept.get("emitted"),
    )  # fmt: skip


def _geometry(trace: Trace) -> dict[str, object]:
    layers = trace.layer_index.tolist()
    return {"experts": trace.n_experts, "top-k": trace.top_k, "model layers": layers, "model": trace.meta.get("model")}
