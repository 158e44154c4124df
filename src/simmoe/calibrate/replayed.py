"""A run again, from the JSON that `simmoe run` wrote: the same scenario, or one line that says what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import run as play
from simmoe.play.scenario import Scenario
from simmoe.play.traced import traced
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.reading import read_json
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces


@dataclass(frozen=True)
class Given:
    """What the user names because the JSON holds names and digests, not files."""

    hw: str | None = None
    trace: str | None = None
    model: str | None = None
    eviction: str | None = None


def again(file: Path, given: Given) -> tuple[str, Run]:
    """Name or path of the hardware, and the run played again."""
    scenario = _scenario(file)
    try:
        hardware, model, trace, plan = (scenario[key] for key in ("hardware", "model", "trace", "plan"))
        hw_name, hw = _hardware(file, hardware, given.hw)
        shape = models.load(_known("model", given.model, model["name"], models.available()), model["format"])
        drawn = "routing" in scenario
        loaded = None if drawn else traced(_trace(trace, given.trace), shape)
        if len(hw.devices) > 1:
            raise UserError(
                f"{file.name}: one factor is fitted to one device and its link, and {hw.name} has several devices"
            )
        policy = given.eviction or plan["eviction"]
        for kind, said in {**plan, "schedule": scenario.get("schedule"), "eviction": policy}.items():
            if " sha256:" in str(said):
                how = "name it with --eviction" if kind == "eviction" else "only that of --eviction can be named here"
                raise UserError(f"{file.name}: the {kind} policy was the file {said.split()[0]}.py; {how}")
        strange = set(plan) - {field.name for field in fields(Plan)}
        if strange:
            raise UserError(f"{file.name}: this release knows no {', '.join(sorted(strange))}; write the run again")
        options = {name.removesuffix("_bytes"): value for name, value in plan.items()} | {"eviction": policy}
        run = play(
            Scenario(
                hw, loaded, model=shape, tokens=trace["tokens"], context=scenario["context"], graphs=scenario["graphs"],
                prefill_chunk=trace["prefill_chunk"], batch=trace["batch"], schedule=scenario.get("schedule", "recorded"),
                max_batch=scenario.get("max_batch"), microbatch=scenario.get("microbatch"),
                prompt=scenario.get("prompt"), generate=scenario.get("generate"), depth=scenario.get("depth"),
                requests=scenario.get("requests"), routing=scenario.get("routing"), **options,
            )
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file.name}: no scenario of simmoe run ({error!r}); write it again with --json") from None
    _same(file, scenario, json.loads(json.dumps(run.scenario())))
    return hw_name, run


def _scenario(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("scenario"), dict):
        raise UserError(
            f"{file.name}: holds no single run; write one with the memory that was used: simmoe run … --budget SIZE --json > {file.name}"
        )
    if content.get("schema") != RESULT_SCHEMA:
        raise UserError(
            f"{file.name}: a result of schema {content.get('schema')!r}, and this version writes {RESULT_SCHEMA}, with other numbers; "
            "write it again"
        )
    scenario: dict[str, Any] = content["scenario"]
    return scenario


def _known(what: str, given: str | None, name: str, bundled: list[str]) -> str:
    """The user's file, or a bundled name that the JSON names."""
    if given is None and name not in bundled:
        raise UserError(f"the run used the {what} {name!r}, which is not bundled; name its file with --{what}")
    return given or name


def _hardware(file: Path, wanted: dict[str, str], given: str | None) -> tuple[str, Hardware]:
    name = wanted["name"]
    if given is None and hardware_profiles.parts(name):
        given = name
    elif given is None:
        mode = name.partition("@")[1:]
        given = _known("hw", None, name.partition("@")[0], hardware_profiles.available()) + "".join(mode)
    hw = hardware_profiles.load(given)
    if hw.digest != wanted["digest"]:
        raise UserError(
            f"{file.name}: the run used {name} with digest {wanted['digest'][:12]}, but {given} has {hw.digest[:12]}; name the "
            "profile that was used with --hw (changes by --set must stand in a file)"
        )
    return given, hw


def _trace(wanted: dict[str, Any], given: str | None) -> str:
    """Name or path of the trace with the digest that the run had."""
    if given is not None:
        return given
    for name in sorted(traces.names(), key=lambda name: name != wanted["router"]):
        with np.load(traces.find(name)) as content:
            if json.loads(str(content["meta"])).get("digest") == wanted["digest"]:
                return name
    raise UserError(
        f"the run used a trace of router {wanted['router']!r} that is not bundled; name its file with --trace"
    )


def _same(file: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuses a scenario that is not the one of the file."""
    for part in ("hardware", "model", "trace", "plan", "context", "graphs", "schedule", "max_batch", "microbatch"):
        if wanted.get(part) != found.get(part):
            option = {"plan": "eviction", "context": "trace"}.get(part, part)
            raise UserError(
                f"{file.name}: the {part} is not the one of the run: {found[part]} here, {wanted.get(part)} there; name it with --{option}"
            )
