"""`python -m benchmarks.routing_classes`: writes workloads/synthetic/classes anew (some minutes).

Classes of models that SIMMOE_TRACES holds a long trace of are fitted on it. The others are fitted on published figures: hit rates of an
LRU cache of 1, 2 and 3 times top_k experts a layer, and the share of slots that the best top_k experts of each 64 and 256 tokens serve
(SRP), means over layers and texts, from arXiv 2505.16056. So all layers of such a class are alike, and it knows no affinity.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simmoe.workloads.synthetic import twinfile
from simmoe.workloads.synthetic.drawing import draw_ids
from simmoe.workloads.synthetic.fitting import fit
from simmoe.workloads.synthetic.measures import depths, windows
from simmoe.workloads.synthetic.scaling import cast, scaled, summary
from simmoe.workloads.synthetic.twin import QUANTILES, Twin
from tests import real_traces

TRACES = {  # class -> trace
    "gpt-oss-20b": "gptoss20b_gpqa", "deepseek-v2-lite": "dsv2lite_intent", "qwen3-30b": "qwen3_30b_general",
}  # fmt: skip
PAIRS = 8  # of each layer of a class
FIGURES = {  # class -> experts, top-k, SRP over 64 and 256 tokens, LRU hit rates at 1, 2 and 3 times top-k
    "deepseek-moe-16b": (64, 6, 0.295, 0.257, 0.269, 0.406, 0.511),
    "grin-moe": (16, 2, 0.450, 0.421, 0.410, 0.602, 0.734),
    "jamba-mini": (16, 2, 0.312, 0.279, 0.271, 0.420, 0.548),
    "jetmoe-8b": (8, 2, 0.428, 0.411, 0.331, 0.569, 0.798),
    "llama-moe-v2": (8, 2, 0.764, 0.755, 0.714, 0.960, 0.999),
    "minicpm-moe": (8, 2, 0.437, 0.417, 0.372, 0.608, 0.819),
    "mixtral": (8, 2, 0.445, 0.425, 0.364, 0.614, 0.825),
    "olmoe": (64, 8, 0.455, 0.426, 0.429, 0.612, 0.735),
    "openmoe-8b": (32, 2, 0.218, 0.188, 0.137, 0.220, 0.297),
    "phi-3.5-moe": (16, 2, 0.466, 0.438, 0.432, 0.627, 0.757),
    "powermoe-3b": (40, 8, 0.506, 0.486, 0.452, 0.690, 0.861),
    "qwen1.5-moe": (60, 4, 0.225, 0.187, 0.188, 0.278, 0.359),
    "qwen2-57b": (64, 8, 0.303, 0.275, 0.234, 0.375, 0.506),
    "switch-base-128": (128, 1, 0.118, 0.100, 0.046, 0.112, 0.153),
    "xverse-moe": (64, 6, 0.311, 0.275, 0.293, 0.422, 0.528),
    "yuan2-m32": (32, 2, 0.611, 0.598, 0.516, 0.711, 0.805),
}
SOURCE = "figures of arXiv 2505.16056: LRU at 1, 2, 3 x top-k = {:.3f}, {:.3f}, {:.3f}; SRP over 64, 256 tokens = {:.3f}, {:.3f}"
COPIES = 4  # layers alike that are drawn together, against scatter
TOKENS, ROUNDS = 2048, 40
NORMAL = np.array(
    [-2.6, -2.05, -1.28, -0.67, 0, 0.67, 1.28, 2.05, 2.6]
)  # quantiles of a normal distribution at QUANTILES
TOPIC_TOKENS = 128.0  # not among the figures: half the longer window


def main() -> None:
    for name, trace in TRACES.items():
        known = fit(real_traces.load(trace), PAIRS)
        _write(replace(summary(known), name=name))
    for name, figures in FIGURES.items():
        _write(_of_figures(name, *figures))


def _write(twin: Twin) -> None:
    parts = {
        part: np.round(getattr(twin, part), 2) + 0.0 for part in ("popularity", "stickiness", "topic_spread", "lift")
    }
    twinfile.save(replace(twin, **parts), twinfile.CLASSES / f"{twin.name}.yaml")


def _of_figures(name: str, n_experts: int, k: int, *figures: float) -> Twin:
    """One layer: the weights of four groups of depths and two spreads that draw what the figures say."""
    srp, lru = np.array(figures[:2]), np.array(figures[2:])
    ends = np.array([k, 2 * k, 3 * k, n_experts])
    slots = np.diff([0, *lru, 1])
    rate = slots * k / np.diff(ends, prepend=0)
    stickiness, spreads = np.log(-np.log1p(-rate)), np.array([0.3, 0.3])  # of topics, of popularity
    none = np.zeros((1, 0), np.int64)
    kept: list[tuple[np.ndarray, np.ndarray]] = []  # type: ignore[type-arg]
    for number in range(ROUNDS):
        twin = Twin(
            name, SOURCE.format(*lru, *srp), n_experts, k, np.zeros(1, np.int64), spreads[1] * NORMAL[None], ends,
            stickiness[None], TOPIC_TOKENS, spreads[:1], none, none, np.zeros((1, 0)), False,
        )  # fmt: skip
        drawn_rate, drawn_srp = _drawn(twin, number)
        step = 0.8 if number < ROUNDS // 2 else 0.3
        gap = np.log(-np.log1p(-rate)) - np.log(-np.log1p(-drawn_rate))
        stickiness = stickiness + step * np.clip(gap, -1, 1)
        stickiness -= stickiness.mean()
        spreads = np.clip(spreads + step * 4 * (srp - drawn_srp), 0, 3)
        if number >= ROUNDS * 2 // 3:
            kept.append((stickiness, spreads))
    stickiness, spreads = (np.mean(part, axis=0) for part in zip(*kept))
    print(
        name,
        "depths",
        drawn_rate.round(3),
        "wanted",
        rate.round(3),
        "SRP",
        drawn_srp.round(3),
        "wanted",
        srp,
        "spreads",
        spreads,
    )
    return replace(twin, popularity=spreads[1] * NORMAL[None], stickiness=stickiness[None], topic_spread=spreads[:1])


def _drawn(twin: Twin, number: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Rates by group of depths, and SRP over 64 and 256 tokens."""
    wide = cast(scaled(twin, np.arange(COPIES), twin.n_experts, twin.top_k), number)
    wide = replace(wide, ends=twin.ends, stickiness=np.repeat(twin.stickiness, COPIES, axis=0))
    ids = draw_ids(wide, [TOKENS], number)
    hits, seen = depths(ids, twin.n_experts)
    starts = np.concatenate(([0], twin.ends[:-1]))
    by_group = [np.add.reduceat(part.sum(0), starts) for part in (hits, seen)]
    best = []
    for window in (64, 256):
        counts = np.sort(windows(ids, [TOKENS], twin.n_experts, window), axis=2)[:, :, -twin.top_k :]
        best.append(counts.sum(2).mean() / (window * twin.top_k))
    return (by_group[0] + 1e-3) / (by_group[1] + 1), np.array(best)


if __name__ == "__main__":
    assert len(NORMAL) == len(QUANTILES)
    main()
