"""Routing traces, format v1: load, save, check and digest of which experts every token used (docs/trace_format.md)."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, available, resolve
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.reading import parse_json
from simmoe.workloads.foreign import reader
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.format.rules import check_rules

BUNDLED = Path(__file__).parent.parent / "traces"
DTYPES = {  # every array of the format but meta, with its little-endian dtype
    "emitted": "|i1",
    "expert_ids": "<i2",
    "gate_weights": "<f2",
    "layer_index": "<i2",
    "pass_ptr": "<i8",
    "phase": "|i1",
    "sequence": "<i4",
    "position": "<i4",
    "predict_lead": "<i2",
    "predicted_ids": "<i2",
}
HASHED = 2**16  # rows of an array at a time
OWN = {"layer_index", "pass_ptr", "sequence", "position"}  # arrays that no other npz of routing has
OPTIONAL = {"emitted", "gate_weights", "predict_lead", "predicted_ids"}


def load(name: str | Path, stated: Stated = Stated()) -> Trace:  # noqa: B008  (frozen)
    """The checked trace in a file, or a bundled one by name. A file of another program is read too, where it and `stated` say all that
    a trace holds. Raises UserError with one line for anything wrong."""
    path = find(name)
    found = foreign(path)
    return _checked(_from_arrays(_read(path), path) if found is None else _imported(path, stated, found), str(path))


def foreign(path: Path) -> str | None:
    """The format of a file of another program; None for a file of this format, and for one that no importer knows."""
    return None if not path.stat().st_size or is_own(path) else reader.detect(path)


def is_own(path: Path) -> bool:
    """Whether an archive has an array that only this format has. A damaged one is ours: `_read` says what is wrong with it."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return bool(OWN & {name.removesuffix(".npy") for name in archive.namelist()})
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return True


def _imported(path: Path, stated: Stated, found: str) -> Trace:
    """The trace in a file of another program. Raises UserError where something is missing."""
    try:
        return reader.read(path, stated, found)
    except UserError as error:
        raise UserError(
            f"{error} (a {found} file, docs/foreign_traces.md: `simmoe trace import {path.name} --out t.npz` takes what it does not say)"
        ) from None


def given(trace: str | Path | Trace) -> Trace:
    """A trace by path or name, or a loaded one; checked either way."""
    return _checked(trace) if isinstance(trace, Trace) else load(trace)


@lru_cache(maxsize=8)
def _checked(trace: Trace, where: str = "trace") -> Trace:
    return check(trace, where)


def find(name: str | Path) -> Path:
    """The file that `name` means: a path that exists wins over a bundled name."""
    add = "make one with 'simmoe trace make', or write one from recorded routing (docs/trace_format.md)"
    return resolve(name, BUNDLED, ".npz", "trace", add, "`simmoe zoo list`")


def names() -> list[str]:
    """Names of the bundled traces."""
    return available(BUNDLED, ".npz")


def save(trace: Trace, path: str | Path) -> Trace:
    """Check `trace`, put its digest into meta and write it in one step; returns what was written."""
    trace = replace(trace, meta={k: v for k, v in trace.meta.items() if k != "digest"})
    check(trace, "trace to save")
    trace = replace(trace, meta={**trace.meta, "digest": digest(trace)})
    with atomic(Path(path), "wb") as stream:
        np.savez_compressed(stream, meta=np.array(json.dumps(trace.meta, sort_keys=True)), **arrays(trace))  # type: ignore[arg-type]
    return trace


def arrays(trace: Trace) -> dict[str, np.ndarray[Any, Any]]:
    """Every array of the trace that is present, but meta, in the dtypes of the format."""
    present = {n: getattr(trace, n) for n in DTYPES if getattr(trace, n) is not None}
    return {n: np.ascontiguousarray(a, np.dtype(DTYPES[n])) for n, a in present.items()}


def digest(trace: Trace) -> str:
    """sha256 over the arrays in name order, then over meta without its digest, as docs/trace_format.md spells out."""
    total = hashlib.sha256()
    for name, array in sorted((n, getattr(trace, n)) for n in DTYPES if getattr(trace, n) is not None):
        total.update(f"{name}|{DTYPES[name]}|{','.join(map(str, array.shape))}\n".encode("ascii"))
        for begin in range(0, len(array), HASHED):  # a trace may use rows again and again (nouns/picked.py)
            total.update(np.ascontiguousarray(array[begin : begin + HASHED], np.dtype(DTYPES[name])).tobytes())
    meta = {k: v for k, v in trace.meta.items() if k != "digest"}
    total.update(json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii"))
    return total.hexdigest()


def _read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; a trace is an npz archive")
    with open(path, "rb") as stream:
        start = stream.read(2)
    if start != b"PK":
        raise UserError(f"{path}: is no npz archive; is it truncated? write it with numpy.savez_compressed")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files if name in DTYPES or name == "meta"}
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
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of a member without the head of an array
            raise UserError(
                f"{path}: {name} is no array; is the archive truncated? write it with numpy.savez_compressed"
            )
    return found


def _from_arrays(raw: Mapping[str, np.ndarray[Any, Any]], path: Path) -> Trace:
    missing = sorted(set(DTYPES) - OPTIONAL - set(raw) | ({"meta"} - set(raw)))
    if missing:
        raise UserError(
            f"{path}: array {missing[0]!r} is missing; trace format v1 needs {', '.join(sorted(set(DTYPES) - OPTIONAL))}, meta"
        )
    for name in set(raw) & set(DTYPES):
        if raw[name].dtype != np.dtype(DTYPES[name]):
            want = np.dtype(DTYPES[name]).name
            raise UserError(
                f"{path}: {name} has dtype {raw[name].dtype}; format v1 wants {want}: use .astype(numpy.{want})"
            )
    text = raw["meta"]
    meta = parse_json(str(text[()]), f"{path}: meta") if text.ndim == 0 and text.dtype.kind == "U" else None
    if not isinstance(meta, dict):
        raise UserError(f"{path}: meta is not a JSON object in a 0-d unicode array; write numpy.array(json.dumps(...))")
    return Trace(meta=meta, **{name: raw[name] for name in DTYPES if name in raw})


def check(trace: Trace, where: str = "trace") -> Trace:
    """`trace` itself when it obeys format v1; raises UserError naming the first rule that it breaks."""
    check_rules(trace, where)
    stated, true = trace.meta.get("digest"), digest(trace)
    if stated not in (None, true):
        raise UserError(
            f"{where}: meta.digest {str(stated)[:12]}… is not the digest of the arrays {true[:12]}…; the file was changed"
        )
    return trace


def first_tokens(trace: Trace, tokens: int | None) -> Trace:
    """The passes that fit into the first `tokens` tokens; at least one pass."""
    if tokens is None or tokens >= trace.n_tokens:
        return trace
    if tokens < 1:
        raise UserError(f"--tokens {tokens} plays nothing; give 1 or more, or all")
    passes = max(int(np.searchsorted(trace.pass_ptr, tokens, side="right")) - 1, 1)
    end = int(trace.pass_ptr[passes])
    return trace.taken(slice(end), trace.pass_ptr[: passes + 1], trace.phase[:passes])
