"""What engines' command lines say (policies/flags): values as the engines' own parsers take them, and where llama.cpp puts tensors."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmoe.policies.flags import ALL, ENGINES, Flags, blocks, read, written
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, Layer, Part

LLAMA = (
    r"-ngl 99 --n-cpu-moe 24 -ub 2048 -b 4096 -c 32768 -t 16 -tb 24 -fa on -ctk q8_0 -ctv q4_0 -nkvo --no-mmap --mlock "
    r"-ot 'blk\.(1|2)\.ffn_.*_exps=CPU' -ts 3,1 -sm layer -nopo 1 --no-op-offload -m x.gguf -p 512 -n 128 -d 8192"
)
KT = (
    "python -m sglang.launch_server --model x --kt-cpuinfer 64 --kt-threadpool-count 2 --kt-num-gpu-experts 32 --kt-method AMXINT4 "
    "--kt-gpu-prefill-token-threshold 2048 --kt-max-deferred-experts-per-token 2"
)
PART = Part(10, 20, 30)
MOE = Layer(PART, shared=PART, expert=PART, n_experts=8)
DENSE = Layer(PART, ffn=PART)


def test_a_whole_line_of_llama_cpp():
    assert read("llama.cpp", LLAMA) == Flags(
        engine="llama.cpp",
        model="x.gguf",
        gpu_layers=99,
        cpu_moe_blocks=24,
        tensor_overrides=((r"blk\.(1|2)\.ffn_.*_exps", "CPU"),),
        kv_on_cpu=True,
        op_offload=False,
        tensor_split=(3.0, 1.0),
        split_mode="layer",
        mmap=False,
        mlock=True,
        batch=4096,
        microbatch=2048,
        context=32768,
        k_format="q8_0",
        v_format="q4_0",
        flash_attention=True,
        threads=16,
        batch_threads=24,
        prompt=512,
        generate=128,
        depth=8192,
    )


@pytest.mark.parametrize(
    ("engine", "text", "said"),
    [
        ("llama.cpp", "-ngl all", {"gpu_layers": ALL}),
        ("llama.cpp", "-ngl auto -n -1 -c 0 -t -1 -fa auto -lm auto", {}),
        ("llama.cpp", "-dev none", {"gpu_layers": 0}),
        (
            "llama.cpp",
            "llama-bench -fa 1 -mmp 0 -nkvo 0 -nopo 0",
            {"flash_attention": True, "mmap": False, "kv_on_cpu": False, "op_offload": True},
        ),
        ("llama.cpp", "llama-bench -pg 512,128", {"prompt": 512, "generate": 128}),
        ("llama.cpp", "-lm mmap+mlock", {"mmap": True, "mlock": True}),
        ("llama.cpp", "-lm dio", {"mmap": False}),
        ("llama.cpp", "--load-mode=mlock", {"mmap": False, "mlock": True}),
        (
            "llama.cpp",
            "-ot 'a=CPU,b=CUDA0' -ot c=CPU",
            {"tensor_overrides": (("a", "CPU"), ("b", "CUDA0"), ("c", "CPU"))},
        ),
        (
            "llama.cpp",
            "-ncffn 2",
            {"tensor_overrides": tuple((rf"blk\.{i}\.ffn_(up|down|gate)\.", "CPU") for i in (0, 1))},
        ),
        ("llama.cpp", "-ts 1/1/2", {"tensor_split": (1.0, 1.0, 2.0)}),
        (
            "llama.cpp",
            "-np 4 -kvo --repack 0 --no-host",
            {"parallel": 4, "kv_on_cpu": False, "repack": False, "host_buffer": False},
        ),
        (
            "ik_llama.cpp",
            "-rtr -no-ooae -sm graph -ctk q8_KV",
            {"repack": True, "only_active_experts": False, "split_mode": "graph", "k_format": "q8_KV"},
        ),
        (
            "ik_llama.cpp",
            "llama-bench -tgb 8,16 -gp 4096,128",
            {"threads": 8, "batch_threads": 16, "depth": 4096, "generate": 128},
        ),
        (
            "vllm",
            "vllm serve Qwen/Qwen3-30B-A3B --max-model-len 32K",
            {"model": "Qwen/Qwen3-30B-A3B", "context": 32768},
        ),
        ("vllm", "--max_model_len=32k --cpu-offload-gb 12.5", {"context": 32000, "cpu_offload_bytes": 25 * 2**29}),
        (
            "vllm",
            "vllm bench latency --input-len 512 --output-len 64 --batch-size 2",
            {"prompt": 512, "generate": 64, "parallel": 2},
        ),
        (
            "vllm",
            "-tp 2 -O0 --kv-cache-dtype fp8_e5m2",
            {"tensor_parallel": 2, "graphs": False, "k_format": "fp8", "v_format": "fp8"},
        ),
        ("vllm", "--no-enforce-eager --gpu-memory-utilization .9", {"graphs": True, "gpu_memory_share": 0.9}),
        (
            "sglang",
            "python3 -m sglang.launch_server --model-path x --tp 2 --mem-fraction-static 0.8",
            {"model": "x", "tensor_parallel": 2, "gpu_memory_share": 0.8},
        ),
        (
            "sglang",
            "--chunked-prefill-size 8192 --max-running-requests 16 --disable-cuda-graph",
            {"microbatch": 8192, "parallel": 16, "graphs": False},
        ),
        (
            "ktransformers",
            KT,
            {
                "model": "x",
                "threads": 64,
                "thread_pools": 2,
                "gpu_experts": 32,
                "cpu_format": "AMXINT4",
                "gpu_prompt_tokens": 2048,
                "deferred_experts": 2,
            },
        ),
        (
            "ktransformers",
            "python local_chat.py --model_path x --cpu_infer 33 --cache_lens 1536 --max_new_tokens 100",
            {"model": "x", "threads": 33, "cache_tokens": 1536, "generate": 100},
        ),
        (
            "mlx",
            "mlx_lm.benchmark --model x -p 4096 -g 128 -b 2 --kv-bits 8",
            {"model": "x", "prompt": 4096, "generate": 128, "parallel": 2, "k_format": "q8_0", "v_format": "q8_0"},
        ),
        (
            "transformers",
            "--device_map auto --max_memory 0=10GiB,cpu=60GB",
            {"device_map": "auto", "gpu_memory_bytes": 10 * 2**30, "cpu_memory_bytes": 60 * 10**9},
        ),
    ],
)
def test_spellings(engine, text, said):
    flags = read(engine, text)
    assert {**vars(flags), "ignored": ()} == vars(Flags(engine, **said))


@pytest.mark.parametrize(
    ("engine", "text", "ignored"),
    [
        (
            "llama.cpp",
            "-p 'the sky is' --temp 0.7 --jinja --port 8080 -s -1",
            ("-p", "--temp", "--jinja", "--port", "-s"),
        ),
        (
            "llama.cpp",
            "CUDA_VISIBLE_DEVICES=0 numactl -N 0 ./llama-bench -r 5 -o md",
            ("CUDA_VISIBLE_DEVICES", "numactl", "-N", "0", "-r", "-o"),
        ),
        ("llama.cpp", "$ ./build/bin/llama-server \\\n --host 0.0.0.0 \\\n --no-warmup", ("--host", "--no-warmup")),
        ("llama.cpp", "-fit off -dev CUDA0", ("-fit", "-dev")),
        ("ik_llama.cpp", "llama-sweep-bench -fmoe -mla 3 -amb 512", ("-fmoe", "-mla", "-amb")),
        ("ik_llama.cpp", "llama-bench -fmoe 1 -ger 0", ("-fmoe", "-ger")),
        (
            "vllm",
            "--no-enable-prefix-caching --compilation-config.level 3 --dtype bfloat16",
            ("--enable-prefix-caching", "--compilation-config", "--dtype"),
        ),
        ("vllm", "--cudagraph-capture-sizes 1 2 4 --port 8000", ("--cudagraph-capture-sizes", "--port")),
        ("mlx", "mlx_lm.generate --prompt 'hi there' --temp 0.6", ("--prompt", "--temp")),
    ],
)
def test_what_changes_nothing_is_named(engine, text, ignored):
    assert read(engine, text) == Flags(engine, ignored=ignored)


@pytest.mark.parametrize(
    ("engine", "text", "message"),
    [
        (
            "llama.cpp",
            "-nclmoe 4 --ngl 9 -t 4",
            "llama.cpp does not know the flags -nclmoe, --ngl; did you mean '-ncmoe'?",
        ),
        ("llama.cpp", "-ub 512,1024", "llama.cpp flag -ub 512,1024: several values are several tests"),
        ("llama.cpp", "-ub 512 -ub 1024", "microbatch is said twice, 512 and 1024"),
        ("llama.cpp", "-ngl many", "llama.cpp flag -ngl many: must be a number of layers, all or auto"),
        ("llama.cpp", "-ctk q9_0", "llama.cpp flag -ctk q9_0: did you mean 'q8_0'?"),
        ("llama.cpp", "-t 0.5", "llama.cpp flag -t 0.5: must be a whole number"),
        ("llama.cpp", "-ub 0", "llama.cpp flag -ub 0: must be a whole number from 1 on"),
        ("llama.cpp", "-ot exps", "must be regex=buffer, such as exps=CPU"),
        ("llama.cpp", "-ot '(=CPU'", "is not a regular expression"),
        ("llama.cpp", "-ot 'exps=CPU", "no closing quotation"),
        ("llama.cpp", "-c", "llama.cpp flag -c needs a value behind it"),
        ("llama.cpp", "-md draft.gguf", "how many guesses of a draft are right is no flag"),
        ("llama.cpp", "-fit on", "give what it chose"),
        ("llama.cpp", "-dev CUDA0,CUDA1", "several cards"),
        ("llama.cpp", "--override-kv qwen3moe.expert_used_count=int:4", "other numbers than its file says"),
        ("llama.cpp", "LLAMA_ARG_N_GPU_LAYERS=9 llama-server", "the variable LLAMA_ARG_N_GPU_LAYERS stands for a flag"),
        ("llama.cpp", "llama-perplexity -m x", "'llama-perplexity' is neither a flag nor a program of llama.cpp"),
        ("llama.cpp", "-m x y", "the word 'y' belongs to no flag"),
        ("ik_llama.cpp", "-mla 0", "use 1, 2 or 3"),
        ("ik_llama.cpp", "-ser 6,1", "drops experts of a token"),
        ("vllm", "--gpu-memory-utilization 90", "must be a share of the memory, above 0 and up to 1"),
        ("vllm", "--cpu-offload-gb -1", "must be a number from 0 on"),
        ("vllm", "vllm serve x y", "the word 'y' belongs to no flag"),
        ("vllm", "--offload-group-size 8", "only --cpu-offload-gb is"),
        ("vllm", "--kt-method x", "vllm does not know the flag --kt-method"),
        ("sglang", "--speculative-algorithm EAGLE", "how many guesses of a draft are right is no flag"),
        ("mlx", "--kv-bits 3", "must be 8 or 4"),
        ("transformers", "--max-memory 0=10", "'0=10' is not a device"),
        ("lama.cpp", "-ngl 9", "did you mean 'llama.cpp'?"),
    ],
)
def test_one_line_says_what_is_wrong(engine, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as problem:
        read(engine, text)
    assert "\n" not in str(problem.value)


def test_llama_bench_tries_overrides_before_the_experts_on_the_cpu():
    """llama-cli tries them in the order of the line, llama-bench always -ot first."""
    line = "-ncmoe 9 -ot exps=CUDA0"
    assert read("llama.cpp", line).overrides_before_cpu_moe == 0
    assert read("llama.cpp", f"llama-cli {line}").overrides_before_cpu_moe == 0
    assert read("llama.cpp", f"llama-bench {line}").overrides_before_cpu_moe == 1
    assert read("llama.cpp", "-ot exps=CUDA0 -ncmoe 9").overrides_before_cpu_moe == 1


def test_names_are_known_once():
    """A flag is honoured, refused or ignored, never two of these; a field that can be read can be printed."""
    for table in ENGINES.values():
        lists = [one.names for one in table.settings] + [*table.refused.values()]
        lists += [table.switches, table.values, table.many, table.maybe]
        names = [name for text in lists for name in text.split()]
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
        known = {one.name for one in dataclasses.fields(Flags)}
        fields = {name for one in table.settings for name in one.fields.split()}
        assert fields <= known
        assert fields == {name for one in table.settings if one.show for name in one.fields.split()} | fields & {
            "model"
        }


# ---- where llama.cpp puts tensors


def on_cpu(line: str, layers: list[Layer], part: str = "experts") -> list[int]:
    placed = blocks.place(read("llama.cpp", line), layers)
    if part == "experts":
        return [i for i, one in enumerate(placed) if len(one.experts_on_cpu) == 3]
    return [i for i, one in enumerate(placed) if getattr(one, part) == blocks.CPU]


def test_gpu_layers_are_the_last_and_the_output_counts_as_one():
    """48 blocks and -ngl 10: llama.cpp offloads 10 of 49, which are blocks 39 to 47 and the output."""
    flags = read("llama.cpp", "-ngl 10")
    assert on_cpu("-ngl 10", [MOE] * 48, "attention") == list(range(39))
    assert blocks.output_device(flags, 48) == 0
    assert blocks.output_device(read("llama.cpp", "-ngl 0"), 48) == blocks.CPU
    assert [one.whole_on_cpu for one in blocks.place(read("llama.cpp", "-ngl 1"), [MOE, DENSE])] == [True, True]
    assert blocks.devices(read("llama.cpp", "-ngl 99"), ["token_embd.weight", "output_norm.weight"], 48) == [
        blocks.CPU,
        0,
    ]


def test_experts_of_the_first_blocks():
    layers = [DENSE, DENSE, *[MOE] * 6]
    assert on_cpu("-ngl 99 -ncmoe 4", layers) == [2, 3]
    assert on_cpu("-ngl 99 -ncmoe 4", layers, "attention") == []
    assert on_cpu("-ngl 99 -cmoe", layers) == [2, 3, 4, 5, 6, 7]
    assert on_cpu("-ngl 99 -cmoe", layers, "shared") == []
    assert on_cpu("-ngl 99 -cmoe", layers, "ffn") == []


def test_the_first_override_that_matches_counts():
    """-ot exps=CUDA0 in front of -cmoe keeps all experts on the GPU, behind it none."""
    assert on_cpu("-ngl 99 -ot exps=CUDA0 -cmoe", [MOE] * 4) == []
    assert on_cpu("-ngl 99 -cmoe -ot exps=CUDA0", [MOE] * 4) == [0, 1, 2, 3]
    assert on_cpu(r"-ngl 99 -ot 'blk\.[12]\.=CUDA0' -ot exps=CPU", [MOE] * 4) == [0, 3]
    assert on_cpu(r"-ngl 0 -ot 'blk\.1\.ffn_.*_exps=CUDA0'", [MOE] * 3) == [0, 2]


def test_parts_of_experts():
    placed = blocks.place(read("llama.cpp", r"-ngl 99 -ot '\.ffn_(up|gate)_exps=CPU'"), [MOE, DENSE])
    assert [one.experts_on_cpu for one in placed] == [("gate", "up"), ()]
    assert placed[1].experts == {}
    assert placed[0].experts == {"gate": blocks.CPU, "up": blocks.CPU, "down": 0}
    host = blocks.place(read("llama.cpp", r"-ngl 99 -ot 'blk\.0\.ffn_.*=CUDA_Host'"), [MOE, DENSE])
    assert (host[0].attention, host[0].shared, host[0].experts_on_cpu) == (0, blocks.CPU, blocks.EXPERT_PARTS)


@pytest.mark.parametrize(
    ("features", "whole", "part"),
    [
        ((), "attn", "attn_k"),
        (("latent",), "attn", "attn_kv_b|attn_k_b"),
        (("latent", "query_lora"), "attn_", "attn_q_a"),
        (("mamba",), "ssm_", "ssm_in"),
        (("delta_net",), "attn_|ssm_", "ssm_out"),
    ],
)
def test_attention_has_the_tensors_of_its_kind(features, whole, part):
    layer = replace_features(MOE, features)
    (placed,) = blocks.place(read("llama.cpp", f"-ngl 99 -ot '{whole}=CPU'"), [layer])
    assert (placed.attention, placed.experts_on_cpu) == (blocks.CPU, ())
    with pytest.raises(UserError, match="a part of the attention tensors of block 0"):
        blocks.place(read("llama.cpp", f"-ngl 99 -ot '{part}=CPU'"), [layer])


def replace_features(layer, features):
    return dataclasses.replace(layer, features=tuple(sorted(features)))


def test_experts_of_two_matrices_have_no_gate():
    layer = replace_features(MOE, ("ungated",))
    (placed,) = blocks.place(read("llama.cpp", "-ngl 99 -cmoe"), [layer])
    assert placed.experts_on_cpu == ("up", "down")


def test_a_part_that_is_not_a_whole_is_refused():
    with pytest.raises(UserError, match="a part of the attention tensors of block 0"):
        blocks.place(read("llama.cpp", "-ngl 99 -ot attn_q=CPU"), [MOE])


@pytest.mark.parametrize(
    ("line", "blocks_on_cpu"),
    [
        ("-ngl 99 -ot exps=CPU", 8),
        (r"-ngl 99 -ot 'blk\.[0-3]\.ffn_.*_exps=CPU'", 4),
        (r"-ngl 99 -ot 'blk\.[67]\.ffn_.*_exps=CPU'", 4),
        (r"-ngl 99 -ot 'blk\.5\.ffn_.*_exps=CUDA0' -cmoe", 7),
        ("-ngl 99 -ncmoe 4", 4),
        ("-ngl 99 -ot exps=CUDA0 -ncmoe 4", None),
    ],
)
def test_overrides_that_mean_experts_on_the_cpu(line, blocks_on_cpu):
    """Of two dense and six equal MoE blocks: the last two count as the first two, which are blocks 2 and 3."""
    found = blocks.without_overrides(read("llama.cpp", line), [DENSE, DENSE, *[MOE] * 6])
    assert found == Flags("llama.cpp", gpu_layers=99, cpu_moe_blocks=blocks_on_cpu)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-ngl 99 -ot up_exps=CPU", "-ot leaves up of the experts of block 2 to the CPU: all or none"),
        ("-ngl 99 -ot attn=CPU", "-ot moves more of block 0 than its experts"),
        (
            r"-ngl 99 -ot 'blk\.7\.ffn_.*_exps=CPU'",
            "the experts of blocks 7 to the CPU, which differ from the first ones",
        ),
    ],
)
def test_overrides_that_mean_something_else(line, message):
    other = dataclasses.replace(MOE, n_experts=16)
    with pytest.raises(UserError, match=message):
        blocks.without_overrides(read("llama.cpp", line), [DENSE, DENSE, *[MOE] * 5, other])


def test_layers_are_split_in_proportion():
    """3,1 over 48 blocks and the output: the block of index i is on the second card from i / 49 >= 3/4 on, which is 37."""
    placed = blocks.place(read("llama.cpp", "-ngl 99 -ts 3,1"), [MOE] * 48)
    assert [one.attention for one in placed] == [0] * 37 + [1] * 11
    assert blocks.output_device(read("llama.cpp", "-ngl 99 -ts 3,1"), 48) == 1
    alone = blocks.place(read("llama.cpp", "-ngl 99 -ts 3,1 -sm none"), [MOE] * 48)
    assert {one.attention for one in alone} == {0}


@given(
    st.integers(1, 12),
    st.integers(0, 14),
    st.lists(
        st.tuples(
            st.sampled_from(["exps", "up_exps", r"blk\.1\.", "attn", r"\.[0-3]\.ffn", "zzz"]),
            st.sampled_from(["CPU", "CUDA0"]),
        ),
        max_size=3,
    ),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 13), st.just(ALL)),
)
def test_tensors_are_placed_as_a_plain_search_does(n_blocks, gpu_layers, overrides, before, moe):
    """Oracle: the list of patterns that llama.cpp builds, tried one by one on each name."""
    before = min(before, len(overrides)) if moe is not None else 0
    flags = Flags(
        "llama.cpp",
        gpu_layers=gpu_layers,
        tensor_overrides=tuple(overrides),
        overrides_before_cpu_moe=before,
        cpu_moe_blocks=moe,
    )
    names = [
        f"blk.{i}.{part}.weight"
        for i in range(n_blocks)
        for part in ("attn_q", "ffn_up_exps", "ffn_gate_exps", "ffn_up")
    ]
    tried = list(overrides)
    experts = [
        (rf"blk\.{i}\.ffn_(up|down|gate|gate_up)_(ch|)exps", "CPU")
        for i in range(n_blocks)
        if moe is not None and i < moe
    ]
    tried[before:before] = experts
    for name, where in zip(names, blocks.devices(flags, names, n_blocks), strict=True):
        block = int(name.split(".")[1])
        expected = "CUDA0" if block + gpu_layers >= n_blocks + 1 else "CPU"
        for pattern, buffer in tried:
            if re.search(pattern, name):
                expected = buffer
                break
        assert where == {"CPU": blocks.CPU, "CUDA0": 0}[expected], name


# ---- what is printed reads back the same

COUNTS = st.integers(1, 10**6)
TEXT = st.text("abcXYZ019._-/ '\"$", min_size=1).filter(lambda text: not text.isspace() and text.strip() == text)
OVERRIDE = st.tuples(
    st.sampled_from(["exps", r"blk\.(1|2)\.ffn_.*_exps", "attn_[qk]"]), st.sampled_from(["CPU", "CUDA0"])
)
VALUES = {
    "model": TEXT.filter(lambda text: not text.startswith("-")),
    "tensor_overrides": st.lists(OVERRIDE, max_size=3).map(tuple),
    "overrides_before_cpu_moe": st.just(0),
    "cpu_moe_blocks": st.integers(0, ALL),
    "tensor_split": st.lists(st.floats(0.001, 1e6), min_size=1, max_size=4).map(tuple),
    "split_mode": st.sampled_from(["none", "layer", "row"]),
    "mlock": st.booleans(),
    "device_map": st.just("auto"),
    "gpu_memory_share": st.floats(0.001, 1),
    "cpu_format": st.sampled_from(["AMXINT4", "BF16", "LLAMAFILE"]),
    **{name: st.integers(0, 2**30).map(lambda n: n * 2**20) for name in ("cpu_offload_bytes",)},
    **{
        name: st.integers(1, 2**20).map(lambda n: n * 2**20)
        for name in ("gpu_memory_bytes", "cpu_memory_bytes", "kv_cache_bytes")
    },
}
TRUTHS = {
    *(
        "kv_on_cpu",
        "op_offload",
        "only_active_experts",
        "mmap",
        "repack",
        "host_buffer",
        "full_window_cache",
        "flash_attention",
        "graphs",
    )
}
ONE_WAY = {  # engine -> fields whose other value no flag says
    "llama.cpp": {"host_buffer": False, "full_window_cache": True},
    "ik_llama.cpp": {"host_buffer": False, "full_window_cache": True, "repack": True, "only_active_experts": False},
    "vllm": {"graphs": False, "full_window_cache": True},
    "sglang": {"graphs": False, "full_window_cache": True},
    "ktransformers": {"graphs": False, "full_window_cache": True},
}
FORMATS = {"llama.cpp": ["f16", "q8_0", "q4_0"], "ik_llama.cpp": ["q8_KV", "q6_0"], "mlx": ["q8_0", "q4_0"]}


@st.composite
def lines(draw, engine):
    """Flags that the engine's command line can say."""
    table = ENGINES[engine]
    fields = {name for one in table.settings if one.show for name in one.fields.split()}
    said = {}
    for name in sorted(draw(st.sets(st.sampled_from(sorted(fields))))):
        if name in TRUTHS:
            only = ONE_WAY.get(engine, {}).get(name)
            said[name] = draw(st.booleans()) if only is None else only
        elif not name.endswith("_format") or name == "cpu_format":
            said[name] = draw(VALUES.get(name, COUNTS))
    if "k_format" in fields and draw(st.booleans()):
        formats = st.sampled_from(FORMATS.get(engine, ["fp8", "bf16"]))
        said["k_format"] = draw(formats)
        said["v_format"] = draw(formats) if engine.endswith("llama.cpp") else said["k_format"]
    if "cpu_moe_blocks" in said:
        said["overrides_before_cpu_moe"] = draw(st.integers(0, len(said.get("tensor_overrides", ()))))
    return Flags(engine, **said)


@pytest.mark.parametrize("engine", ENGINES)
@given(st.data())
def test_what_is_printed_reads_back_the_same(engine, data):
    flags = data.draw(lines(engine))
    assert read(engine, written(flags)) == flags


@pytest.mark.parametrize("engine", ENGINES)
@given(st.data())
def test_any_words_give_flags_or_one_line(engine, data):
    known = st.sampled_from(sorted(ENGINES[engine].known))
    word = st.one_of(
        known,
        st.text("-=,;0123456789.eE_kxab(*[{ ", max_size=12),
        st.sampled_from(["on", "-1", "9" * 400, "1e999", "nan"]),
    )
    words = data.draw(st.lists(word, max_size=5))
    try:
        read(engine, shlex.join(words))
    except UserError as problem:
        assert "\n" not in str(problem) and len(str(problem)) < 2000


def test_what_an_engine_cannot_say_is_not_printed():
    with pytest.raises(UserError, match="mlx has no flag for cpu_moe_blocks"):
        written(Flags("mlx", cpu_moe_blocks=3))


def test_a_dense_layer_without_parts():
    assert blocks.place(read("llama.cpp", "-ngl 0"), [Layer(NO_PART)])[0].whole_on_cpu
