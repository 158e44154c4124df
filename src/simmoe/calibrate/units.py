"""Rows as a compute unit of a profile: a GPU by kernels in a CUDA graph and eager, a CPU by its threads and number formats."""

from __future__ import annotations

from typing import Any

from simmoe.calibrate.figures import Figures, large, points_of
from simmoe.calibrate.fit import Point, fixed, out_of_cache, softness
from simmoe.calibrate.rows import WIDTH, Row, Rows, machine_of, microseconds, of, samples
from simmoe.simulator.errors import UserError

LEAST_TOKENS = 4  # numbers of tokens from which an exponent can be told


def gpu(rows: Rows, figures: Figures) -> dict[str, Any]:
    """A unit with launches, grouped launches and waits."""
    machine, products = machine_of(rows), of(rows, "gemm")
    library, single = machine["library"], [row for row in products if row["tokens"] == 1]
    point = out_of_cache(points_of(single), machine["llc_bytes"])
    rate = point.bytes / point.seconds
    unit = {"bandwidth": figures.rate(single, point, large(library))}
    for key, how, words in (("launch", "eager", "eager"), ("graph_launch", "graph", "in a CUDA graph")):
        some = [row for row in single if row["how"] == how]
        if some or key == "launch":
            unit[key] = figures.time(some, fixed(points_of(some), rate, _least(rows)), f"one token, {words}, {library}")
    unit |= _grouped(rows, figures, rate) | _waits(rows, figures, library)
    return {**unit, "flops": _flops(products, figures, library), **_softness(products, figures, rate)}


def _flops(products: Rows, figures: Figures, library: str) -> dict[str, Any]:
    """The best rate of each number format, of products with many tokens."""
    found = dict[str, list[Row]]()
    for row in products:
        if row["tokens"] > 1:
            name = row.get("format", "bf16")
            work = 2 * row["bytes"] // WIDTH[name] * row["tokens"]
            found.setdefault(name, []).append({**row, "tflops": work / row["us"] / 1e6})
    if not found:
        raise UserError("no product with more than one token: the FLOP rate is not known")
    best = f"best product of random {{}} values with many tokens, {library}"
    return {name: figures.flops(some, best.format(name)) for name, some in found.items()}


def _softness(products: Rows, figures: Figures, rate: float) -> dict[str, Any]:
    """From the largest matrix that was multiplied by several numbers of tokens in one way; nothing where no exponent is best."""
    series = dict[tuple[Any, ...], dict[int, float]]()
    for row in products:
        key = (row["bytes"], row["what"], row["how"], row.get("format", "bf16"))
        series.setdefault(key, {})[row["tokens"]] = row["us"] / 1e6
    longest = [(key, some) for key, some in series.items() if len(some) >= LEAST_TOKENS]
    if not longest:
        return {}
    (size, what, how, name), some = max(longest, key=lambda item: item[0][0])
    per_token = 2 * size / WIDTH[name]
    best = max(tokens * per_token / took for tokens, took in some.items())
    found = softness(sorted(some.items()), size, per_token, rate, best)
    if found is None:
        return {}
    low, high = found.ratios
    source = f"{figures.here}, soft maximum over {len(some)} numbers of tokens ({what}, {how}), {low:.2f} to {high:.2f} x the measured time"
    return {"softness": {"value": found.value, "kind": found.kind, "source": source, "range": [found.low, found.high]}}


def _grouped(rows: Rows, figures: Figures, rate: float) -> dict[str, Any]:
    """One fused launch over distinct experts, by the fastest way of those that were tried."""
    machine, ways = machine_of(rows), dict[str, list[Row]]()
    for row in of(rows, "grouped"):
        if row["way"] != "loop":  # one launch for each expert
            ways.setdefault(row["way"], []).append(row)
    if not ways:
        return {}
    way = min(ways, key=lambda name: sum(row["us"] for row in ways[name]) / len(ways[name]))
    point = out_of_cache(points_of(ways[way]), machine["llc_bytes"])
    words = f"distinct experts in one launch ({way}), {machine['library']}"
    return {
        "grouped_bandwidth": figures.rate(ways[way], point, words),
        "grouped_launch": figures.time(
            ways[way], fixed(points_of(ways[way]), point.bytes / point.seconds, _least(rows)), words
        ),
    }


def _least(rows: Rows) -> float:
    """Seconds of a kernel that does nothing; 0 where it was not timed."""
    times = [row["us"] / 1e6 for row in of(rows, "launch") if row["what"].startswith("small kernel")]
    return min(times, default=0.0)


def _waits(rows: Rows, figures: Figures, library: str) -> dict[str, Any]:
    """What the host and other streams are waited for; shares of what was timed."""
    found = dict[str, Any]()
    for key, start, share in (
        ("host_wait", "32 B to the host", 1.0), ("hand_over", "two kernels on two streams", 0.5),
        ("kernel_floor", "small kernel, eager", 1.0), ("graph_kernel_floor", "small kernel in a graph", 1.0),
    ):  # fmt: skip
        some = [row for row in of(rows, "launch") if row["what"].startswith(start)]
        if some:
            found[key] = figures.median(some, share, f"{some[0]['what']}, {library}")
    return found


def cpu(rows: Rows, figures: Figures, library: str) -> dict[str, Any]:
    """A CPU with as many threads as read fastest; one bandwidth stands for all formats, that of the fastest."""
    machine, products = machine_of(rows), of(rows, "cpu")
    point = out_of_cache(points_of(products), machine["host_llc_bytes"])
    (best, *_) = (row for row in products if Point(row["bytes"], row["us"] / 1e6) == point)
    alike = [row for row in products if (row["format"], row["threads"]) == (best["format"], best["threads"])]
    words, rate, smallest = (
        f"{best['format']}, {best['threads']} threads, {library}",
        point.bytes / point.seconds,
        min(points_of(alike)),
    )
    least = max(0.0, smallest.seconds - smallest.bytes / rate)
    return {
        "bandwidth": figures.rate(products, point, f"{large(words)}"),
        "launch": figures.time(alike, fixed(points_of(alike), rate, least), f"one token, {words}"),
        "flops": _cpu_flops(of(rows, "cpu_flops"), figures, library),
        **_of_engines(rows, figures),
    }


def _of_engines(rows: Rows, figures: Figures) -> dict[str, Any]:
    """What engines of CPUs go by: the rate of quantised weights with all threads and with one, cores and their clock."""
    threads, found = machine_of(rows)["threads"], dict[str, Any]()
    for key, number in (("quantised_bandwidth", threads), ("thread_bandwidth", 1)):
        for row in of(rows, "quantised", threads=number):
            (point,) = points_of([row])
            found[key] = figures.rate(
                [row], point, f"4 bits in blocks of 32 times one token, {number} threads, own kernel"
            )
    for row in of(rows, "clock"):
        ends = [row["cycles"] / microseconds(row, end) * 1e6 for end in ("hi", "us", "lo")]
        how = "one operation after the other, of one cycle each"
        found["processors"] = {"value": threads, "kind": "measured", "source": f"{figures.here}: cores that it may use"}
        found["clock"] = figures.figure("frequency", ends[1], ends, samples([row]), how)
    return found


def _cpu_flops(rows: Rows, figures: Figures, library: str) -> dict[str, Any]:
    """By format. 16-bit weights are converted on the way where fp32 is faster than the CPU's own products of that format."""
    formats = list(dict.fromkeys(row["format"] for row in rows))
    if "fp32" not in formats:
        raise UserError("no rows of kind cpu_flops and format fp32: the FLOP rate of the CPU is not known")
    of_format = {name: of(rows, "cpu_flops", format=name) for name in formats}
    top = {name: max(row["tflops"] for row in some) for name, some in of_format.items()}
    found = {}
    for name in dict.fromkeys([*formats, "fp16", "bf16"]):
        own, words = name, f"random {name} values, {library}"
        if name in ("fp16", "bf16") and top.get(name, 0.0) < top["fp32"]:
            own, words = "fp32", f"as fp32, converted on the way, {library}"
        found[name] = figures.flops(of_format[own], words)
    return found
