"""What a profile says: its YAML, merged with the profile that it extends, with a power mode and changes of one's own on top."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simmoe.hardware_profiles.figures import NUMBERS
from simmoe.hardware_profiles.schema import Checked, dimension_of
from simmoe.hardware_profiles.words import DOC, hint
from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import check_chain, laid_over, parse_yaml, read_yaml
from simmoe.simulator.units import parse

FOLDER = Path(__file__).parent
LISTING = "`simmoe hw list`"
BOTH = {"fp16": "bf16", "bf16": "fp16"}  # matrix units run both at one rate


def available() -> list[str]:
    """Names of the bundled profiles."""
    return files.available(FOLDER, ".yaml")


def split(name_or_path: str | Path) -> tuple[Path, str]:
    """File and power mode behind `name`, `path` or `name@mode`: a file that exists wins over a bundled profile of the same name."""
    name, at, mode = str(name_or_path).rpartition("@")
    if not at or not name or Path(name_or_path).is_file():
        name, mode = str(name_or_path), ""
    add = f"to add a machine, write a YAML file ({DOC})"
    return files.resolve(name, FOLDER, ".yaml", "hardware", add, LISTING), mode


def merged(path: Path, chain: tuple[Path, ...] = (), folder: Path = FOLDER) -> Any:
    """The content of a file on top of what it extends. folder: of the bundled files of its kind."""
    chain = (*chain, path)
    check_chain(chain)
    content = _read(path)
    if not isinstance(content, Mapping) or "extends" not in content:
        return content
    base = _base(path, content["extends"], folder)
    for key in ("name", "title"):
        if key not in content:
            raise UserError(
                f"{path.name}: missing key {key!r}; a profile that extends another has a name and title of its own"
            )
    own = {key: value for key, value in content.items() if key != "extends"}
    return _with_own_link(laid_over(merged(base, chain, folder), own), own, path.name)


def _with_own_link(content: Any, own: Mapping[str, Any], file: str) -> Any:
    """A link that the file makes slower than the pageable copies that it inherits makes these slower too. What is malformed stays as it
    is: the schema says what is wrong."""
    link, mine = content.get("link"), own.get("link")
    if not isinstance(link, dict) or not isinstance(mine, dict) or "bandwidth" not in mine or "pageable" in mine:
        return content
    try:
        slower = parse(link["pageable"]["value"], "bandwidth") > parse(link["bandwidth"]["value"], "bandwidth")
    except (KeyError, TypeError, UserError):
        return content
    source = f"no faster than link.bandwidth of {file}"
    pageable = (
        {"value": link["bandwidth"]["value"], "kind": "assumed", "source": source} if slower else link["pageable"]
    )
    return {**content, "link": {**link, "pageable": pageable}}


def _base(path: Path, name: Any, folder: Path) -> Path:
    """A file beside `path`, or a bundled one."""
    bundled = files.available(folder, ".yaml")
    if isinstance(name, str) and name.strip():
        if (path.parent / name).is_file():
            return path.parent / name
        if name.removesuffix(".yaml") in bundled:
            return folder / f"{name.removesuffix('.yaml')}.yaml"
    raise UserError(
        f"{path.name}: extends: {name!r} is no file beside it and no bundled profile; {among(name, bundled, 'bundled:', LISTING)}"
    )


def in_mode(content: dict[str, Any], mode: str, file: str) -> dict[str, Any]:
    """The content with the figures of a power mode in place."""
    modes = content.get("modes", {})
    if mode not in modes:
        names = ", ".join(modes) or "none"
        raise UserError(f"{file}: no power mode {mode!r}{hint(mode, modes)}; modes of this profile: {names}")
    content = copy.deepcopy(content)
    for path, figure in modes[mode].items():
        _put(content, path, figure)
    return {**content, "name": f"{content['name']}@{mode}", "title": f"{content['title']}, mode {mode}"}


def changed(
    content: dict[str, Any], changes: Mapping[str, str], checked: Checked, asked: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The content with figures and words replaced, and the title saying so. asked: those of the changes from which the others follow."""
    content = copy.deepcopy(content)
    for path, value in changes.items():
        dimension = dimension_of(path, content)
        if path in WORDS:
            _put(content, path, _plain(value))
        elif dimension is not None:
            was = f"was {checked.figures[path].text}" if path in checked.figures else "was not stated"
            number = _plain(value) if dimension in NUMBERS else value
            _put(content, path, {"value": number, "kind": "assumed", "source": f"changed on the command line ({was})"})
        else:
            near = hint(path, [*checked.figures, *WORDS])
            raise UserError(f"{checked.file}: no figure {path!r} to change{near}; `simmoe hw show` lists them")
    _follow(content, changes, checked.file)
    said = ", ".join(f"{path} = {value}" for path, value in (asked or changes).items())
    return {**content, "title": f"{content['title']}, {said}"}


def _follow(content: dict[str, Any], changes: Mapping[str, str], file: str) -> None:
    """A rate that was made lower lowers those that it bounds: a peak what nears it, a link its pageable copies, a memory what reads it."""
    lower = {*changes}
    for (at, rates, key), (bound, most) in _bounded(content):
        path = f"{at}.{key}"
        if bound not in lower or path in changes or key not in rates:
            continue
        now, was = most["value"], rates[key]["value"]
        dimension = "compute" if ".flops." in path else "bandwidth"
        if parse(was, dimension) > parse(now, dimension, f"{file}: {bound}.value"):
            source = f"no faster than {bound}, which was changed on the command line (was {was})"
            rates[key] = {"value": now, "kind": "assumed", "source": source}
            lower.add(path)


def _bounded(content: dict[str, Any]) -> Iterator[tuple[tuple[str, dict[str, Any], str], tuple[str, dict[str, Any]]]]:
    """Each rate that a peak or the loader bounds (path of its mapping, the mapping, its key), and what bounds it: what bounds comes before
    what it bounds."""
    yield from _below_peaks(content)
    for name in (content["units"][device]["memory"] for device in content["devices"][1:]):  # the first has `peak`
        tier = content["tiers"][name]
        if "peak_bandwidth" in tier:
            yield (f"tiers.{name}", tier, "bandwidth"), (f"tiers.{name}.peak_bandwidth", tier["peak_bandwidth"])
    tiers = {name: (f"tiers.{name}.bandwidth", tier["bandwidth"]) for name, tier in content["tiers"].items()}
    links = {"link": content["link"], **{f"links.{name}": link for name, link in content.get("links", {}).items()}}
    for name, unit in content["units"].items():
        for key in ("bandwidth", "grouped_bandwidth"):
            yield (f"units.{name}", unit, key), tiers[unit["memory"]]
    for at, link in links.items():
        if content["memory"] == "unified":
            yield (at, link, "bandwidth"), tiers[link["from"]]
        if "upstream" in link:
            yield (f"{at}.upstream", link["upstream"], "bandwidth"), tiers[link["upstream"]["from"]]
        yield (at, link, "pageable"), (f"{at}.bandwidth", link["bandwidth"])


def _below_peaks(
    content: dict[str, Any],
) -> Iterator[tuple[tuple[str, dict[str, Any], str], tuple[str, dict[str, Any]]]]:
    """The rates that the peaks of a data sheet bound: of the first device, of its memory and of its link."""
    peak, name = content.get("peak", {}), content["devices"][0]
    unit = content["units"][name]
    if "memory_bandwidth" in peak:
        tier = unit["memory"]
        yield (
            (f"tiers.{tier}", content["tiers"][tier], "bandwidth"),
            ("peak.memory_bandwidth", peak["memory_bandwidth"]),
        )
    if "link_bandwidth" in peak:
        yield ("link", content["link"], "bandwidth"), ("peak.link_bandwidth", peak["link_bandwidth"])
    flops = peak.get("flops", {})
    for number, most in flops.items():
        for one in {number, BOTH.get(number, number)}:
            if one == number or one not in flops:
                yield (f"units.{name}.flops", unit["flops"], one), (f"peak.flops.{number}", most)


WORDS = (
    "link.duplex",
    "link.host_memory",
    "link.upstream.pipelined",
    "fabric.peer",
)  # what can be changed beside the figures


def _plain(value: str) -> Any:
    """A number, a word, yes or no, as YAML reads it."""
    try:
        return parse_yaml(value, value)
    except UserError:
        return value


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        content = content.setdefault(key, {})
    content[last] = value


def _read(path: Path) -> Any:
    content = read_yaml(path)
    if content is None:
        raise UserError(f"{path.name}: the file is empty; start from a bundled profile ({DOC})")
    return content
