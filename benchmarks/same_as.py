"""`python -m benchmarks.same_as PYTHON`: every decision, byte and time equal to those of another installed simmoe.

PYTHON is the interpreter of an environment that holds the other version; it plays each scenario with its SimPy engine, this version with
--engine. Scenarios are drawn by hypothesis over wide ranges: 1 to 512 experts, top-k up to all of them, sizes from 1 B to 9 GB, zero
latencies, both kinds of memory, buffers, CPU experts, write-back, page cache, cold starts, both scopes.

Times of 0.1.0 are those of this version at the tag same-as-0.1; since then they rightly differ where a CPU computes experts, where a load
goes over two hops, where a discrete link is faster than the memory that it reads, and where a fused launch has a soft maximum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks import peer

EVICTIONS = ("lru", "fifo", "belady", "random", "arc", "w_tinylfu")
ACCESSES = 1500  # of a scenario at most
REAL = ("qwen3_30b_general", "dsv2lite_intent", "gptoss20b_gpqa", "gptoss20b_mmlupro", "phone_gemma4_26b")
FOLDER = Path(
    os.environ.get("SIMMOE_TRACES") or Path(__file__).resolve().parent.parent / ".." / "shared" / "traces"
).resolve()


class Other:
    """Another installed version in a process of its own."""

    def __init__(self, python: str) -> None:
        here = (
            {"PYTHONPATH": os.pathsep.join(sys.path)}
            if python == sys.executable
            else {"SIMMOE_CACHE": tempfile.mkdtemp()}
        )
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | here
        self.process = subprocess.Popen(
            [python, str(Path(peer.__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=Path(python).parent,
        )  # fmt: skip

    def __call__(self, asked: dict[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the other version has ended on {json.dumps(asked)[:2000]}")
        return json.loads(line)


rates = st.one_of(st.integers(10**8, 5 * 10**12), st.sampled_from((10**9, 10**12, 333_333_333_777)))
sizes = st.one_of(st.integers(1, 64), st.integers(1, 4 * 10**7), st.integers(10**6, 9 * 10**9))
latencies = st.one_of(st.just(0), st.integers(0, 10**8))


@st.composite
def parts(draw: st.DrawFn, size: st.SearchStrategy[int]) -> list[int]:
    return [draw(size), draw(st.one_of(st.just(0), st.integers(0, 10**9)))]


@st.composite
def hardware(draw: st.DrawFn) -> dict[str, Any]:
    unified, w = draw(st.booleans()), draw(st.integers(1, 3))
    own, load, left = draw(rates), draw(rates), draw(rates)
    if unified and load * w + left > 2**62:
        w = 1
    memory = w * load + left if unified else own
    queue = draw(st.sampled_from(([], [[1, 0.25], [3, 1.0]])))
    upstream = draw(st.one_of(st.none(), st.tuples(st.just("store"), rates, latencies, st.booleans())))
    softness = st.sampled_from((None, 1.0, 1.58, 2.0, 6.5))
    unit = {
        "name": "gpu", "memory": "dram", "bytes_per_s": own, "launch_ps": draw(latencies), "flops_per_s": {"fp16": draw(rates)},
        "softness": draw(softness), "grouped_launch_ps": draw(st.one_of(st.none(), latencies)),
        "grouped_bytes_per_s": draw(st.sampled_from((None, max(own // 2 // 1000 * 1000, 1000)))),
        "grouped_softness": draw(softness), "graph_launch_ps": draw(st.one_of(st.none(), latencies)),
    }  # fmt: skip
    share = draw(st.sampled_from((2, 4)))
    cpu = {
        "name": "cpu", "memory": "dram" if unified else "home",
        "bytes_per_s": max(left // share // 1000 * 1000, 1000) if unified else draw(rates),
        "launch_ps": draw(latencies), "flops_per_s": {"fp16": draw(rates)},
    }  # fmt: skip
    link = {
        "src": "home", "dst": "dram", "bytes_per_s": load, "latency_ps": draw(latencies),
        "efficiency": draw(st.sampled_from(([], [[1, 0.5], [8, 1.0]], [[10**6, 0.25], [10**8, 0.9]]))),
        "pageable_bytes_per_s": draw(st.one_of(st.none(), st.just(load // 2))), "duplex": draw(st.sampled_from(("full", "half"))),
        "upstream": upstream, "write_bytes_per_s": draw(st.one_of(st.none(), rates)),
        "host_memory": draw(st.sampled_from(("pinned", "pinned", "pageable", "managed"))),
        "managed": draw(st.sampled_from((None, [load, 65536, 10**6]))), "queue_depth": draw(st.sampled_from((None, None, 1, 2))),
    }  # fmt: skip
    tiers = [["dram", memory, []], ["home", draw(rates), queue], ["store", draw(rates), queue]]
    return {"unified": unified, "w": w if unified else 1, "tiers": tiers, "units": [unit, cpu], "link": link}


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    n_experts = draw(st.one_of(st.integers(1, 8), st.sampled_from((16, 60, 128, 512))))
    top_k = draw(st.one_of(st.integers(1, min(n_experts, 8)), st.just(n_experts)))
    moe = draw(st.lists(st.booleans(), min_size=1, max_size=4).filter(any))
    columns = sum(moe)
    tokens = draw(st.integers(1, max(1, min(60, ACCESSES // (columns * top_k)))))
    seed = draw(st.integers(0, 2**32 - 1))
    expert_size = draw(sizes)
    layers = [
        {
            "attention": draw(parts(st.one_of(st.just(0), sizes))), "kv": draw(st.sampled_from((0, 0, 64, 4096))),
            "score": draw(st.sampled_from((0, 0, 2, 512))), "ffn": None if one else draw(parts(sizes)),
            "shared": draw(st.one_of(st.none(), parts(sizes))) if one else None,
            "expert": [draw(st.one_of(st.just(expert_size), sizes)), draw(st.sampled_from((0, 2, 10**6)))] if one else None,
            "n_experts": n_experts if one else 0,
        }
        for one in moe
    ]  # fmt: skip
    model = {"layers": layers, "top_k": top_k, "head": draw(parts(st.one_of(st.just(0), sizes)))}
    trace = routed(
        seed,
        n_experts,
        top_k,
        [i for i, one in enumerate(moe) if one],
        tokens,
        draw(st.floats(0, 1)),
        draw(st.booleans()),
    )
    events = (len(trace["pass_ptr"]) - 1) * columns
    each = [n_experts * one["expert"][0] for one in layers if one["expert"]]
    scope = draw(st.sampled_from(("global", "layer")))
    least = (
        max(one["expert"][0] for one in layers if one["expert"])
        if scope == "global"
        else -(-sum(each) // n_experts) + n_experts
    )
    guess_ptr, guess_obj = (
        wanted(seed, trace, events, columns * n_experts) if draw(st.booleans()) else ([0] * (events + 1), [])
    )
    buffered = bool(guess_obj) and draw(st.booleans())
    options = {
        "eviction": draw(st.sampled_from(EVICTIONS)), "scope": scope, "budget_bytes": draw(st.integers(least, max(least, sum(each)))),
        "cold": draw(st.booleans()), "seed": draw(st.sampled_from((0, 1, 2**63 - 1))),
        "overlap": draw(st.sampled_from((True, True, False))),
        "guess_ptr": guess_ptr, "guess_obj": guess_obj, "buffered": buffered,
        # quotas of scope layer are now of what is left to the device
        "cpu_seed": draw(st.none() if scope == "layer" else st.one_of(st.none(), st.integers(0, 9))),
        "write_back": not buffered and draw(st.booleans()), "page_cache": draw(st.one_of(st.just(0), st.integers(1, sum(each)))),
        "graphs": draw(st.booleans()),
    }  # fmt: skip
    return {"hw": draw(hardware()), "model": model, "trace": trace, "options": options}


def routed(
    seed: int, n_experts: int, top_k: int, columns: list[int], tokens: int, again: float, holes: bool
) -> dict[str, Any]:
    """A trace whose tokens keep an expert with probability `again`, in passes of any shape; with `holes` some slots are unused."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((tokens, len(columns), top_k), np.int64)
    for t in range(tokens):
        for c in range(len(columns)):
            keep = t > 0 and rng.random() < again
            ids[t, c] = ids[t - 1, c] if keep else rng.choice(n_experts, top_k, replace=False)
    if holes:
        ids[rng.random(ids.shape) < 0.1] = -1
    pass_ptr, phase, sequence, position = [0], [], [], []
    reached: Counter[int] = Counter()
    while pass_ptr[-1] < tokens:
        decode = bool(rng.random() < 0.7)
        count = min(tokens - pass_ptr[-1], int(rng.integers(1, 4 if decode else 12)))
        rows = rng.choice(4, count, replace=False).tolist() if decode else [int(rng.integers(0, 4))] * count
        for row in rows:
            sequence.append(row)
            position.append(reached[row])
            reached[row] += 1
        phase.append(int(decode))
        pass_ptr.append(pass_ptr[-1] + count)
    return {
        "expert_ids": ids.ravel().tolist(), "shape": list(ids.shape), "layer_index": columns, "pass_ptr": pass_ptr, "phase": phase,
        "sequence": sequence, "position": position, "n_experts": n_experts,
    }  # fmt: skip


def wanted(seed: int, trace: dict[str, Any], events: int, n_objects: int) -> tuple[list[int], list[int]]:
    """Guesses at the end of each event; most are right about one of the next events."""
    rng = np.random.default_rng(seed + 1)
    ids = np.array(trace["expert_ids"]).reshape(trace["shape"])
    columns, ptr, obj = trace["shape"][1], [0], list[int]()
    passes = trace["pass_ptr"]
    for event in range(events):
        ahead = min(event + int(rng.integers(1, columns + 2)), events - 1)
        rows = ids[passes[ahead // columns] : passes[ahead // columns + 1], ahead % columns]
        right = [ahead % columns * trace["n_experts"] + e for e in rows.ravel().tolist() if e >= 0]
        for _ in range(int(rng.integers(0, 5))):
            obj.append(int(rng.choice(right)) if right and rng.random() < 0.75 else int(rng.integers(n_objects)))
        ptr.append(len(obj))
    return ptr, obj


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    if "refused" in one or "refused" in other:
        return (
            []
            if one.get("refused") == other.get("refused")
            else [f"refused: {one.get('refused')!r} and {other.get('refused')!r}"]
        )
    return [name for name in other if one[name] != other[name]]


def whole(other: Other) -> None:
    """Prints a line for each job; the compiled engines of both. Raises AssertionError at the first that differs."""
    real = [
        ({"hw": hw, "trace": f"{name}.real", "eviction": "lru", "part": part, "folder": str(FOLDER)}, scope)
        for name in REAL for hw in ("a100", "jetson_orin") for part, scope in ((8, "global"), (4, "global"), (2, "layer"))
    ]  # fmt: skip
    from simmoe.hardware_profiles import available

    profiles = [
        ({"hw": hw, "trace": "switch", "eviction": "lru", "part": 4, "prefetch": wanted}, "global")
        for hw in available() for wanted in (None, "next_layer")
    ]  # fmt: skip
    for job, scope in real + profiles:
        for overlap in (True, False):
            said = {"job": job, "scope": scope, "engine": "fast", "overlap": overlap, "plain": job["trace"] != "switch"}
            mine, theirs = peer.whole(said), other(said)
            wrong = [name for name in theirs if mine[name] != theirs[name]]
            assert not wrong, f"{said} differs in {', '.join(wrong)}"
        print(
            f"equal: {job['trace']} on {job['hw']}, 1/{job['part']} {scope}, prefetch {job.get('prefetch')}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_as", description=__doc__)
    parser.add_argument("python", help="interpreter of the environment that holds the other version")
    parser.add_argument("--scenarios", type=int, default=2000)
    parser.add_argument(
        "--engine", default="plain,simpy", help="of this version: simpy, plain, fast, or several with commas"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--whole", action="store_true", help="whole real traces, and every bundled profile, in place of scenarios"
    )
    asked = parser.parse_args()
    if asked.whole:
        whole(Other(asked.python))
        return
    other, seen, engines = Other(asked.python), Counter[str](), asked.engine.split(",")

    @settings(
        max_examples=asked.scenarios, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink), derandomize=False,
    )  # fmt: skip
    @given(scenarios())
    def compare(said: dict[str, Any]) -> None:
        want = other(said)
        for engine in engines:
            if engine == "fast" and peer.too_large(said):  # it refuses a launch that reads more than 9.2 GB
                continue
            found = differences(peer.played({**said, "engine": engine}), want)
            assert not found, f"{engine} differs in {', '.join(found)}"
        o = said["options"]
        seen.update(
            ["scenarios"] + ["refused by both"] * ("refused" in want) + ["unified"] * said["hw"]["unified"] + ["buffers"] * o["buffered"]
            + ["prefetches"] * bool(o["guess_obj"]) + ["CPU"] * bool(want.get("cpu")) + ["write-back"] * o["write_back"]
            + ["page cache"] * (o["page_cache"] > 0 and said["hw"]["link"]["upstream"] is not None) + ["cold"] * o["cold"]
            + ["no overlap"] * (not o["overlap"]) + [f"scope {o['scope']}"] + [o["eviction"]]
        )  # fmt: skip

    from hypothesis import seed

    seed(asked.seed)(compare)()
    print(f"equal, engines {asked.engine}: " + ", ".join(f"{name} {n}" for name, n in sorted(seen.items())))


if __name__ == "__main__":
    sys.exit(main())
