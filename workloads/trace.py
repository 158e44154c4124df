"""Routing traces, format v1: load, save, check and digest of which experts every token used (docs/trace_format.md)."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, available, resolve
from simmoe.simulator.types import Trace

BUNDLED = Path(__file__).parent / "traces"
DTYPES = {  # every array of the format but meta, with its little-endian dtype
    "expert_ids": "<i2", "gate_weights": "<f2", "layer_index": "<i2", "pass_ptr": "<i8", "phase": "|i1",
    "sequence": "<i4", "position": "<i4", "predict_lead": "<i2", "predicted_ids": "<i2",
}
OPTIONAL = {"gate_weights", "predict_lead", "predicted_ids"}


def load(name: str | Path) -> Trace:
    """The checked trace in a file, or a bundled one by name. Raises UserError with one line for anything wrong."""
    path = find(name)
    return check(_from_arrays(_read(path), path), str(path))


def find(name: str | Path) -> Path:
    """The file that `name` means: a path that exists wins over a bundled name."""
    return resolve(name, BUNDLED, ".npz", "trace", "make one with 'simmoe trace make'")


def names() -> list[str]:
    """Names of the bundled traces."""
    return available(BUNDLED, ".npz")


def save(trace: Trace, path: str | Path) -> Trace:
    """Check `trace`, put its digest into meta and write it in one step; returns what was written."""
    trace = replace(trace, meta={k: v for k, v in trace.meta.items() if k != "digest"})
    check(trace, "trace to save")
    trace = replace(trace, meta={**trace.meta, "digest": digest(trace)})
    with atomic(Path(path), "wb") as stream:
        np.savez_compressed(stream, meta=np.array(json.dumps(trace.meta, sort_keys=True)), **arrays(trace))
    return trace


def arrays(trace: Trace) -> dict[str, np.ndarray[Any, Any]]:
    """Every array of the trace that is present, but meta, in the dtypes of the format."""
    present = {n: getattr(trace, n) for n in DTYPES if getattr(trace, n) is not None}
    return {n: np.ascontiguousarray(a, np.dtype(DTYPES[n])) for n, a in present.items()}


def digest(trace: Trace) -> str:
    """sha256 over the arrays in name order, then over meta without its digest, as docs/trace_format.md spells out."""
    total = hashlib.sha256()
    for name, array in sorted(arrays(trace).items()):
        total.update(f"{name}|{array.dtype.str}|{','.join(map(str, array.shape))}\n".encode("ascii"))
        total.update(array.tobytes())
    meta = {k: v for k, v in trace.meta.items() if k != "digest"}
    total.update(json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii"))
    return total.hexdigest()


def _read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; a trace is an npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise UserError(
                f"{path}: holds pickled Python objects, which are never loaded; save plain arrays with numpy.savez_compressed"
            ) from None
        raise UserError(f"{path}: cannot be read as an npz archive ({error}); is it truncated?") from None
    except (zipfile.BadZipFile, OSError, EOFError, AttributeError, KeyError, zipfile.error) as error:
        raise UserError(f"{path}: is no readable npz archive ({error or 'not a zip file'}); is it truncated?") from None
    except Exception as error:  # zlib.error and friends of a damaged archive share no base class
        raise UserError(f"{path}: the archive is damaged ({type(error).__name__}: {error}); fetch it again") from None


def _from_arrays(raw: Mapping[str, np.ndarray[Any, Any]], path: Path) -> Trace:
    missing = sorted(set(DTYPES) - OPTIONAL - set(raw) | ({"meta"} - set(raw)))
    if missing:
        raise UserError(f"{path}: array {missing[0]!r} is missing; trace format v1 needs {', '.join(sorted(set(DTYPES) - OPTIONAL))}, meta")
    for name in set(raw) & set(DTYPES):
        if raw[name].dtype != np.dtype(DTYPES[name]):
            want = np.dtype(DTYPES[name]).name
            raise UserError(f"{path}: {name} has dtype {raw[name].dtype}; format v1 wants {want}: use .astype(numpy.{want})")
    try:
        meta = json.loads(str(raw["meta"][()]))
        assert isinstance(meta, dict)
    except (ValueError, AssertionError):
        raise UserError(f"{path}: meta is not a JSON object in a 0-d unicode array; write numpy.array(json.dumps(...))") from None
    return Trace(meta=meta, **{name: raw[name] for name in DTYPES if name in raw})


def check(trace: Trace, where: str = "trace") -> Trace:
    """`trace` itself when it obeys format v1; raises UserError naming the first rule that it breaks."""
    _check_shapes(trace, where)
    _check_experts(trace, where)
    _check_passes(trace, where)
    _check_predictions(trace, where)
    stated = trace.meta.get("digest")
    if stated is not None and stated != digest(trace):
        raise UserError(f"{where}: meta.digest {str(stated)[:12]}… is not the digest of the arrays {digest(trace)[:12]}…; the file was changed")
    return trace


def _require(ok: bool, line: str) -> None:
    if not ok:
        raise UserError(line)


def _check_shapes(trace: Trace, where: str) -> None:
    ids = trace.expert_ids
    _require(ids.ndim == 3 and min(ids.shape) > 0, f"{where}: expert_ids has shape {ids.shape}; it must be [tokens, moe_layers, top_k], none 0")
    _require(trace.phase.ndim == 1, f"{where}: phase has shape {trace.phase.shape}; it must be [passes]")
    tokens, layers, k = ids.shape
    want = {"layer_index": (layers,), "pass_ptr": (trace.n_passes + 1,), "sequence": (tokens,), "position": (tokens,)}
    for name, shape in want.items():
        got = getattr(trace, name).shape
        _require(got == shape, f"{where}: {name} has shape {got}; with expert_ids {ids.shape} and {trace.n_passes} passes it must be {shape}")
    index = trace.layer_index.astype(np.int64)
    _require(bool((index >= 0).all() and (np.diff(index) > 0).all()), f"{where}: layer_index {index.tolist()} must rise from 0 or more")
    n_experts = trace.meta.get("n_experts")
    _require(isinstance(n_experts, int) and n_experts > 0, f"{where}: meta.n_experts is {n_experts!r}; it must be a whole number of experts per layer")
    version = trace.meta.get("schema_version", 1)
    _require(version == 1, f"{where}: meta.schema_version is {version!r}; this release reads version 1")
    stated = trace.meta.get("top_k", k)
    _require(stated == k, f"{where}: meta.top_k is {stated!r} but expert_ids has {k} slots per token")


def _first(bad: np.ndarray[Any, Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])


def _check_experts(trace: Trace, where: str) -> None:
    ids, n = trace.expert_ids, trace.n_experts
    bad = (ids < -1) | (ids >= n)
    if bad.any():
        t, layer, slot = _first(bad)
        raise UserError(f"{where}: expert id {ids[t, layer, slot]} at token {t}, layer {layer}, slot {slot} is out of range; ids go from 0 to {n - 1}, or -1")
    ordered = np.sort(ids, axis=2)
    bad = (ordered[:, :, 1:] == ordered[:, :, :-1]) & (ordered[:, :, 1:] >= 0)
    if bad.any():
        t, layer, slot = _first(bad)
        raise UserError(f"{where}: token {t} names expert {ordered[t, layer, slot]} twice in layer {layer}; the slots of a token must differ")
    bad = (ids < 0).all(axis=2)
    if bad.any() and not trace.meta.get("null_experts"):
        t, layer = _first(bad)
        raise UserError(f"{where}: token {t} has no expert in layer {layer}; routing that was not recorded is an error (null experts need meta.null_experts = true)")
    if trace.gate_weights is not None:
        _require(trace.gate_weights.shape == ids.shape, f"{where}: gate_weights has shape {trace.gate_weights.shape}; it must be {ids.shape}")
        bad = ~np.isfinite(trace.gate_weights)
        if bad.any():
            t, layer, slot = _first(bad)
            raise UserError(f"{where}: gate weight at token {t}, layer {layer}, slot {slot} is {trace.gate_weights[t, layer, slot]}; weights must be finite")


def _check_passes(trace: Trace, where: str) -> None:
    ptr = trace.pass_ptr
    _require(trace.n_passes > 0, f"{where}: there is no pass; a trace needs one at least")
    _require(int(ptr[0]) == 0 and int(ptr[-1]) == trace.n_tokens and bool((np.diff(ptr) > 0).all()),
             f"{where}: pass_ptr must rise from 0 to {trace.n_tokens} (the tokens) without an empty pass; it goes from {ptr[0]} to {ptr[-1]}")
    _require(bool(np.isin(trace.phase, (0, 1)).all()), f"{where}: phase holds {sorted(set(trace.phase.tolist()))}; 0 is prefill and 1 is decode")
    _require(bool((trace.position >= 0).all()), f"{where}: position {trace.position.min()} is negative; positions count from 0")
    order = np.argsort(trace.sequence, kind="stable")
    step, same = np.diff(trace.position[order].astype(np.int64)), np.diff(trace.sequence[order]) == 0
    bad = same & (step < 0)
    if bad.any():
        t = int(order[_first(bad)[0] + 1])
        raise UserError(f"{where}: position {trace.position[t]} of token {t} falls within sequence {trace.sequence[t]}")


def _check_predictions(trace: Trace, where: str) -> None:
    lead, guess = trace.predict_lead, trace.predicted_ids
    if lead is None and guess is None:
        return
    if lead is None or guess is None:
        raise UserError(f"{where}: predict_lead and predicted_ids come together; one is missing")
    tokens, layers, _ = trace.expert_ids.shape
    _require(lead.ndim == 1 and guess.ndim == 4 and guess.shape[:3] == (len(lead), tokens, layers),
             f"{where}: predicted_ids has shape {guess.shape}; it must be [{lead.size}, {tokens}, {layers}, p]")
    _require(bool((lead >= 0).all()), f"{where}: predict_lead {lead.tolist()} must not be negative")
    _require(bool(((guess >= -1) & (guess < trace.n_experts)).all()), f"{where}: predicted_ids go from -1 to {trace.n_experts - 1}; found {guess.min()} … {guess.max()}")
    for i, value in enumerate(lead.tolist()):
        _require(bool((guess[i, :, :value] == -1).all()), f"{where}: predicted_ids with lead {value} must be -1 in layers below {value}")
