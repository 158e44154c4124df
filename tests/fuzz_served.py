"""Options of requests that arrive, of drafts and of several devices at random, and what no result may say: a part of tests/fuzz.py."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

Words = list[str]

ROWS = "prompts_first.py"  # schedules of a user's own
STEPS = "oldest_alone.py"
ARRIVALS = "arrivals.jsonl"
LENGTHS = "lengths.jsonl"  # of a file of requests
FILES = {
    STEPS: b"def next_pass(now_ps, requests, max_batch):\n    return list(requests[:1])\n",
    ROWS: b"""from simmoe.simulator.nouns.serving import Chunk, NextPass

TAKES = ("max_tokens",)


class Schedule:
    def __init__(self, room):
        self.room = room

    def next_pass(self, now_ps, requests, arrived):
        chunks, budget = [], self.room.max_tokens
        places = self.room.max_batch - sum(one.started for one in requests.values())
        for one in sorted(requests.values(), key=lambda one: -one.rows):
            rows = one.within(budget) if one.started or places else 0
            if rows:
                chunks.append(Chunk(one.number, rows))
                budget, places = budget - rows, places - (not one.started)
        return NextPass(chunks)
""",
    ARRIVALS: b"".join(b'{"timestamp": %s}\n' % at for at in (b"3", b"3", b"4.25", b"9e1", b"1000", b"1000")),
    LENGTHS: b"".join(
        b'{"timestamp": %d, "input_length": %d, "output_length": %d}\n' % line
        for line in ((0, 3, 2), (1, 20, 1), (40, 1, 9), (41, 7, 4))
    ),
}
FABRIC = b"""schema: 1
name: mine
title: A switch
bandwidth: {value: 10 GB/s, kind: nominal, source: its data sheet}
latency: {value: 5 us, range: [2 us, 9 us], kind: assumed, source: a guess}
"""

CARDS = ("rtx_3060", "rtx_3090", "rtx_5090")
FABRICS = ("nvlink4", "pcie5_x8", "ethernet_10g")
PROCESSES = (
    "poisson:50/s",
    "poisson:0.01/s",
    "gamma:80/s,burstiness=0.3",
    "onoff:9/s,on=1s,off=2s",
    "every:3ms",
    ARRIVALS,
    LENGTHS,
    "poisson",
)
Choices = dict[str, tuple[str | None, ...]]  # None: an option without a value

SERVED: Choices = {
    "prompt": ("uniform:1..9", "lognormal:6,cv=1.5", LENGTHS), "generate": ("uniform:1..5", "lognormal:3,cv=0.5", LENGTHS),
    "depth": ("uniform:1..30", "lognormal:9,cv=2"),
    "arrivals": PROCESSES, "rate": ("3/s", "400/s"), "max-batch": ("1", "2", "5"), "max-tokens": ("1", "7", "40"),
    "kv-blocks": ("1", "3", "9"), "kv-memory": ("1MB", "50MB"), "prefix-cache": (None,), "requests": ("1", "4", "6"),
    "ttft": ("1ms", "40ms"), "tpot": ("100us", "3ms"), "microbatch": ("1", "16"),
    "runtime": ("llama_cpp_cuda", "vllm", "mixtral_offloading"),
}  # fmt: skip
BEFOREHAND: Choices = {
    "batch": ("1", "3"), "prefill-chunk": ("1", "5"), "draft": ("0", "1", "3"),
    "acceptance": ("0%", "60%", "each=80%", "90%,50%,10%", "100%"), "draft-cost": ("0s", "1ms"), "draft-model": ("shape.yaml",),
    "rejected": ("drawn",), "rollback": ("redecode",), "warm-up": ("3", "9"), "requests": ("3",),
}  # fmt: skip
SEVERAL: Choices = {
    "timeline": ("distributed", "expert_parallel", "tensor_parallel", "tensor_expert_parallel"),
    "placement": ("round_robin", "balanced", "affinity", "layer_split", "layer_split=3/1", "expert_split=1/1", "balanced:first=50%"),
}  # fmt: skip
ON_CARDS: Choices = {
    "runtime": ("llama_cpp_cuda", "ik_llama_cpp", "usual"), "tensor-split": ("1/1", "3/1", "0/1"), "gpu-layers": ("0", "2", "99"),
    "flags": ("-ngl 99 -ncmoe 1", "-ngl 2 -ub 16", "-ts 1,2", "-sm none", "-nkvo"), "batch": ("2",), "draft": ("2",),
    "acceptance": ("60%",),
}  # fmt: skip
ANY: Choices = {
    "budget": ("0%", "25%", "50%", "100%", "30MB"), "memory": ("2GB", "400MB"), "depth": ("5", "100"), "context": ("64", "512"),
    "eviction": ("lfu", "arc", "belady", "random", "nothing", "everything"), "scope": ("layer", "fitted:first=20%"), "seed": ("1", "7"),
    "miss": ("cpu", "balanced", "drop=10%", "substitute", "hobbit=50%"), "low-budget": ("20%",), "cancel": (None,),
    "prefetch": ("last_token", "whole_layer", "dial=80%", "affinity"), "prefetch-into": ("buffers",), "cold-per-sequence": (None,),
    "start": ("warm", "cold"), "write-back": (None,), "kv-format": ("q8_0",), "graphs": (None,), "page-cache": ("50MB",),
    "overlap": ("none",), "set": ("fabric.latency=20us", "link.bandwidth=3GB/s"),
}  # fmt: skip


def served(draw: random.Random) -> Words:
    """A run of a few short sequences, of options that belong together and some that do not."""
    said: dict[str, str | None] = {"prompt": draw.choice(("1", "5", "20")), "generate": draw.choice(("1", "4", "9"))}
    machine = draw.choice(("one", "equal", "cards"))
    if machine == "one":
        said["hw"] = draw.choice(("a100", "rtx_4090", "jetson_orin", "rtx_4090_nvme"))
    elif machine == "equal":
        said["hw"] = f"{draw.choice('248')}x{draw.choice((*CARDS, 'h100'))}:{draw.choice(FABRICS)}"
        said |= {name: draw.choice(values) for name, values in SEVERAL.items()}
        if said["timeline"] == "tensor_parallel" and draw.random() < 0.8:
            del said["placement"]
    else:
        said |= {"gpu": "+".join(draw.choices(CARDS, k=draw.randint(2, 3))), "host": "ddr5_6000_2ch"}
        said |= {"runtime": draw.choice(ON_CARDS["runtime"]), **_some(draw, ON_CARDS, 2)}
    if (machine == "one" and draw.random() < 0.5) or draw.random() < 0.1:
        said["schedule"] = draw.choice(("continuous", "vllm", "llama_cpp", ROWS, STEPS))
        said |= _some(draw, SERVED, 5)
    elif machine == "one" or draw.random() < 0.4:
        said |= _some(draw, BEFOREHAND, 3)
        said |= {"draft": "2", "acceptance": "60%"} if draw.random() < 0.5 else {}
    said |= {"budget": "50%"} if machine != "cards" and draw.random() < 0.7 else {}
    said |= _some(draw, ANY, 3)
    text = draw.choice((["--trace=good.npz"], [], ["--trace=good.npz"]))
    options = [f"--{name}" if value is None else f"--{name}={value}" for name, value in said.items()]
    return ["run", "--model=shape.yaml", *text, "--engine=plain", *draw.choice(([], ["--json"], ["--json"])), *options]


def _some(draw: random.Random, choices: Choices, most: int) -> dict[str, str | None]:
    return {
        name: draw.choice(choices[name])
        for name in draw.sample(sorted(choices), draw.randint(0, min(most, len(choices))))
    }


def contradiction(text: str) -> str:
    """What the JSON of a run says that cannot be; empty of none."""
    said = json.loads(text)
    for path, value in _leaves(said, ""):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{path} is {value}"
        if isinstance(value, int | float) and value < 0 and "kernels" not in path and "position" not in path:
            return f"{path} is {value}"
    if "decode" not in said:
        return ""
    for part in (said["decode"], said["prefill"]):
        kinds = ("hits", "misses", "on_cpu", "substituted", "low_precision", "dropped")
        if sum(part.get(kind, 0) for kind in kinds) != part["requests"]:
            return f"requests are not what became of them: {part}"
    sizes = [said["memory_bytes"], *(one["memory_bytes"] for one in said.get("devices", ()))]
    for size in sizes:
        if sum(size.values()) != 2 * size["total"]:
            return f"a total is not the sum: {size}"
    if "devices" in said and sum(one["total"] for one in sizes[1:]) != sizes[0]["total"]:
        return "the memories of the devices are not that of the run"
    return _of_requests(said.get("requests"), said["scenario"])


def _of_requests(found: Any, scenario: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return ""
    if scenario.get("requests") not in (None, found["n"] + found.get("refused", 0)):
        return f"{scenario['requests']} requests were asked for, {found['n']} ended, {found.get('refused', 0)} were refused"
    for name in ("ttft_ms", "tpot_ms", "e2e_ms", "queue_ms"):
        ranks = [(found[name] or {}).get(f"p{p}", 0) for p in (50, 90, 95, 99)]
        if ranks != sorted(ranks):
            return f"{name} falls: {ranks}"
    goodput = found.get("goodput")
    if goodput and (goodput["requests_per_s"] > found["requests_per_s"] or goodput["met"] > found["n"]):
        return f"more goodput than throughput: {found}"
    return ""


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path, value
        return
    for key, one in pairs:
        yield from _leaves(one, f"{path}.{key}")
