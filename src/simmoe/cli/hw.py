"""`simmoe hw`: the bundled machines, every figure of one, the check of a file of one's own, and what differs between two."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from simmoe import hardware_profiles
from simmoe.cli import hw_parts
from simmoe.cli.common import print_json
from simmoe.play.box import joined
from simmoe.play.money import price_of
from simmoe.play.money import unsaid as unsaid_price
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Figure, Hardware
from simmoe.simulator.units import nbytes, text, unit_of

FACTS = ("memory", "device", "link.from", "link.to", "link.duplex")  # what a machine has beside figures and curves


def hw_list(a: argparse.Namespace) -> None:
    """simmoe hw list"""
    if a.hosts:
        hw_parts.list_hosts(a.json)
        return
    rows = [_summary(hardware_profiles.load(name)) for name in hardware_profiles.available()]
    if a.json:
        print_json({"schema": 1, "profiles": rows})
        return
    out = Screen()
    out.print(legend(out.table(Grid(COLUMNS, tuple(map(_listed, rows)))), LEGEND))
    out.print(
        "`simmoe hw show NAME` prints each figure with its source; `simmoe hw list --hosts` lists what a GPU can be plugged into."
    )


LEGEND = {
    "capacity": "capacity, bandwidth: of the memory that the device reads",
    "link": "link: along which an expert is loaded",
    "measured": "measured: share of the figures that somebody measured on this machine",
}
COLUMNS = (
    Column("name", text=True), Column("memory", 4, text=True), Column("capacity"), Column("bandwidth"), Column("link"),
    Column("from", 3, text=True), Column("FP16 dense", 2), Column("price", 1), Column("measured", 5),
)  # fmt: skip


def _listed(row: dict[str, Any]) -> tuple[str, ...]:
    fp16, price = row["fp16_flops_per_s"], row["price"]
    return (
        row["name"], row["memory"], _size(row["capacity_bytes"]), f"{nbytes(row['bytes_per_s'])}/s",
        f"{nbytes(row['link_bytes_per_s'])}/s", row["link_from"], f"{show.number(fp16 / 1e12)} TFLOP/s" if fp16 else "–",
        f"{price['amount']:,.0f} {price['currency']}" if price else "–", f"{row['measured_share']:.0%}",
    )  # fmt: skip


def _summary(hw: Hardware) -> dict[str, Any]:
    price, kinds = price_of(hw), _kinds(hw)
    return {
        "name": hw.name, "title": hw.title, "memory": _memory(hw), "capacity_bytes": hw.device_memory.capacity_bytes,
        "bytes_per_s": hw.device.bytes_per_s, "link_bytes_per_s": hw.link.bytes_per_s, "link_from": hw.link.src,
        "fp16_flops_per_s": hw.device.flops_per_s.get("fp16"), "price": price and price.to_json(),
        "price_usd": price.amount if price and price.currency == "USD" else None,
        "measured_share": kinds["measured"] / kinds.total(), "modes": list(hw.modes), "digest": hw.digest,
    }  # fmt: skip


def _memory(hw: Hardware) -> str:
    return "unified" if hw.unified else "discrete"


def _kinds(hw: Hardware) -> Counter[str]:
    """How many figures are of each kind; those of power modes are left out."""
    figures = [figure.kind for path, figure in hw.figures.items() if not path.startswith("modes.")]
    return Counter([*figures, *(curve.kind for curve in hw.curves.values())])


def _size(count: int) -> str:
    """Memory is sold in binary sizes, drives in decimal ones: print the one that is whole."""
    return f"{count // 2**30:,} GiB" if count % 2**30 == 0 else nbytes(count)


def hw_show(a: argparse.Namespace) -> None:
    """simmoe hw show"""
    if a.host and not a.gpu and not a.name:
        hw_parts.show_host(a.host, a.json)
        return
    hw = hardware_profiles.load(joined({"hw": a.name, "gpu": a.gpu, "host": a.host})["hw"] or _nothing_named())
    rows = [
        *(
            {"path": path, "value": f.text, "kind": f.kind, "range": _range(f), "source": f.source}
            for path, f in hw.figures.items()
        ),
        *(
            {"path": path, "value": _points(hw, path), "kind": c.kind, "range": None, "source": c.source}
            for path, c in hw.curves.items()
        ),
    ]
    if a.json:
        print_json({"schema": 1, **_summary(hw), **_facts(hw), "figures": rows})
        return
    out = Screen()
    out.print(lead=hw.title)
    out.print(", ".join(f"{name} {value}" for name, value in _facts(hw).items()))
    if hw.modes:
        out.print(f"power modes: {', '.join(f'{hw.name}@{mode}' for mode in hw.modes)}")
    columns = (Column("figure", text=True), Column("value"), Column("kind", 1, text=True), Column("range", 2, text=True),
               Column("source", text=True, wraps=True))  # fmt: skip
    cells = (
        (str(row["path"]), _short(hw, row), str(row["kind"]), row["range"] or "–", str(row["source"])) for row in rows
    )
    out.table(Grid(columns, tuple(cells)))
    for path in hw.curves:
        out.print(f"{path}: {_points(hw, path)}")
    out.print(", ".join(f"{count} {kind}" for kind, count in _kinds(hw).most_common()))


def _nothing_named() -> str:
    raise UserError("no machine is named: simmoe hw show NAME, or --gpu NAME --host NAME; `simmoe hw list` lists them")


def _short(hw: Hardware, row: dict[str, Any]) -> str:
    """The points of a curve stand below the table."""
    curve = hw.curves.get(row["path"])
    return f"{len(curve.points)} points" if curve else str(row["value"])


def _range(figure: Figure) -> str | None:
    """None for a figure that is exact."""
    unit = unit_of(figure.text) if figure.dimension == "price" else None
    low, high = (text(end, figure.dimension, unit) for end in (figure.low, figure.high))
    return None if low == high else f"{low} – {high}"


def _points(hw: Hardware, path: str) -> str:
    name = nbytes if path.endswith("efficiency") else str
    return ", ".join(f"{name(where)}: {share:g}" for where, share in hw.curves[path].points)


def _facts(hw: Hardware) -> dict[str, str]:
    return dict(zip(FACTS, (_memory(hw), " and ".join(hw.devices), hw.link.src, hw.link.dst, hw.link.duplex)))


def hw_check(a: argparse.Namespace) -> int:
    """simmoe hw check: 1 for a profile that is well formed and holds what cannot be true, or a price that leaves open when and of what."""
    hw = hardware_profiles.load(a.name)
    sold_together = all(
        hardware_profiles.parts(a.name) or ("",)
    )  # the price is a sum: its parts are checked by their own names
    unsaid = "" if sold_together else unsaid_price(hw)
    wrong = dict.fromkeys(hardware_profiles.doubts(hw))
    for mode in hw.modes:
        wrong |= dict.fromkeys(hardware_profiles.doubts(hardware_profiles.load(f"{a.name}@{mode}")))
    kinds = dict(_kinds(hw).most_common())
    file = " in ".join(path.name for path in hardware_profiles.found(a.name))
    if a.json:
        facts = {
            "name": hw.name,
            "ok": not wrong and not unsaid,
            "figures": kinds,
            "modes": list(hw.modes),
            "digest": hw.digest,
        }
        print_json(
            {
                "schema": 1,
                **facts,
                **({"impossible": list(wrong)} if wrong else {}),
                **({"open": [unsaid]} if unsaid else {}),
            }
        )
    elif wrong or unsaid:
        for line in filter(None, (*wrong, unsaid)):
            Screen().line(f"{file}: {line}")
    else:
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        modes = f"; modes {', '.join(hw.modes)}" if hw.modes else ""
        Screen().line(f"{file}: ok, {_memory(hw)} memory, {sum(kinds.values())} figures ({said}){modes}")
    return 1 if wrong or unsaid else 0


def hw_diff(a: argparse.Namespace) -> None:
    """simmoe hw diff"""
    one, other = (hardware_profiles.load(name) for name in (a.a, a.b))
    rows = _differences(one, other)
    if a.json:
        print_json({"schema": 1, "a": one.name, "b": other.name, "differences": rows})
        return
    out = Screen()
    if not rows:
        out.print("no difference")
        return
    columns = (Column("", text=True), Column(one.name, text=True), Column(other.name, text=True), Column("ratio", 1))
    cells = (
        (row["path"], *(row[side] or "–" for side in "ab"), f"× {row['ratio']:.3g}" if row["ratio"] else "")
        for row in rows
    )
    out.table(Grid(columns, tuple(cells)))


def _differences(one: Hardware, other: Hardware) -> list[dict[str, Any]]:
    """Facts, figures and curves that are not equal."""
    sides = [
        {**_facts(hw), **{p: f.text for p, f in hw.figures.items()}, **{p: _points(hw, p) for p in hw.curves}}
        for hw in (one, other)
    ]
    rows = []
    for path in dict.fromkeys([*sides[0], *sides[1]]):
        a, b = (
            _amount(hw.figures[path]) if path in hw.figures else (side.get(path), "")
            for hw, side in zip((one, other), sides)
        )
        if a != b:
            rows.append({"path": path, "a": sides[0].get(path), "b": sides[1].get(path), "ratio": _ratio(*a, *b)})
    return rows


def _amount(figure: Figure) -> tuple[int, str]:
    """Its value and what it is counted in: amounts of two currencies have no ratio."""
    return figure.value, unit_of(figure.text) if figure.dimension == "price" else figure.dimension


def _ratio(a: Any, of_a: str, b: Any, of_b: str) -> float | None:
    """That of the second value to the first; None where they are no numbers of one kind."""
    return b / a if of_a and of_a == of_b and a else None
