"""The profile of a machine that was recognised by its reports: the bundled parts, with the sizes and the slot that it reports."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from simmoe import hardware_profiles
from simmoe.hardware_profiles import host
from simmoe.hardware_profiles.composing import alone, compose
from simmoe.hardware_profiles.detecting import Found, Part
from simmoe.hardware_profiles.reports import Facts
from simmoe.hardware_profiles.schema import PCIE
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse, text


def profile(found: Found, facts: Facts, name: str) -> dict[str, Any]:
    """The content of a profile of the machine, with the sizes that it reports. Raises UserError where a part is missing."""
    if found.machine:
        content = hardware_profiles.content(found.machine.name)[0]
        whole: dict[str, Any] = {key: value for key, value in content.items() if key != "modes"}
        return _named(whole, whole["link"]["to"], facts.memory_bytes, found, name)
    if found.host is None or (found.gpu is None and facts.gpus):
        what = "host" if found.host is None else "GPU"
        raise UserError(
            f"no {what} was recognised, so there is no machine to write; name one: simmoe hw compose GPU HOST --out FILE"
        )
    kind = _as_reported(host.load(found.host.name)[0], facts, found.host)
    if found.gpu is None:
        without = alone(kind)
        return _named(without, without["link"]["to"], facts.memory_bytes, found, name)
    gpu, checked = hardware_profiles.content(found.gpu.name)
    return _named(compose(gpu, kind, checked.file), gpu["link"]["to"], facts.gpus[0].memory_bytes, found, name)


def _as_reported(kind: dict[str, Any], facts: Facts, part: Part) -> dict[str, Any]:
    """The host with the slot, the size and the speed of the memory that were reported."""
    said = (facts.gpus[0].slot if facts.gpus else None) or ""
    slot = said if PCIE.fullmatch(said) else kind["is"]["slot"]  # a link that sleeps may report less than its slot
    memory, peak = dict(kind["memory"]), kind["peak"]["memory_bandwidth"]
    if facts.memory_bytes:
        memory["capacity"] = _size(facts.memory_bytes)
    if not part.exact and facts.dram == kind["is"]["dram"]:
        memory["bandwidth"], peak = (_scaled(figure, facts, kind["is"]) for figure in (memory["bandwidth"], peak))
    rate = memory["bandwidth"]
    cpu = dict(kind["cpu"])
    if parse(cpu["bandwidth"]["value"], "bandwidth") > parse(rate["value"], "bandwidth"):
        cpu["bandwidth"] = rate
    what = {**kind["is"], "slot": slot, "cores": facts.cores or kind["is"]["cores"]}
    return {**kind, "is": what, "memory": memory, "cpu": cpu, "peak": {"memory_bandwidth": peak}}


def _scaled(figure: Mapping[str, Any], facts: Facts, kind: Mapping[str, Any]) -> dict[str, Any]:
    """The rate by the speed of the modules and by the channels that hold one, as far as they are reported."""
    was = kind["channels"] * kind["sockets"]
    now, speed = facts.channels or was, facts.mega_transfers or kind["mega_transfers"]
    share = Fraction(now * speed, was * kind["mega_transfers"])
    value = text(int(parse(figure["value"], "bandwidth") * share) // 1000 * 1000, "bandwidth")
    how = f"{figure['value']} x {now} channels of {speed} MT/s / {was} of {kind['mega_transfers']}"
    return {"value": value, "kind": "assumed", "source": f"{how}; was {figure['kind']}: {figure['source']}"}


def _size(count_bytes: int) -> dict[str, Any]:
    return {"value": f"{count_bytes} B", "kind": "measured", "source": "what the machine reports, simmoe hw detect"}


def _named(content: dict[str, Any], memory: str, count_bytes: int | None, found: Found, name: str) -> dict[str, Any]:
    """The content under a name of its own, with the size of the device's memory and with what is not known."""
    parts = [part for part in (found.machine, found.gpu, found.host) if part]
    notes = [f"not known: {what}" for part in parts for what in part.missing] + list(found.notes)
    tiers = {tier: dict(figures) for tier, figures in content["tiers"].items()}
    if count_bytes:
        tiers[memory]["capacity"] = _size(count_bytes)
    said = "; ".join(part.said for part in parts)
    rest = {key: value for key, value in content.items() if key not in ("schema", "name", "title", "notes", "tiers")}
    head = {"schema": 1, "name": name, "title": f"As simmoe hw detect found it: {said}"}
    return {**head, **({"notes": ". ".join(notes)} if notes else {}), "tiers": tiers, **rest}
