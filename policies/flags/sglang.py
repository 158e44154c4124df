"""SGLang: its server and its benchmarks."""

from __future__ import annotations

from simmoe.policies.flags.served import cache_format, cache_formats
from simmoe.policies.flags.sglang_ignored import MANY, SWITCHES, VALUES
from simmoe.policies.flags.table import DRAFT, NOTHING, Setting, Table
from simmoe.policies.flags.values import GIB, count, human_count, in_gib, only, said, share, truth, units, untruth

SOURCE = "sglang.launch_server --help, sgl-project/sglang 0.5.23 (python/sglang/srt/server_args.py, arg_groups/fields, benchmark)"
_ALONE = (
    *(
        "sglang.launch_server",
        "sglang.bench_one_batch",
        "sglang.bench_one_batch_server",
        "sglang.bench_offline_throughput",
    ),
    *("sglang.benchmark.one_batch", "sglang.benchmark.one_batch_server", "sglang.bench_serving"),
)
PROGRAMS = {"sglang": frozenset({"serve"}), **dict.fromkeys(_ALONE, frozenset[str]())}


def _cache_format(keys: str | None, values: str | None) -> list[str] | None:
    """Its argument parser knows no plain fp8."""
    words = cache_format(keys, values)
    return ["fp8_e4m3"] if words == ["fp8"] else words


EXPERTS = (
    Setting("--kt-num-gpu-experts --gpu-experts", "gpu_experts", count(0), said),
    Setting("--kt-cpuinfer --cpu-threads --cpu-infer", "threads", count(), said),
    Setting("--kt-threadpool-count", "thread_pools", count(), said),
    Setting("--kt-method", "cpu_format", str, said),
    Setting("--kt-max-deferred-experts-per-token", "deferred_experts", count(0), said),
    Setting("--kt-gpu-prefill-token-threshold --kt-gpu-prefill-threshold", "gpu_prompt_tokens", count(), said),
)
SETTINGS = (
    Setting("--model-path --model", "model", str, said),
    Setting("--cpu-offload-gb", "cpu_offload_bytes", units(GIB), in_gib),
    Setting("--context-length", "context", human_count, said),
    Setting("--max-running-requests --batch-size --max-concurrency", "parallel", count(), said),
    Setting("--max-total-tokens", "cache_tokens", human_count, said),
    Setting("--chunked-prefill-size", "microbatch", human_count, said),
    Setting("--max-prefill-tokens", "batch", human_count, said),
    Setting("--mem-fraction-static", "gpu_memory_share", share, said),
    Setting("--kv-cache-dtype", "k_format v_format", cache_formats, _cache_format),
    Setting("--tp-size --tensor-parallel-size --tp", "tensor_parallel", count(), said),
    Setting("--pp-size --pipeline-parallel-size --pp", "pipeline_parallel", count(), said),
    Setting("--dp-size --data-parallel-size --dp", "data_parallel", count(), said),
    Setting("--ep-size --expert-parallel-size --ep", "expert_parallel", count(), said),
    Setting("--disable-cuda-graph --disable-decode-cuda-graph", "graphs", untruth, only(False), NOTHING),
    Setting("--disable-hybrid-swa-memory", "full_window_cache", truth, only(True), NOTHING),
    Setting("--input-len --random-input-len --random-input", "prompt", count(0), said),
    Setting("--output-len --random-output-len --random-output", "generate", count(0), said),
    *EXPERTS,
)
REFUSED = {
    DRAFT: "--speculative-algorithm --speculative-draft-model-path --speculative-draft-model "
    "--speculative-num-steps --speculative-eagle-topk --speculative-num-draft-tokens --enable-multi-layer-eagle",
    "adapters are not simulated": "--enable-lora --lora-paths --uno-lora-path",
    "weights that are fetched group by group ahead of time are not simulated yet: only --cpu-offload-gb is": "--offload-group-size "
    "--offload-num-in-group --offload-prefetch-step --offload-mode --enable-paged-experts --paged-experts-num-resident "
    "--ple-offload-embedding",
    "a KV cache in host memory is not simulated": "--enable-hierarchical-cache --enable-hicache --hicache-ratio --hicache-size "
    "--enable-hisparse --enable-lmcache --enable-flexkv",
    "prompts and decode on different machines are not simulated": "--disaggregation-mode --enable-pdmux --dwdp-size --encoder-only",
    "the model would compute with other numbers than its file says: give --model a shape file with them": "--json-model-override-args",
    "a simulation generates text, it does not embed or rank": "--is-embedding",
    "requests over time are --arrivals and --rate of `simmoe run`, not a flag of the engine": "--request-rate",
    "text by diffusion is not simulated": "--dllm-algorithm",
    "a share of the experts is not a number of them: give --kt-num-gpu-experts": "--kt-gpu-experts-ratio",
    "flags in a file are not read: write them out": "--config",
}
TABLE = Table("sglang", SOURCE, PROGRAMS, SETTINGS, REFUSED, SWITCHES, VALUES, MANY, negations=True, underscores=True)
