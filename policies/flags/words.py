"""What a command line of an engine says, in words that all engines share."""

from __future__ import annotations

from dataclasses import dataclass

ALL = 999  # "-ngl 999", "--cpu-moe": more layers or blocks than a model has


@dataclass(frozen=True)
class Flags:
    """One command line, read. None: the line does not say it, the engine's own default holds."""

    engine: str
    model: str | None = None
    # what runs where
    gpu_layers: int | None = (
        None  # the last so many of layers + 1 (the output counts as a layer) are on the GPU; ALL or more: all
    )
    cpu_moe_blocks: int | None = (
        None  # the experts of the first so many blocks are on the CPU; ALL or more: of all blocks
    )
    tensor_overrides: tuple[
        tuple[str, str], ...
    ] = ()  # (regular expression, buffer), in order: the first that matches counts
    overrides_before_cpu_moe: int = 0  # how many of tensor_overrides go before cpu_moe_blocks
    kv_on_cpu: bool | None = None
    op_offload: bool | None = None  # large passes compute the CPU's weights on the GPU, which copies them
    only_active_experts: bool | None = None  # such a copy takes only the experts that the pass uses
    cpu_offload_bytes: int | None = None  # weights that lie in host memory and cross the link in each pass
    gpu_experts: int | None = (
        None  # routed experts of each layer that are on the GPU, the others are computed on the CPU
    )
    deferred_experts: int | None = None  # experts of a token whose CPU work may end one layer later
    gpu_prompt_tokens: int | None = None  # from so many tokens on, a pass computes the CPU's experts on the GPU
    device_map: str | None = None
    # several devices
    tensor_split: tuple[float, ...] | None = None
    split_mode: str | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int | None = None
    expert_parallel: int | None = None
    # how weights are read
    mmap: bool | None = None
    mlock: bool = False
    repack: bool | None = None  # the CPU's weights are stored in the order in which its kernels read them
    host_buffer: bool | None = None  # host memory that the GPU copies from is pinned where the engine can
    cpu_format: str | None = None  # storage format or kernel of the experts on the CPU, in the engine's word
    # passes and caches
    batch: int | None = None  # tokens that are handed to the engine at once
    microbatch: int | None = None  # tokens of one pass at most
    context: int | None = None  # positions that the KV cache has room for
    cache_tokens: int | None = None  # positions of all sequences together
    k_format: str | None = None
    v_format: str | None = None
    full_window_cache: bool | None = None  # layers with a window keep all positions
    flash_attention: bool | None = None
    graphs: bool | None = None  # kernels are launched as graphs
    threads: int | None = None
    batch_threads: int | None = None  # threads of a pass with several tokens
    thread_pools: int | None = None  # groups of threads, one for each NUMA node
    # memory
    gpu_memory_share: float | None = None  # of the GPU's memory, what weights, caches and buffers may take
    gpu_memory_bytes: int | None = None
    cpu_memory_bytes: int | None = None
    kv_cache_bytes: int | None = None
    # work
    parallel: int | None = None  # sequences at once
    prompt: int | None = None  # tokens
    generate: int | None = None  # tokens
    depth: int | None = None  # positions that are in the cache before the measured part begins

    ignored: tuple[str, ...] = ()  # flags of the line, known, that change nothing in the simulation

    @property
    def kv_formats(self) -> tuple[str | None, str | None]:
        """Storage formats of keys and of values."""
        return self.k_format, self.v_format
