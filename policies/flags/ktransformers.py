"""KTransformers: SGLang with experts on the CPU (kt-kernel, `kt run`), and its own server and local_chat.py of 2024 and 2025."""

from __future__ import annotations

from simmoe.policies.flags import sglang, sglang_ignored
from simmoe.policies.flags.table import MAYBE, Aside, Setting, Table
from simmoe.policies.flags.values import count, said, truth
from simmoe.simulator.errors import UserError

SOURCE = "kt-kernel's README, kvcache-ai/ktransformers 95009ea6 (kt-kernel/python/cli, archive/ktransformers/server/args.py); and "
SOURCE += sglang.SOURCE
OWN = {"--max-running-requests", "--chunked-prefill-size", "--max-total-tokens", "--model-path"}


def _rules(text: str) -> str:
    """Optimisation rules place modules one by one; the usual ones keep all experts on the CPU and all else on the GPU."""
    if "multi-gpu" in text:
        raise UserError("rules for several cards are not simulated")
    raise Aside


PROGRAMS = {
    **sglang.PROGRAMS,
    "kt": frozenset({"run"}),
    "local_chat.py": frozenset[str](),
    "ktransformers.local_chat": frozenset[str](),
    "ktransformers": frozenset[str](),
    "main.py": frozenset[str](),
    "ktransformers.server.main": frozenset[str](),
}
SETTINGS = (
    *(one for one in sglang.SETTINGS if one.names.split()[0] not in OWN),
    Setting("--model-path --model --model-dir", "model", str, said),
    Setting("--max-running-requests --batch-size --max-batch-size --max-concurrency", "parallel", count(), said),
    Setting("--chunked-prefill-size --chunk-size", "microbatch", count(), said),
    Setting("--max-total-tokens --cache-lens", "cache_tokens", count(), said),
    Setting("--max-new-tokens", "generate", count(0)),
    Setting("--use-cuda-graph", "graphs", truth, takes=MAYBE),
    Setting("--optimize-config-path --optimize-rule-path --optimize-rules-path", "model", _rules),
)
SWITCHES = """
    --kt-enable-dynamic-expert-update --enable-shared-experts-fusion --dry-run --advanced -q --quantize --force-think
"""
VALUES = """
    --weights-path --gguf-path --q4-gguf-path --backend-type --prompt-file --mode --web --web-cross-domain --model-name
    --architectures --kt-expert-placement-strategy --top-p --top-k --log-dir --log-file --sched-strategy --sched-port
    --sched-metrics-port --kvc2-metrics-port --kvc2-config-dir --memory-gpu-only --utilization-percentage --ban-strings
    --repetition-penalty --frequency-penalty --presence-penalty -H -p --system-prompt --username --botname
    --file-upload-dir --assistant-store-dir --json-mode --healing --length --print-timings --response-chunk
"""
TABLE = Table(
    "ktransformers",
    SOURCE,
    PROGRAMS,
    SETTINGS,
    sglang.REFUSED,
    sglang_ignored.SWITCHES + SWITCHES,
    sglang_ignored.VALUES + VALUES,
    sglang_ignored.MANY + " --kt-numa-nodes --numa-nodes",
    positional_model=True,
    negations=True,
    underscores=True,
)
