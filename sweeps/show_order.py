"""Where the order of machines changes, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.show.tables import number as speed
from simmoe.sweeps.order import Change, Order, Point, State, Stretch


def show_order(order: Order, machines: Sequence[str], out: Screen) -> None:
    axis, values = order.axis, order.axis.values
    names = {n: f"{n} {name}" if machines.count(name) > 1 else name for n, name in enumerate(machines, 1)}
    whose = "" if len(axis.rows) == len(machines) else f" of {', '.join(names[n] for n in axis.rows)} alone"
    out.print()
    out.print(
        f" {axis.name}{whose}, {axis.shown(values[0])} to {axis.shown(values[-1])}: {order.measure.title}", lead="Over"
    )
    columns = (
        Column(axis.name),
        *(Column(names[n], text=False) for n in names),
        Column(order.measure.ahead, 1, text=True),
    )
    out.table(Grid(columns, tuple(_cells(order, names, value) for value in values)))
    for line in _lines(order, names):
        out.print(line)


def _cells(order: Order, names: dict[int, str], value: int) -> tuple[str, ...]:
    points = {n: order.point(n, value) for n in names}
    found = next(one.state for one in order.fastest if one.begin <= value <= one.end) if order.fastest else None
    return order.axis.shown(value), *(speed(point.value) for point in points.values()), _ahead(found, points, names)


def _ahead(found: State | None, points: Mapping[int, Point], names: dict[int, str]) -> str:
    """Which row is, at one value."""
    if found is None or (found.faster is None and all(point.value is None for point in points.values())):
        return "–"
    if found.faster is None:
        return "equal"
    return names[found.faster] if found.decided else "not decided"


def _lines(order: Order, names: dict[int, str]) -> Iterator[str]:
    """Rows that the axis leaves alone or never lets run, the order where it never changes, then each change."""
    absent = [n for n in names if not _speeds(order, n)]
    yield from (f"{names[n]} runs at none of these values." for n in absent)
    for n in order.axis.rows:
        if len(found := _speeds(order, n)) > 1 and len(set(found)) == 1:
            yield f"{order.axis.name} changes nothing here for {names[n]}."
    for pair, each in order.changes.items():
        if not set(pair) & set(absent):
            yield from (_change(order, one, names) for one in each) if each else [_steady(order, pair, names)]
            if equal := _equal(order, pair):
                yield f"{names[pair[0]]} and {names[pair[1]]} are equal from {_stretches(order, equal)}."
    yield (
        "Each change is bisected between two values of the table; two changes between the same two values are not seen. Not decided: the "
        "ranges of both overlap." + f" Equal: within {order.measure.close - 1:.0%}." * (order.measure.close > 1)
    )


def _speeds(order: Order, number: int) -> list[float]:
    """Of the values at which it runs."""
    points = (order.point(number, value) for value in order.axis.values)
    return [point.value for point in points if point.value is not None]


def _change(order: Order, one: Change, names: dict[int, str]) -> str:
    shown, slow, fast = order.axis.shown, names[one.slower_then], names[one.faster_then]
    where = " where they are not equal" * bool(_equal(order, tuple(sorted((one.slower_then, one.faster_then)))))
    line = f"{slow} {order.measure.leads} {fast} up to {shown(one.below)}{where}, {fast} from {shown(one.above)} on"
    if one.alone:
        return f"{line}: {_absent(order, one, names)}."
    if one.undecided is None:
        return f"{line}."
    return f"{line}; not decided from {shown(one.undecided[0])} to {shown(one.undecided[1])}."


def _absent(order: Order, one: Change, names: dict[int, str]) -> str:
    """Which row does not run on one side, and why."""
    for number, value in ((one.slower_then, one.above), (one.faster_then, one.below)):
        if why := order.point(number, value).why_not:
            return f"there {names[number]} does not run ({why})"
    return "one of them does not run"


def _steady(order: Order, pair: tuple[int, ...], names: dict[int, str]) -> str:
    """Two rows whose order is the same wherever both run and are not equal."""
    found, leads = order.pairs[pair[0], pair[1]], order.measure.leads
    ahead = next((one.state.faster for one in found if one.state.faster is not None), None)
    if ahead is None:
        return f"{names[pair[0]]} and {names[pair[1]]} lead nowhere: they are equal, or do not run."
    other = pair[0] if ahead == pair[1] else pair[1]
    open_ones = [one for one in found if one.state.faster is not None and not one.state.decided]
    beside = f"; not decided from {_stretches(order, open_ones)}" if open_ones else ""
    if len(found) == 1 and open_ones:
        return (
            f"{names[ahead]} is ahead of {names[other]} at every value, but their ranges overlap: not decided at any."
        )
    if _equal(order, pair):
        leading = _stretches(order, [one for one in found if one.state.faster is not None])
        return f"{names[ahead]} {leads} {names[other]} from {leading}{beside}."
    both = "" if all(one.state.faster and not one.state.alone for one in found) else " at which both run"
    return f"{names[ahead]} {leads} {names[other]} at every value{both}{beside}."


def _equal(order: Order, pair: tuple[int, ...]) -> list[Stretch[State]]:
    """Where both run and neither is ahead."""
    return [
        one
        for one in order.pairs[pair[0], pair[1]]
        if one.state.faster is None and all(order.point(n, one.begin).value is not None for n in pair)
    ]


def _stretches(order: Order, found: Sequence[Stretch[State]]) -> str:
    """Those that meet as one."""
    ends = list[list[int]]()
    for one in found:
        if ends and order.axis.between(ends[-1][1], one.begin) is None:
            ends[-1][1] = one.end
        else:
            ends.append([one.begin, one.end])
    return ", ".join(f"{order.axis.shown(begin)} to {order.axis.shown(end)}" for begin, end in ends)
