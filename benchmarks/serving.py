"""`python -m benchmarks.serving`: 10,000 requests of 128 + 64 tokens through the schedule vllm, in the geometry of Qwen3-30B-A3B.

Routing is drawn for a few requests, whose rows the others play again, each where it stands. It prints CPU seconds and the most memory that
the process held, both with the drawing left out: it is done by another process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import simmoe
from simmoe.workloads.format import trace as traces

MODEL, HW, DRAWN = "qwen3-30b-a3b", "h100", 64
MOST_S, MOST_BYTES = 60, 2 * 10**9


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    arguments.add_argument("--requests", type=int, default=10_000)
    arguments.add_argument("--prompt", type=int, default=128)
    arguments.add_argument("--generate", type=int, default=64)
    arguments.add_argument("--max-batch", type=int, default=256)
    arguments.add_argument("--draw", type=Path, help="draw the routing into this file, and no more")
    options = arguments.parse_args()
    if options.draw is not None:
        drawn = simmoe.Scenario(
            HW, model=MODEL, format="fp8", prompt=options.prompt, generate=options.generate, batch=DRAWN
        )
        traces.save(drawn.workload().recorded, options.draw)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, lengths = Path(folder) / "drawn.npz", (f"--prompt={options.prompt}", f"--generate={options.generate}")
        subprocess.run([sys.executable, "-m", "benchmarks.serving", f"--draw={path}", *lengths], check=True)
        report(options, path)


def report(options: argparse.Namespace, path: Path) -> None:
    """Play, and print."""
    start, began = time.process_time(), time.perf_counter()
    run = simmoe.run(
        HW, path, model=MODEL, format="fp8", schedule="vllm", requests=options.requests, prompt=options.prompt, generate=options.generate,
        max_batch=options.max_batch, engine="fast",
    )  # fmt: skip
    block = run.to_json()["requests"]
    cpu_s, held = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took = f"{cpu_s:.1f} s of CPU ({time.perf_counter() - began:.1f} s), {held / 1e9:.2f} GB"
    print(f"{block['n']:,} requests in {len(run.pass_ps):,} passes: {took}")
    kept = cpu_s <= MOST_S and held <= MOST_BYTES
    print(f"at most {MOST_S} s and {MOST_BYTES / 1e9:.0f} GB: {'kept' if kept else 'NOT KEPT'}")


if __name__ == "__main__":
    main()
