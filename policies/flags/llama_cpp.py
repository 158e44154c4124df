"""llama.cpp: llama-cli, llama-completion, llama-server, llama-bench and llama-batched-bench.

Flags that older builds had and newer ones dropped (--mmap, --no-mmap, --mlock, -mmp) are read too, `-lm` is printed in their place.
"""

from __future__ import annotations

from simmoe.policies.flags.gguf import (
    CACHE_FORMATS,
    dense_on_cpu,
    device,
    fitting,
    gpu_layers,
    loaded,
    loading,
    metadata,
    overrides,
    pair,
    placement,
    prompt,
)
from simmoe.policies.flags.llama_cpp_ignored import SWITCHES, VALUES
from simmoe.policies.flags.table import DRAFT, MAYBE, NOTHING, Setting, Table
from simmoe.policies.flags.values import (
    count,
    on_off,
    only,
    proportions,
    said,
    slashed,
    truth,
    truth_or_auto,
    untruth,
    word,
)
from simmoe.policies.flags.words import ALL

SOURCE = "llama-server --help, ggml-org/llama.cpp 0c1e57098 (common/arg.cpp, tools/llama-bench/llama-bench.cpp)"
PROGRAMS = {
    name: frozenset[str]()
    for name in (
        *("llama-cli", "llama-completion", "llama-server", "llama-bench", "llama-batched-bench", "llama-parallel"),
        *("llama-simple", "llama-mtmd-cli", "llama-run", "main", "server"),
    )
}
SPLITS = ("none", "layer", "row", "tensor")
WHERE = (
    Setting("-m --model -mu --model-url -hf -hfr --hf-repo -dr --docker-repo", "model", str, said),
    Setting("-ngl --gpu-layers --n-gpu-layers", "gpu_layers", gpu_layers, said),
    Setting("", "tensor_overrides overrides_before_cpu_moe cpu_moe_blocks", str, placement),
    Setting("-ot --override-tensor", "tensor_overrides", overrides, adds=True),
    Setting("-ncffn --n-cpu-ffn", "tensor_overrides", dense_on_cpu, adds=True),
    Setting("-ncmoe --n-cpu-moe", "cpu_moe_blocks", count(0)),
    Setting("-cmoe --cpu-moe", "cpu_moe_blocks", lambda _: ALL, takes=NOTHING),
    Setting("-dev --device", "gpu_layers", device),
    Setting("-nkvo --no-kv-offload", "kv_on_cpu", truth, only(True), MAYBE),
    Setting("-kvo --kv-offload", "kv_on_cpu", untruth, only(False), NOTHING),
    Setting("--no-op-offload -nopo", "op_offload", untruth, only(False), MAYBE),
    Setting("--op-offload", "op_offload", truth, only(True), NOTHING),
    Setting("-ts --tensor-split", "tensor_split", proportions, slashed),
    Setting("-sm --split-mode", "split_mode", word(*SPLITS), said),
)
MEMORY = (
    Setting("-lm --load-mode", "mmap mlock", loading, loaded),
    Setting("--no-mmap", "mmap", untruth, takes=NOTHING),
    Setting("--mmap", "mmap", truth, takes=NOTHING),
    Setting("-mmp", "mmap", truth),
    Setting("--mlock", "mlock", truth, lambda value: [], NOTHING),
    Setting("-dio --direct-io", "mmap", untruth, takes=MAYBE),
    Setting("-nr --no-repack", "repack", untruth, only(False), NOTHING),
    Setting("--repack", "repack", truth, only(True), MAYBE),
    Setting("--no-host", "host_buffer", untruth, only(False), MAYBE),
    Setting("-c --ctx-size", "context", count(1, unset=(0,)), said),
    Setting("-ctk --cache-type-k", "k_format", word(*CACHE_FORMATS), said),
    Setting("-ctv --cache-type-v", "v_format", word(*CACHE_FORMATS), said),
    Setting("--swa-full", "full_window_cache", truth, only(True), NOTHING),
)
PASSES = (
    Setting("-b --batch-size", "batch", count(), said),
    Setting("-ub --ubatch-size", "microbatch", count(), said),
    Setting("-fa --flash-attn", "flash_attention", truth_or_auto, on_off, MAYBE),
    Setting("-t --threads", "threads", count(1, unset=(0, -1)), said),
    Setting("-tb --threads-batch", "batch_threads", count(1, unset=(0, -1)), said),
    Setting("-np --parallel -npl", "parallel", count(1, unset=(-1,)), said),
    Setting("-p --prompt --n-prompt -npp", "prompt", prompt, said),
    Setting("-n --predict --n-predict --n-gen -ntg", "generate", count(0, unset=(-1, -2)), said),
    Setting("-d --n-depth", "depth", count(0), said),
    Setting("-pg", "prompt generate", pair),
    Setting("-fit --fit", "gpu_layers", fitting, takes=MAYBE),
    Setting("--override-kv", "model", metadata),
)
REFUSED = {
    DRAFT: "-md --model-draft --spec-draft-model -hfd -hfrd --hf-repo-draft --spec-draft-hf "
    "--spec-type --spec-default --fim-qwen-7b-spec --fim-qwen-14b-spec --mtp -lcs --lookup-cache-static -lcd --lookup-cache-dynamic",
    "adapters are not simulated": "--lora --lora-scaled --control-vector --control-vector-scaled --control-vector-layer-range",
    "other machines (RPC) are not simulated": "--rpc -rpc",
    "a simulation generates text, it does not embed or rank": "--embedding --embeddings -embd --rerank --reranking "
    "--embd-gemma-default",
    "llama.cpp would choose -ngl and the experts on the CPU itself, and its choice is not known here: give what it chose, or let "
    "`simmoe plan` search": "-fitt --fit-target -fitc --fit-ctx",
    "the model is named by the preset, not by a file: give -m": "--gpt-oss-20b-default --gpt-oss-120b-default "
    "--vision-gemma-4b-default --vision-gemma-12b-default --fim-qwen-1.5b-default --fim-qwen-3b-default --fim-qwen-7b-default "
    "--fim-qwen-30b-default --models-dir --models-preset",
    "it only prints and ends": "-h --help --usage --version -cl --cache-list --list-devices --completion-bash --license",
}
TABLE = Table("llama.cpp", SOURCE, PROGRAMS, (*WHERE, *MEMORY, *PASSES), REFUSED, SWITCHES, VALUES, tests="llama-bench")
