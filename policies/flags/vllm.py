"""vLLM: vllm serve, its older server module, and vllm bench latency, throughput and serve."""

from __future__ import annotations

from simmoe.policies.flags.served import cache_format, cache_formats, eager
from simmoe.policies.flags.table import DRAFT, NOTHING, Setting, Table
from simmoe.policies.flags.values import GIB, count, human_count, in_gib, only, said, share, truth, units, untruth
from simmoe.policies.flags.vllm_ignored import MANY, SWITCHES, VALUES

SOURCE = "vllm serve --help=all, vllm-project/vllm 0.33.0 (vllm/engine/arg_utils.py, entrypoints/common/cli_args.py, benchmarks/*.py)"
PROGRAMS = {
    "vllm": frozenset({"serve", "bench", "latency", "throughput", "run-batch", "chat", "complete"}),
    "vllm.entrypoints.openai.api_server": frozenset[str](),
    "benchmark_latency.py": frozenset[str](),
    "benchmark_throughput.py": frozenset[str](),
    "benchmark_serving.py": frozenset[str](),
}
SETTINGS = (
    Setting("--model", "model", str, said),
    Setting("--cpu-offload-gb", "cpu_offload_bytes", units(GIB), in_gib),
    Setting("--max-model-len", "context", human_count, said),
    Setting("--max-num-seqs --max-concurrency --batch-size", "parallel", count(), said),
    Setting("--max-num-batched-tokens", "microbatch", human_count, said),
    Setting("--gpu-memory-utilization --device-memory-utilization", "gpu_memory_share", share, said),
    Setting("--kv-cache-memory-bytes", "kv_cache_bytes", human_count, said),
    Setting("--kv-cache-dtype", "k_format v_format", cache_formats, cache_format),
    Setting("--tensor-parallel-size -tp", "tensor_parallel", count(), said),
    Setting("--pipeline-parallel-size -pp", "pipeline_parallel", count(), said),
    Setting("--data-parallel-size -dp", "data_parallel", count(), said),
    Setting("--enforce-eager", "graphs", untruth, only(False), NOTHING),
    Setting("--optimization-level -O", "graphs", eager),
    Setting("-O0", "graphs", untruth, takes=NOTHING),
    Setting("--disable-sliding-window", "full_window_cache", truth, only(True), NOTHING),
    Setting("--input-len --random-input-len", "prompt", count(0), said),
    Setting("--output-len --random-output-len", "generate", count(0), said),
)
REFUSED = {
    DRAFT: "--speculative-config -sc --spec-method --spec-model --spec-tokens --speculative-model "
    "--num-speculative-tokens",
    "adapters are not simulated": "--enable-lora --lora-modules --lora-path --default-mm-loras",
    "weights that are fetched group by group ahead of time are not simulated yet: only --cpu-offload-gb is": "--offload-backend "
    "--offload-group-size --offload-num-in-group --offload-prefetch-step --offload-params --cpu-offload-params",
    "a KV cache in host memory is not simulated": "--kv-offloading-size --kv-offloading-backend --kv-transfer-config",
    "experts on several cards that are not split by layer are not simulated from flags yet": "--enable-expert-parallel -ep "
    "--enable-eplb --decode-context-parallel-size -dcp --prefill-context-parallel-size -pcp",
    "the model would compute with other numbers than its file says: give --model a shape file with them": "--hf-overrides",
    "the size of the cache follows from the memory here": "--num-gpu-blocks-override",
    "a simulation generates text, it does not embed or rank": "--convert --pooler-config --override-pooler-config",
    "requests over time are --arrivals and --rate of `simmoe run`, not a flag of the engine": "--request-rate --burstiness "
    "--ramp-up-strategy --ramp-up-start-rps --ramp-up-end-rps",
    "text by diffusion is not simulated": "--diffusion-config -dc",
    "flags in a file are not read: write them out": "--config",
}
TABLE = Table(
    "vllm",
    SOURCE,
    PROGRAMS,
    SETTINGS,
    REFUSED,
    SWITCHES,
    VALUES,
    MANY,
    positional_model=True,
    negations=True,
    underscores=True,
)
