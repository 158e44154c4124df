"""transformers with accelerate: the words of from_pretrained, written as flags (--device-map auto --max-memory 0=10GiB,cpu=60GiB)."""

from __future__ import annotations

import re

from simmoe.policies.flags.served import cache_format, cache_formats
from simmoe.policies.flags.table import Setting, Table
from simmoe.policies.flags.values import count, said, word
from simmoe.simulator.errors import UserError

SOURCE = (
    "from_pretrained's arguments, huggingface/transformers 4.57 and huggingface/accelerate 1.11 (infer_auto_device_map)"
)
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(GiB|MiB|KiB|GB|MB|KB)", re.IGNORECASE)
UNITS = {"gib": 2**30, "mib": 2**20, "kib": 2**10, "gb": 10**9, "mb": 10**6, "kb": 10**3}
DEVICES = {"0": "gpu", "cuda:0": "gpu", "cuda": "gpu", "cpu": "cpu"}


def _memory(text: str) -> tuple[int | None, int | None]:
    """0=10GiB,cpu=60GiB: what the first GPU and the CPU may take."""
    found: dict[str, int] = {}
    for part in text.split(","):
        device, _, size = part.partition("=")
        measured = SIZE.fullmatch(size)
        if device not in DEVICES or not measured:
            raise UserError(f"must be 0=10GiB,cpu=60GiB; {part!r} is not a device (0 or cpu) and its size")
        found[DEVICES[device]] = int(float(measured[1]) * UNITS[measured[2].lower()])
    return found.get("gpu"), found.get("cpu")


def _memory_words(gpu: int | None, cpu: int | None) -> list[str]:
    parts = [f"{name}={size / 2**10:.17g}KiB" for name, size in (("0", gpu), ("cpu", cpu)) if size is not None]
    return [",".join(parts)]


SETTINGS = (
    Setting("--model --pretrained-model-name-or-path", "model", str, said),
    Setting(
        "--device-map",
        "device_map",
        word("auto", "balanced", "balanced_low_0", "sequential", "cuda", "cuda:0", "cpu"),
        said,
    ),
    Setting("--max-memory", "gpu_memory_bytes cpu_memory_bytes", _memory, _memory_words),
    Setting("--cache-dtype", "k_format v_format", cache_formats, cache_format),
    Setting("--max-new-tokens", "generate", count(0), said),
    Setting("--batch-size", "parallel", count(), said),
)
REFUSED = {
    "weights on disk are not simulated for this engine": "--offload-folder --offload-state-dict",
    "speculative decoding is not simulated": "--assistant-model",
}
VALUES = "--torch-dtype --dtype --attn-implementation --revision --low-cpu-mem-usage --trust-remote-code --temperature --top-p --top-k"
TABLE = Table("transformers", SOURCE, {}, SETTINGS, REFUSED, values=VALUES, underscores=True)
