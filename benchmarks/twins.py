"""`python -m benchmarks.twins`: how well drawn routing foretells caches (docs/synthetic_routing.md).

A twin is fitted on the first half of each long trace in SIMMOE_TRACES. It foretells the hit rate of each layer's cache of a tenth, two
tenths … of the experts over the second half: the mean of DRAWS draws, and of each policy the worst of them. So does the uniform class, and
the typical class without the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.routing_classes import TRACES
from simmoe.play.replay import decide_named
from simmoe.simulator.decide.counts import hit_flags
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.recurrence import CompiledPlayer
from simmoe.workloads.synthetic import scaling, twinfile, typical
from simmoe.workloads.synthetic.drawing import draw
from simmoe.workloads.synthetic.fitting import fit
from simmoe.workloads.synthetic.twin import Twin, uniform
from tests import real_traces

NAMES = ("gptoss20b_gpqa", "gptoss20b_mmlupro", "dsv2lite_intent", "qwen3_30b_general")
CLASS_OF = {trace: name for name, trace in TRACES.items()} | {"gptoss20b_mmlupro": "gpt-oss-20b"}
POLICIES = ("lru", "belady")
BARS = {"lru": 3.0, "belady": 4.0}  # points
DRAWS = 6
Curves = dict[str, npt.NDArray[np.float64]]  # policy -> [layers, tenths] hit rates in percent


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.twins", description=__doc__)
    arguments.add_argument("trace", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    for name in arguments.parse_args().trace or NAMES:
        report(name)


def report(name: str) -> None:
    trace = real_traces.load(name)
    first, second = halves(trace)
    was, will = curves(first), curves(second)
    twin = fit(first)
    print(
        f"\n{name}: first half {first.expert_ids.size:,} ids, twin {twin.numbers:,} numbers, top-{trace.top_k} of {trace.n_experts}"
    )
    print(
        "| second half foretold by | policy | mean error at each tenth, points | worst layer and tenth | worst beyond the gap |"
    )
    print("|---|---|---|---|---|")
    line("the first half itself (the gap)", was, will, was)
    drawn = [curves(drawn_like(second, twin, seed)) for seed in range(DRAWS)]
    line(f"twin, mean of {DRAWS} draws", average(drawn), will, was)
    line("twin, the worst of them", worst(drawn, will, was), will, was)
    even = uniform(trace.n_layers, trace.n_experts, trace.top_k)
    line("uniform", curves(drawn_like(second, even, 0)), will, was)
    for label, others in classes(trace, CLASS_OF[name]).items():
        line(
            label,
            average([curves(drawn_like(second, scaling.cast(others, seed), seed)) for seed in range(2)]),
            will,
            was,
        )


def classes(trace: Trace, own: str) -> dict[str, Twin]:
    geometry = (trace.layer_index.astype(np.int64), trace.n_experts, trace.top_k)
    found = {f"typical without {own}": typical(*geometry, without=(own,))}
    for name in TRACES:
        if name != own:
            found[f"like:{name}"] = scaling.scaled(twinfile.load_class(name), *geometry)
    return found


def halves(trace: Trace) -> tuple[Trace, Trace]:
    """Its passes up to the middle, and those from there."""
    middle = int(np.searchsorted(trace.pass_ptr, trace.n_tokens // 2))
    row = int(trace.pass_ptr[middle])
    return (
        trace.taken(slice(row), trace.pass_ptr[: middle + 1], trace.phase[:middle]),
        trace.taken(slice(row, None), trace.pass_ptr[middle:] - row, trace.phase[middle:]),
    )


def drawn_like(trace: Trace, twin: Twin, seed: int) -> Trace:
    """Drawn decode passes of one token, in sequences as long as those of the trace."""
    lengths = np.unique(trace.sequence, return_counts=True)[1].tolist()
    return draw(twin, [0] * len(lengths), lengths, seed)


def curves(trace: Trace) -> Curves:
    """As `simmoe.replay` has them, compiled: a cache for each layer that starts empty."""
    rooms = [max(round(trace.n_experts * tenth / 10), 1) for tenth in range(1, 11)]
    return {policy: np.stack([_hit_rates(trace, policy, room) for room in rooms], axis=1) for policy in POLICIES}


def _hit_rates(trace: Trace, policy: str, room: int) -> npt.NDArray[np.float64]:
    """[layers] percent"""
    requests, sizes = requests_of(trace, "event"), np.ones(trace.n_layers, np.int64)
    budget = room * trace.n_layers
    decisions = decide_named(trace, requests, sizes, policy, budget, "layer", False, 0, CompiledPlayer())
    return np.asarray(100 * hit_flags(trace, requests, decisions).mean((0, 2)))


def average(several: Sequence[Curves]) -> Curves:
    return {policy: np.mean([one[policy] for one in several], axis=0) for policy in POLICIES}


def worst(several: Sequence[Curves], true: Curves, was: Curves) -> Curves:
    """Of each policy those that are farthest beyond the gap."""
    return {
        policy: max(several, key=lambda one: float(beyond(one, true, was)[policy].max()))[policy] for policy in POLICIES
    }


def beyond(foretold: Curves, true: Curves, was: Curves) -> Curves:
    """What an error has beyond the difference of the halves, in each layer at each tenth."""
    return {policy: np.abs(foretold[policy] - true[policy]) - np.abs(was[policy] - true[policy]) for policy in POLICIES}


def line(label: str, foretold: Curves, true: Curves, was: Curves) -> None:
    for policy in POLICIES:
        error, more = foretold[policy] - true[policy], beyond(foretold, true, was)[policy].max()
        tenths = " ".join(f"{mean:+.1f}" for mean in error.mean(0))
        held = "holds" if more <= BARS[policy] else "misses"
        print(
            f"| {label} | {policy} | {tenths} | {np.abs(error).max():.1f} | {max(more, 0):.1f}, {held} {BARS[policy]:g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
