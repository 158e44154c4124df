"""What a trace does not hold itself: token ids, the domain of the text, embeddings, and figures stated in its meta."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format import trace as traces
from simmoe.workloads.oracle_moe import text

BESIDE = ("tokens", "embeddings")  # optional arrays in the file of a trace, beside those of format v1


class Known(NamedTuple):
    """By row of the trace; a missing one is None, with the reason in `why`."""

    tokens: npt.NDArray[np.int64] | None  # int64 [tokens], ids from 0
    embeddings: npt.NDArray[np.float64] | None  # float64 [tokens, d]
    domain: npt.NDArray[np.int64] | None  # int64 [tokens]
    why: dict[str, str]


def known(trace: Trace, name: str | Path | Trace, tokens: Any, embeddings: Any) -> Known:
    """What the caller gave, else what lies beside the trace in its file, else what the bundled text tells."""
    beside = {} if isinstance(name, Trace) else _beside(traces.find(name))
    where = "trace" if isinstance(name, Trace) else str(name)
    tokens = beside.get("tokens") if tokens is None else tokens
    embeddings = beside.get("embeddings") if embeddings is None else embeddings
    why = {}
    ids, domain = None if tokens is None else _ids(tokens, trace, where), None
    vectors = None if embeddings is None else _vectors(embeddings, trace, where)
    if vectors is None:
        why["distance"] = "no array 'embeddings' beside the trace"
    if _of_bundled_text(trace):
        domain = trace.sequence.astype(np.int64) % len(text.domains())
        if ids is None:
            ids, reason = _bundled_ids(trace)
            why |= {"token": reason} if reason else {}
    elif ids is None:
        why["token"] = "no array 'tokens' beside the trace, and its text is not the bundled one"
    return Known(ids, vectors, domain, why)


def _beside(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        return {}  # a file of another program
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in BESIDE if name in archive}


def _ids(tokens: Any, trace: Trace, where: str) -> npt.NDArray[np.int64]:
    array = np.asarray(tokens)
    if array.shape != (trace.n_tokens,) or array.dtype.kind not in "iu" or array.min() < 0:
        raise UserError(
            f"{where}: tokens is {array.dtype} {array.shape}; it must be whole numbers from 0, shape ({trace.n_tokens},)"
        )
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _vectors(embeddings: Any, trace: Trace, where: str) -> npt.NDArray[np.float64]:
    array = np.asarray(embeddings)
    if array.ndim != 2 or len(array) != trace.n_tokens or array.dtype.kind not in "fiu":
        raise UserError(
            f"{where}: embeddings is {array.dtype} {array.shape}; it must be numbers, shape ({trace.n_tokens}, d)"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{where}: embeddings hold values that are not finite; leave out the array or mend it")
    return array.astype(np.float64)


def _of_bundled_text(trace: Trace) -> bool:
    """Its sequences are the held-out windows of the bundled text, domain after domain (docs/bundled_models.md)."""
    meta = trace.meta
    return isinstance(meta.get("recipe"), Mapping) and "text_tokens" in meta and meta.get("corpus") == text.digest()


def _bundled_ids(trace: Trace) -> tuple[npt.NDArray[np.int64] | None, str]:
    """Token ids by row, or None and the reason."""
    from simmoe.workloads.oracle_moe.text.windows import held_out_pure

    recipe = trace.meta["recipe"]
    try:
        windows = held_out_pure(int(recipe["trace_sequences"]), int(recipe["length"])).tokens
        ids = windows[trace.sequence, trace.position]
    except Missing as error:
        return None, str(error)
    except (KeyError, IndexError, TypeError, ValueError):
        return None, "meta.recipe does not say how the bundled text was cut"
    if hashlib.sha256(windows.astype("<i4").tobytes()).hexdigest() != trace.meta["text_tokens"]:
        return None, "the bundled text cut by meta.recipe is not the text of meta.text_tokens"
    return ids, ""


def stated(trace: Trace) -> dict[str, Any]:
    """Figures of meta.quality that the measures show: checked, and None where there are none."""
    quality = trace.meta.get("quality") or {}
    if not isinstance(quality, Mapping):
        raise UserError(f"meta.quality is {quality!r}; it must be a JSON object")
    names = ("inconsistency_per_100_mixed", "nmi_domain", "nmi_domain_mixed")
    return {
        "proxy": "proxy_ppl" in quality,
        **{name: _numbers(quality, name) for name in names},
        "predictability": _predictability(quality.get("predictability")),
        "distance": _curves(quality.get("distance")),
    }


def _numbers(quality: Mapping[str, Any], name: str) -> list[float] | None:
    values = quality.get(name)
    if values is not None and not (isinstance(values, list) and values and all(map(_is_number, values))):
        raise UserError(f"meta.quality.{name} is {values!r}; it must be a list with one number per MoE layer")
    return values


def _predictability(given: Any) -> dict[str, dict[str, float | None]] | None:
    """{"token" | "pooled": {"layer_0" | "half" | "three_quarters": accuracy from 0 to 1}}"""
    good = given is None or (
        isinstance(given, Mapping)
        and all(isinstance(v, Mapping) and all(x is None or _is_number(x) for x in v.values()) for v in given.values())
    )
    if not good:
        raise UserError(
            f"meta.quality.predictability is {given!r}; it must map token and pooled to accuracies by depth"
        )
    return None if given is None else {str(k): dict(v) for k, v in given.items()}


def _curves(given: Any) -> dict[str, list[dict[str, Any]]]:
    """{what the states are: one curve of workloads.locality.distance per MoE layer}"""
    if given is None:
        return {}
    rows = given.values() if isinstance(given, Mapping) else [None]
    if not all(isinstance(row, list) and all(map(_is_curve, row)) for row in rows):
        raise UserError(
            "meta.quality.distance must map names of states to lists of curves {edges, different, spearman}"
        )
    return {str(name): [curve for curve in row if curve] for name, row in given.items()}


def _is_curve(curve: Any) -> bool:
    """Empty, or numbers (or null) as `distance.curve` returns them."""
    if not isinstance(curve, Mapping):
        return False
    edges, values = curve.get("edges", []), curve.get("different", [])
    lists = isinstance(edges, list) and isinstance(values, list) and (not curve or len(edges) == len(values) + 1 > 1)
    return lists and all(x is None or _is_number(x) for x in [*edges, *values, curve.get("spearman")])


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and bool(np.isfinite(x))
