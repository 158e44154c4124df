"""How well does the simulator predict the offload runtime? `python -m simmoe.sweeps.validation.offload_study --kind throttled`.

Many runs over one routing, every policy with every budget, in shuffled order; each is predicted from what was sampled
within it, and from what was sampled over all runs. No run is left out. One is repeated, once, only if more than a fifth
of the machine belonged to others meanwhile; then both stand in the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from simmoe import policies
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.sweeps.validation.fidelity import Constants, Prediction, predict, replayed, static
from simmoe.workloads.format import trace as traces
from simmoe.workloads.offload.eviction import events_of
from simmoe.workloads.offload.layout import Bytes, Layout, random_image
from simmoe.workloads.offload.play import play_trace
from simmoe.workloads.offload.record import Played
from simmoe.workloads.offload.runtime import Options
from simmoe.workloads.offload.weather import Weather, two_cores

KINDS = {  # slow tier -> options of its runs
    "throttled": {"overlap": True, "throttled": True},
    "serial": {"overlap": False, "throttled": True},
    "memcpy": {"overlap": True},
    "files": {"overlap": True, "files": True},
}
POLICIES = ("lru", "lfu_resident", "belady", "random")
SHARES = (0.125, 0.25, 0.5, 0.75)  # budgets, of all experts
MODELS = ("simulated", "serial_sum", "perfect_overlap", "constant")
CLEAR_GAP = 0.05  # pairs of runs whose predictions differ by less say nothing about order
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What all runs of a study share."""

    kind: str
    trace: Trace
    layout: Layout
    image: Bytes
    bytes_per_s: int
    seed: int
    folder: Path

    def options(self, policy: str, budget: int) -> Options:
        how = KINDS[self.kind]
        return Options(
            budget,
            policy,
            how["overlap"],
            bytes_per_s=self.bytes_per_s if how.get("throttled") else None,
            folder=self.folder if how.get("files") else None,
            future=events_of(self.trace),
            seed=self.seed,
            cores=two_cores(),
            sample=True,
        )

    def budgets(self, shares: Sequence[float]) -> list[int]:
        """Bytes of whole experts; at least one token's in one layer."""
        least = self.trace.top_k
        return [max(round(share * len(self.image)), least) * self.layout.nbytes for share in shares]

    def eviction(self, policy: str) -> ModuleType:
        return static(self.trace) if policy == "static" else policies.load("eviction", policy)


def batched(trace: Trace, batch: int, passes: int) -> Trace:
    """`passes` decode passes of `batch` tokens, each of another sequence of `trace`; prefill passes are left out.

    Sequences are taken in turn; when they end, others follow.
    """
    decode = np.repeat(trace.phase == DECODE, np.diff(trace.pass_ptr))
    lanes: list[list[int]] = [[] for _ in range(batch)]
    for number, sequence in enumerate(np.unique(trace.sequence).tolist()):
        lanes[number % batch] += np.flatnonzero(decode & (trace.sequence == sequence)).tolist()
    longest = min(map(len, lanes))
    if longest < passes:
        raise UserError(f"the trace has {longest} decode passes of {batch} tokens, {passes} are wanted; lower --tokens")
    chosen = np.array([lane[:passes] for lane in lanes]).T.reshape(-1)
    rows = {name: getattr(trace, name)[chosen] for name in ("expert_ids", "sequence", "position")}
    return Trace(
        layer_index=trace.layer_index,
        pass_ptr=np.arange(0, passes * batch + 1, batch),
        phase=np.full(passes, DECODE, np.int8),
        meta={key: value for key, value in trace.meta.items() if key != "digest"},
        **rows,
    )


def study(
    bench: Bench, names: Sequence[str] = POLICIES, shares: Sequence[float] = SHARES, say: Say = print
) -> list[dict[str, Any]]:
    """One row per policy and budget, as plain data."""
    cells = [(policy, budget) for policy in names for budget in bench.budgets(shares)]
    order = np.random.default_rng(bench.seed).permutation(len(cells)).tolist()
    rows: list[dict[str, Any]] = []
    constants = []
    for number, cell in enumerate(order):
        policy, budget = cells[cell]
        played, first = _played(bench, bench.options(policy, budget))
        constants.append(Constants.of(played))
        rows.append(_row(bench, policy, budget, played, constants[-1]) | {"repeated": first})
        say(f"{number + 1}/{len(cells)}  {_line(rows[-1])}")
    _add_shared(bench, rows, Constants.pooled(constants))
    return rows


def _played(bench: Bench, options: Options) -> tuple[Played, dict[str, Any] | None]:
    """The run that counts, and what the first try was if the machine was too busy for it."""
    played = play_trace(bench.trace, bench.layout, bench.image, options)
    if not played.weather.bad:
        return played, None
    again = play_trace(bench.trace, bench.layout, bench.image, options)
    predicted = _predict(bench, options.policy, options.budget_bytes or 0, Constants.of(played)).simulated
    return again, {"measured_s": played.wall_s, "predicted_s": predicted, **asdict(played.weather)}


def _predict(bench: Bench, policy: str, budget: int, constants: Constants) -> Prediction:
    decisions = replayed(bench.trace, bench.eviction(policy), budget, bench.layout.nbytes, bench.seed)
    return predict(bench.trace, decisions, constants, bench.layout.nbytes, KINDS[bench.kind]["overlap"])


def _row(bench: Bench, policy: str, budget: int, played: Played, constants: Constants) -> dict[str, Any]:
    predicted = asdict(_predict(bench, policy, budget, constants))
    measured = played.wall_s
    return {
        "kind": bench.kind,
        "policy": policy,
        "budget_bytes": budget,
        "budget": budget / (len(bench.image) * bench.layout.nbytes),
        "passes": bench.trace.n_passes,
        "tokens": bench.trace.n_tokens,
        "miss_rate": played.misses / (played.hits + played.misses),
        "measured_s": measured,
        "predicted_s": predicted["simulated"],
        "error": predicted["simulated"] / measured - 1,
        "errors": {name: seconds / measured - 1 for name, seconds in predicted.items()},
        "constants_ns": asdict(constants),
        **asdict(played.weather),
    }


def _add_shared(bench: Bench, rows: list[dict[str, Any]], pooled: Constants) -> None:
    """What needs all runs: the constant guess, and predictions from constants that all runs share."""
    guess = float(np.mean([row["measured_s"] for row in rows]))
    for row in rows:
        row["errors"]["constant"] = guess / row["measured_s"] - 1
        row["pooled_s"] = _predict(bench, row["policy"], row["budget_bytes"], pooled).simulated


def add_earlier(bench: Bench, rows: list[dict[str, Any]], earlier: Sequence[dict[str, Any]]) -> None:
    """Foresight: the same runs predicted from the constants of an earlier study on this machine."""
    before = Constants.pooled([Constants(**row["constants_ns"]) for row in earlier])
    for row in rows:
        row["earlier_s"] = _predict(bench, row["policy"], row["budget_bytes"], before).simulated
        row["errors"]["earlier_constants"] = row["earlier_s"] / row["measured_s"] - 1


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and worst error of each model, and how many clear pairs the simulator puts in the right order."""
    errors = {name: [abs(row["errors"][name]) for row in rows] for name in rows[0]["errors"]}
    clear = [(a, b) for a, b in combinations(rows, 2) if _gap(a["pooled_s"], b["pooled_s"]) > CLEAR_GAP]
    right = sum((a["pooled_s"] < b["pooled_s"]) == (a["measured_s"] < b["measured_s"]) for a, b in clear)
    return {
        "runs": len(rows),
        "mean_error": {name: float(np.mean(values)) for name, values in errors.items()},
        "worst_error": {name: max(values) for name, values in errors.items()},
        "pairs_in_order": right,
        "pairs": len(clear),
        "repeated_runs": sum(row["repeated"] is not None for row in rows),
    }


def _gap(a: float, b: float) -> float:
    return abs(a - b) / min(a, b)


def _line(row: dict[str, Any]) -> str:
    weather = Weather(row["steal"], row["foreign"])
    others = "" if weather.steal is None else f"  steal {weather.steal:.0%} foreign {weather.foreign:.0%}"
    return (
        f"{row['policy']:12} {row['budget']:5.1%}  misses {row['miss_rate']:5.1%}  measured {row['measured_s']:6.2f} s  "
        f"predicted {row['predicted_s']:6.2f} s  {row['error']:+6.1%}{others}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    a = _parser().parse_args(arguments)
    try:
        trace = batched(traces.load(a.trace), a.batch, a.tokens)
        layout = Layout(a.d_model, a.d_ff)
        image = random_image(layout, trace.n_layers * trace.n_experts, a.seed)
        with tempfile.TemporaryDirectory(dir=a.folder) as folder:
            bench = Bench(a.kind, trace, layout, image, a.bytes_per_s, a.seed, Path(folder))
            rows = study(bench, a.policies.split(","), say=lambda line: print(line, file=sys.stderr, flush=True))
            if a.earlier:
                add_earlier(bench, rows, json.loads(a.earlier.read_text("utf-8"))["rows"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = {"summary": summary(rows), "rows": rows}
    if a.out:
        with atomic(a.out) as stream:
            json.dump(found, stream, indent=1)
    print(json.dumps(found["summary"], indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simmoe.sweeps.validation.offload_study", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="throttled", help="the slow tier")
    parser.add_argument("--out", type=Path, help="write rows and summary there, as JSON")
    parser.add_argument("--earlier", type=Path, help="an earlier study of this kind: predict from its constants too")
    parser.add_argument("--trace", default="switch", help="routing to play: a bundled trace or a file")
    parser.add_argument("--batch", type=int, default=6, help="tokens per pass, each of another sequence")
    parser.add_argument("--tokens", type=int, default=96, help="passes per run")
    parser.add_argument("--policies", default=",".join(POLICIES), help="comma-separated")
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--d-ff", type=int, default=1024, help="hidden width of an expert")
    parser.add_argument("--bytes-per-s", type=int, default=2_000_000_000, help="of the throttled link")
    parser.add_argument(
        "--folder", type=Path, help="where the files of --kind files lie (default: the temporary folder)"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
