"""What other choices of an oracle router would do, without training: fitted on a dense warm-up, routed on training text.

    python -m simmoe.workloads.oracle_moe.ablation [WORK_DIR]

prints the Markdown table of docs/zoo.md. Training text, because a constant of a router may be chosen from it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.workloads.oracle_moe import make, quality, routers, training
from simmoe.workloads.oracle_moe.recipe import PRESETS
from simmoe.workloads.oracle_moe.text.windows import training_mixed, training_pure

WINDOWS = 56  # of each kind, 8 per domain of the pure ones
ABRUPT = (16, 32)
CHOICES: dict[str, list[dict[str, Any]]] = {
    "oracle-groups": [
        {},
        *({"epsilon": e} for e in (0.005, 0.05, 0.2, 1.0)),
        *({"rank": r} for r in (4, 16, 48)),
        {"centred": True},
        {"heads": "max"},
        {"input": "embedding"},
        {"top_k": 2},
    ],
    "oracle-ema": [
        {},
        *({"hysteresis": h} for h in (0.0, 0.25, 1.0)),
        *({"alpha": a} for a in (0.8, 0.95)),
        *({"rank": r} for r in (4, 16)),
        {"top_k": 2},
        *({"input": "hidden", "alpha": a, "hysteresis": h} for a, h in ((0.7, 0.25), (0.9, 0.25), (0.5, 0.5))),
    ],
}


def rows(work_dir: Path) -> list[str]:
    """One Markdown row per choice, worst–best layer from the first to the last MoE layer."""
    recipe = PRESETS["4x8"]
    with training.one_thread():
        warm = training.train_dense(recipe, work_dir)
        lines = []
        for router, choices in CHOICES.items():
            for choice in choices:
                settings = {key: value for key, value in choice.items() if key != "top_k"}
                changed = replace(recipe, top_k=choice.get("top_k", 1))
                file = routers.find(router)
                model = training.build(changed, file, file.SETTINGS | settings)
                model.load_state_dict(training.branch(warm, model, changed, file).model)
                what = ", ".join(f"{k} {v}" for k, v in choice.items()) or "as bundled"
                lines.append(f"| {router} | {what} | " + " | ".join(_figures(model.eval(), changed.n_experts)) + " |")
                print(lines[-1], file=sys.stderr, flush=True)
    return lines


def _figures(model: Any, n_experts: int) -> list[str]:
    pure, mixed = training_pure(WINDOWS, 256), training_mixed(WINDOWS, 256, ABRUPT)
    a, b = (quality.used(make.route(model, w.tokens).ids, n_experts) for w in (pure, mixed))
    measured = (
        quality.inconsistency_per_100(a),
        quality.inconsistency_per_100(b),
        quality.load_entropy(quality.load_share(a)),
        quality.nmi(a, pure.domain),
        quality.nmi(b, mixed.domain),
    )
    return [" ".join(f"{x:.1f}" if x >= 1 else f"{x:.2f}".lstrip("0") for x in np.asarray(row)) for row in measured]


if __name__ == "__main__":
    print(
        "| router | choice | inconsistency per 100 | abrupt topics | load entropy | NMI with domain | abrupt topics |"
    )
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))))
