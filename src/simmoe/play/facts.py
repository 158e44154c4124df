"""What a workload is, in the JSON of a result and in the columns of a table."""

from __future__ import annotations

from typing import Any

from simmoe.play.identity import policy_identity
from simmoe.play.room import said_of
from simmoe.play.setting import Setting
from simmoe.policies import runtime as runtimes


def choices(workload: Setting) -> dict[str, Any]:
    """What was chosen of machine, engine and model, by column of a table (play/tabular.py)."""
    runtime = runtimes.IDEAL if workload.runtime is None else workload.runtime.name
    routing = workload.text.routing
    router = workload.trace.meta.get("router") if routing is None else f"drawn: {routing}"
    return {
        "hw": workload.hw.name, "runtime": runtime, "model": workload.model.name, "format": workload.model.format, "router": router,
        "trace": workload.trace_digest, "tokens": workload.tokens, "context": workload.context, "batch": workload.batch,
    }  # fmt: skip


def facts(workload: Setting) -> dict[str, Any]:
    """What was played, by name and digest."""
    hw, model = workload.hw, workload.model
    kv = {"kv_format": workload.kv_format} if workload.kv_format else {}
    low = {"low_format": model.low_format} if model.low else {}
    return {
        "hardware": {"name": hw.name, "digest": hw.digest},
        "model": {"name": model.name, "format": model.format, **kv, **low, "digest": model.digest},
        "trace": _of_trace(workload),
        "context": workload.context, "graphs": workload.graphs,
        **_of_passes(workload), **_of_engine(workload), **_of_lengths(workload), **_of_draft(workload),
    }  # fmt: skip


def _of_trace(workload: Setting) -> dict[str, Any]:
    meta = workload.trace.meta
    return {
        "model": meta.get("model"), "router": meta.get("router"), "digest": workload.trace_digest, "tokens": workload.begun.tokens,
        "of_tokens": workload.all_tokens, "prefill_chunk": workload.prefill_chunk, "batch": workload.batch,
    }  # fmt: skip


def _of_passes(workload: Setting) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if workload.schedule != "recorded":
        said["schedule"] = policy_identity("schedule", workload.schedule)
    if workload.room is not None:
        said |= said_of(workload.room, workload.clock_driven)
    if workload.model.has_windows or workload.runtime is not None:
        said["microbatch"] = workload.microbatch
    return said


def _of_engine(workload: Setting) -> dict[str, Any]:
    runtime = workload.runtime
    if runtime is None:
        return {}
    return {"runtime": {"name": runtime.name, "digest": runtime.digest}, **workload.knobs.facts()}


def _of_lengths(workload: Setting) -> dict[str, Any]:
    said = workload.lengths.facts(workload.begun.trace, workload.clock_driven is not None)
    return said | ({} if workload.text.routing is None else {"routing": workload.text.routing})


def _of_draft(workload: Setting) -> dict[str, Any]:
    if workload.speculation is None:
        return {}
    said = workload.speculation.facts()
    if workload.draft_model is not None:
        said["model_digest"] = workload.draft_model.digest
    return {"speculation": said}
