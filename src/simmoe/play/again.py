"""A run played again from its JSON: the result names its inputs by name and digest, and its own digest says whether it is the same run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from simmoe.play.calling import scenario_of
from simmoe.play.result import Run
from simmoe.play.run import run
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available
from simmoe.workloads import models, synthetic
from simmoe.workloads.format import trace as traces

HOW = "write the scenario too (simmoe run … --save FILE.yaml) and name it with --scenario FILE.yaml"


def again(data: Mapping[str, Any], scenario: Scenario | None = None) -> Run:
    """The run of a result that `simmoe run --json` printed. scenario: what it was made from; None finds the bundled inputs that it names.

    Raises UserError where that is another run: an input is a file of the user's, or has changed since.
    """
    found = _of_bundled(data) if scenario is None else run(scenario)
    if found.digest != data["digest"] or (found.hits, found.misses) != (data["hits"], data["misses"]):
        why = (
            "its inputs are not the bundled ones of this release" if scenario is None else "the scenario is another one"
        )
        raise UserError(f"the run cannot be played again: {why}; {HOW}")
    return found


def _of_bundled(data: Mapping[str, Any]) -> Run:
    try:
        return run(scenario_of(_options(data)))
    except UserError as error:
        why = str(error).partition(";")[0]  # what stands behind is for who wrote a name; here simmoe did
        raise UserError(f"the run cannot be played again: {why}; {HOW}") from None


def command(data: Mapping[str, Any]) -> str:
    """The command that gives the result, where all its inputs are bundled. Raises UserError."""
    found, words = _options(data), ["simmoe", "run"]
    for name, option in OPTIONS.items():
        if name in found and found[name] != option.default:
            words += [option.flag] if option.default is False else [option.flag, option.about.kind.word(found[name])]
    return shlex.join(words)


def _options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, as far as a result says them."""
    said, plan, text = data["scenario"], dict(data["scenario"]["plan"]), data["scenario"]["trace"]
    named = {name: said[name] for name in said if name in OPTIONS and not isinstance(said[name], Mapping)}
    named |= {name: value for name, value in plan.items() if name in OPTIONS}
    named |= {"hw": said["hardware"]["name"], "model": said["model"]["name"], "format": said["model"]["format"]}
    named |= {"kv_format": said["model"].get("kv_format"), "page_cache": plan["page_cache_bytes"] or None}
    named |= {name: text[name] for name in ("prefill_chunk", "batch")}
    named |= {"tokens": text["tokens"] if text["tokens"] < text["of_tokens"] else None}
    named |= {"trace": None if "routing" in said else _bundled(text["digest"])}
    if plan["eviction"] not in BOUNDS:
        named["budget"] = plan["budget_bytes"]
    if named.get("routing") == synthetic.usual(models.load(named["model"])):
        del named["routing"]  # nobody asked for it
    named["runtime"] = data["runtime"].get("name", IDEAL)
    return {name: value for name, value in named.items() if value is not None}


def _bundled(digest: str) -> str:
    for name in available(traces.BUNDLED, ".npz"):
        if traces.digest(traces.load(name)) == digest:
            return name
    raise UserError(f"no bundled trace has its digest {digest[:12]}")
