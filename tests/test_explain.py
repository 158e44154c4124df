"""What benchmarks and logs of engines print is read into rows (src/simmoe/explain). The texts are what the engines' own pages show."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmoe.explain.reading import measured, rows_of
from simmoe.policies.flags import Flags
from simmoe.simulator.errors import UserError

HEAD = "| model | size | params | backend | ngl | n_cpu_moe | threads | n_ubatch | fa | test | t/s |"
RULE = "| --- | ---: | ---: | --- | --: | --: | --: | --: | -: | --: | --: |"
CSV_HEAD = (
    "build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,model_size,model_n_params,n_batch,n_ubatch,n_threads,"
    "cpu_mask,cpu_strict,poll,type_k,type_v,n_gpu_layers,n_cpu_moe,split_mode,main_gpu,no_kv_offload,flash_attn,devices,tensor_split,"
    "tensor_buft_overrides,use_mmap,embeddings,no_op_offload,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts"
)
CSV_LINE = (
    "8cf427ff,5163,AMD Ryzen 7 7800X3D 8-Core Processor,NVIDIA GeForce RTX 4080,CUDA,models/q.gguf,qwen2 7B Q4_K - Medium,4677120000,"
    "7615616512,2048,1024,8,0x0,0,50,q8_0,f16,99,12,layer,0,1,-1,auto,0.00,exps=CPU,1,0,1,0,128,4096,2025-04-24T11:57:10Z,1067431600,"
    "3834831,119.915244,0.430617"
)
NAMES, VALUES = CSV_HEAD.split(","), CSV_LINE.split(",")
RECORD = dict(zip(NAMES, VALUES, strict=True))
WANTED = Flags(
    "llama.cpp", model="models/q.gguf", gpu_layers=99, cpu_moe_blocks=12, tensor_overrides=(("exps", "CPU"),), overrides_before_cpu_moe=1,
    
    kv_on_cpu=True, op_offload=False, split_mode="layer", mmap=True, batch=2048, microbatch=1024, k_format="q8_0", v_format="f16",
    threads=8, generate=128, depth=4096,
)  # fmt: skip


def rows(text):
    return rows_of(text, "bench.txt")


def as_json(record):
    whole = {
        "n_prompt",
        "n_gen",
        "n_depth",
        "model_size",
        "model_n_params",
        "n_gpu_layers",
        "n_cpu_moe",
        "n_threads",
        "flash_attn",
    }
    truths = {"no_kv_offload", "use_mmap", "embeddings"}
    found = {
        name: int(value) if name in whole else value == "1" if name in truths else value
        for name, value in record.items()
    }
    return {
        **found,
        "avg_ts": float(record["avg_ts"]),
        "stddev_ts": float(record["stddev_ts"]),
        "samples_ts": [1.5, 2.5],
    }


FORMATS = {
    "json": json.dumps([as_json(RECORD)], indent=2),
    "jsonl": json.dumps(as_json(RECORD)),
    "csv": ",".join(NAMES) + "\n" + ",".join(f'"{one}"' for one in VALUES),
    "sql": f"CREATE TABLE IF NOT EXISTS llama_bench (\n  build_commit TEXT\n);\n\nINSERT INTO llama_bench ({', '.join(NAMES)}) VALUES ("
    + ", ".join(f"'{one}'" for one in VALUES)
    + ");",
}


@pytest.mark.parametrize("form", FORMATS)
def test_records_of_llama_bench(form):
    """The four forms of one record say the same."""
    (row,) = rows(FORMATS[form])
    assert (row.phase, row.tok_s, row.spread, row.tokens) == ("decode", 119.915244, 0.430617, 128)
    assert (row.model, row.size_bytes, row.params) == ("qwen2 7B Q4_K - Medium", 4677120000, 7615616512)
    assert (row.backend, row.device, row.build) == ("CUDA", "NVIDIA GeForce RTX 4080", "8cf427ff 5163")
    assert row.flags == WANTED


def test_a_table_of_llama_bench():
    text = f"""
ggml_cuda_init: found 1 CUDA devices:
{HEAD}
{RULE}
| qwen3moe 30B.A3B Q4_K - Medium | 17.28 GiB | 30.53 B | CUDA | 99 | 24 | 16 | 2048 | 1 | pp512 | 1234.56 ± 7.89 |
| qwen3moe 30B.A3B Q4_K - Medium | 17.28 GiB | 30.53 B | CUDA | 99 | 24 | 16 | 2048 | 1 | tg128 @ d4096 | 45.60 ± 0.12 |
| qwen3moe 30B.A3B Q4_K - Medium | 700.00 MiB | 596.05 M | CUDA | -1 | 0 | 16 | 2048 | 0 | pp512+tg128 | **99.90 ± 0.00** |

build: 1d0125bc (5300)
"""
    prompt, decode, both = rows(text)
    assert [one.line for one in (prompt, decode, both)] == [5, 6, 7]
    assert (prompt.phase, prompt.tok_s, prompt.spread, prompt.tokens) == ("prompt", 1234.56, 7.89, 512)
    assert (decode.phase, decode.tok_s, decode.spread, decode.tokens) == ("decode", 45.6, 0.12, 128)
    assert (both.phase, both.tok_s, both.spread, both.tokens) == ("both", 99.9, None, 640)
    assert decode.flags == Flags(
        "llama.cpp",
        gpu_layers=99,
        cpu_moe_blocks=24,
        threads=16,
        microbatch=2048,
        flash_attention=True,
        generate=128,
        depth=4096,
    )
    assert (both.flags.gpu_layers, both.flags.cpu_moe_blocks, both.flags.flash_attention) == (None, None, False)
    assert (prompt.size_bytes, prompt.params) == (18554258719, 30530000000)
    assert (both.size_bytes, both.params) == (734003200, 596050000)
    assert prompt.build == "1d0125bc 5300"


def test_a_table_of_the_fork():
    text = """
| model | size | params | backend | ngl | threads | type_k | ot | rtr | fmoe | test | t/s |
| --- | ---: | ---: | --- | --: | ---: | ---: | ---: | --: | ---: | ---: | ---: |
| deepseek2 671B Q2_K_R4 | 216.00 GiB | 672.05 B | CUDA | 63 | 32 | q8_0 | exps=CPU | 1 | 1 | tg64@pp4096 | 10.51 ± 0.01 |
"""
    (row,) = rows(text)
    assert row.flags == Flags(
        "ik_llama.cpp", gpu_layers=63, threads=32, k_format="q8_0", tensor_overrides=(("exps", "CPU"),), repack=True,
        generate=64, depth=4096,
    )  # fmt: skip


def test_batched_and_swept():
    """A sweep reads its prompt behind N_KV positions; a batched run begins with an empty cache and says what is in it at the end."""
    text = """
main: n_kv_max = 20480, n_batch = 2048, n_ubatch = 1024, flash_attn = 1, n_gpu_layers = -1, n_threads = 16, n_threads_batch = 12

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|  4096 |     32 |    4 |  16512 |   10.694 |  1532.06 |    0.655 |   195.49 |   11.349 |  1454.95 |
"""
    prompt, decode = rows(text)
    settings = {
        "context": 20480,
        "batch": 2048,
        "microbatch": 1024,
        "flash_attention": True,
        "threads": 16,
        "batch_threads": 12,
    }
    assert (prompt.tok_s, prompt.flags) == (1532.06, Flags("llama.cpp", **settings, prompt=4096, depth=0, parallel=4))
    assert (decode.tok_s, decode.flags) == (195.49, Flags("llama.cpp", **settings, generate=32, depth=4096, parallel=4))
    swept = """
|    PP |     TG |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |
|-------|--------|--------|----------|----------|----------|----------|
|  2048 |    128 |      0 |    0.551 |  3714.16 |    1.221 |   104.83 |
|  2048 |    128 |   6144 |    0.586 |  3494.69 |    1.251 |   102.34 |
"""
    first, _, prompt, decode = rows(swept)
    assert (first.phase, first.tok_s, first.flags) == ("prompt", 3714.16, Flags("ik_llama.cpp", prompt=2048, depth=0))
    assert (prompt.tok_s, prompt.flags) == (3494.69, Flags("ik_llama.cpp", prompt=2048, depth=6144))
    assert (decode.tok_s, decode.flags) == (102.34, Flags("ik_llama.cpp", generate=128, depth=6144))
    line = '{"n_kv_max": 512, "n_batch": 64, "n_ubatch": 32, "flash_attn": -1, "n_gpu_layers": 9, "n_threads": 4, "n_threads_batch": 4, '
    line += '"pp": 128, "tg": 8, "n_kv": 0, "t_pp": 0.5, "speed_pp": 256.0, "t_tg": 0.8, "speed_tg": 10.0 }'
    prompt, decode = rows(line)
    assert (prompt.tok_s, decode.tok_s, prompt.flags.gpu_layers, decode.flags.depth) == (256, 10, 9, 0)


def test_timings_of_a_server():
    text = """
load_tensors: offloaded 10/49 layers to GPU
print_info: file size   = 17.28 GiB (4.86 BPW)
llama_context: n_ctx         = 32768
llama_context: n_batch       = 2048
llama_context: n_ubatch      = 512
slot print_timing: id  0 | task 0 |
prompt eval time =     915.13 ms /    51 tokens (   17.94 ms per token,    55.73 tokens per second)
       eval time =   23038.87 ms /   275 tokens (   83.78 ms per token,    11.94 tokens per second)
      total time =   23954.00 ms /   326 tokens
prompt eval time =       0.00 ms /     1 tokens (    0.00 ms per token,      inf tokens per second)
"""
    prompt, decode = rows(text)
    settings = {"gpu_layers": 10, "context": 32768, "batch": 2048, "microbatch": 512}
    assert (prompt.phase, prompt.tokens, round(prompt.tok_s, 2), prompt.size_bytes) == (
        "prompt",
        51,
        55.73,
        18554258719,
    )
    assert prompt.flags == Flags("llama.cpp", **settings, prompt=51)
    assert (decode.phase, decode.line, round(decode.tok_s, 2)) == ("decode", 9, 11.94)
    assert decode.flags == Flags("llama.cpp", **settings, generate=275, depth=51)
    old = "llama_print_timings:        eval time = 115222.19 ms /   510 runs   (  225.93 ms per token,     4.43 tokens per second)"
    (row,) = rows(old)
    assert (row.phase, row.tokens, round(row.tok_s, 2), row.flags.depth) == ("decode", 510, 4.43, None)


def test_timings_of_ollama():
    text = """
prompt eval count:    11 token(s)
prompt eval duration: 204.563ms
prompt eval rate:     53.77 tokens/s
eval count:           120 token(s)
eval duration:        4.876787s
eval rate:            24.61 tokens/s
"""
    prompt, decode = rows(text)
    assert (prompt.phase, prompt.tokens, prompt.tok_s) == ("prompt", 11, pytest.approx(53.77))
    assert (decode.phase, decode.tokens, decode.tok_s, decode.flags.depth) == ("decode", 120, pytest.approx(24.61), 11)


def test_logs_of_servers():
    """The median of the intervals without a prompt, of each number of requests."""
    line = "INFO metrics.py:449] Avg prompt throughput: {} tokens/s, Avg generation throughput: {} tokens/s, Running: {} reqs,"
    said = [
        ("2.5", "23.8", 1),
        ("0.0", "41.7", 1),
        ("0.0", "41.5", 1),
        ("0.0", "41.8", 1),
        ("0.0", "0.0", 0),
        ("0.0", "1055.3", 18),
    ]
    alone, many = rows("\n".join(line.format(*one) for one in said))
    assert (alone.line, alone.tok_s, round(alone.spread, 4), alone.flags) == (
        2,
        41.7,
        0.1528,
        Flags("vllm", parallel=1),
    )
    assert (many.tok_s, many.spread, many.flags) == (1055.3, None, Flags("vllm", parallel=18))
    text = """
Prefill batch. #new-seq: 1, #new-token: 4096, #cached-token: 0, token usage: 0.00, input throughput (token/s): 812.30
Decode batch. #running-req: 2, #token: 8200, token usage: 0.01, gen throughput (token/s): 29.50, #queue-req: 0,
Decode batch. #running-req: 2, #token: 8280, token usage: 0.01, gen throughput (token/s): 29.10, #queue-req: 0,
"""
    prompt, decode = rows(text)
    assert (prompt.tok_s, prompt.flags) == (812.3, Flags("sglang", prompt=4096, parallel=1))
    assert (decode.tok_s, decode.flags) == (pytest.approx(29.3), Flags("sglang", parallel=2, depth=4120))


def benchmark(running, backend=""):
    return f"""
============ Serving Benchmark Result ============
{backend}
Max request concurrency:                 {running}
Successful requests:                     10
Benchmark duration (s):                  55.42
Total input tokens:                      10240
Total generated tokens:                  1280
Output token throughput (tok/s):         12195.89
---------------Time to First Token----------------
Mean TTFT (ms):                          512.00
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          20.00
==================================================
"""


def test_serving_benchmarks():
    prompt, decode = rows(benchmark(1))
    assert (prompt.phase, prompt.tok_s, prompt.tokens) == ("prompt", 2000, 1024)
    assert (decode.tok_s, decode.flags) == (50, Flags("vllm", parallel=1, generate=128, depth=1024))
    (decode,) = rows(benchmark(4, "Backend:  sglang"))
    assert (decode.tok_s, decode.flags) == (200, Flags("sglang", parallel=4, generate=128, depth=1024))
    with pytest.raises(UserError, match=r"bench.txt: line 2: how many requests ran at once is not said"):
        rows(benchmark("not set"))


def test_mlx():
    prompt, decode = rows(
        "Prompt: 17 tokens, 123.456 tokens-per-sec\nGeneration: 100 tokens, 50.123 tokens-per-sec\nPeak memory: 9.1 GB"
    )
    assert (prompt.tok_s, prompt.flags, decode.tok_s) == (123.456, Flags("mlx", prompt=17), 50.123)
    assert decode.flags == Flags("mlx", generate=100, depth=17)
    text = "Timing with prompt_tokens=4096, generation_tokens=128, batch_size=1.\n"
    text += "Trial 1:  prompt_tps=900.0, generation_tps=70.0, peak_memory=20.1\n"
    trials = rows(text)
    assert [one.tok_s for one in trials] == [900, 70]
    prompt, decode = rows(text + "Averages: prompt_tps=901.5, generation_tps=71.5, peak_memory=20.1\n")
    assert (prompt.tok_s, prompt.tokens, decode.tok_s) == (901.5, 4096, 71.5)
    assert decode.flags == Flags("mlx", generate=128, depth=4096, parallel=1)


def test_a_speed_that_is_typed():
    (row,) = measured("tok_s=12.3")
    assert (row.phase, row.tok_s, row.flags) == ("decode", 12.3, Flags("llama.cpp"))
    decode, prompt = measured("tok_s=12.3 depth=4096,prompt_tok_s=500 prompt=2048")
    assert (decode.flags, prompt.tok_s, prompt.flags) == (
        Flags("llama.cpp", depth=4096),
        500,
        Flags("llama.cpp", prompt=2048),
    )


def test_a_file_as_windows_writes_it(tmp_path):
    """PowerShell's > writes UTF-16; a table that was saved and read in different encodings has Â± in place of ±."""
    path = tmp_path / "bench.md"
    path.write_text(
        f"{HEAD}\r\n{RULE}\r\n| m | 1.00 GiB | 1.00 B | CUDA | 99 | 0 | 8 | 512 | 1 | pp 512 | 10.5 Â± 0.5 |\r\n",
        encoding="utf-16",
    )
    (row,) = measured(str(path))
    assert (row.tok_s, row.spread, row.tokens, row.size_bytes) == (10.5, 0.5, 512, 2**30)


CELLS = "| m | 1.00 GiB | 1.00 B | CUDA | 99 | 0 | 8 | 512 | 1 | {} | {} |"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hello\nworld",
            "bench.txt: no measured speed is found (line 1: 'hello'); known are llama-bench (json, jsonl, md, csv, sql)",
        ),
        ("\n\n", "no measured speed is found (the file is empty)"),
        (f"{HEAD}\n{RULE}\n{CELLS.format('zz512', '1 ± 0')}", "bench.txt: line 3: test 'zz512' is not known"),
        (f"{HEAD}\n{RULE}\n{CELLS.format('pp512', '0.00 ± 0')}", "line 3: '0.00' must be a number above 0"),
        (f"{HEAD}\n{RULE}\n{CELLS.format('pp512', 'OOM')}", "line 3: 'OOM' must be a number above 0"),
        (f"{HEAD}\n{RULE}\n| m | 1 |", "line 3: 2 cells, but the head of its table has 11"),
        (
            f"{HEAD}\n{RULE}\n" + CELLS.format("pp512", "1 ± 0").replace("| 99 |", "| many |"),
            "line 3: llama.cpp flag -ngl many",
        ),
        ('{"avg_ts": 1', "no measured speed"),
        ('[\n{"avg_ts": }\n]', "line 1 begins JSON that cannot be read"),
        ("build_commit,n_prompt,avg_ts\n1,2", "line 2: 2 values, but the head has 3 names"),
        ("draft acceptance rate = 0.7\neval time = 5 ms / 8 tokens", "line 1: the run drafted tokens"),
        (json.dumps({**as_json(RECORD), "embeddings": True}), "line 1: a run that embeds generates no text"),
        (json.dumps({**as_json(RECORD), "n_gen": 0}), "line 1: n_prompt and n_gen are both 0"),
    ],
)
def test_one_line_says_what_cannot_be_read(text, message):
    with pytest.raises(UserError) as problem:
        rows(text)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("tok_s=fast", "tok_s: 'fast' must be a number above 0"),
        ("tok_s=-1", "tok_s: '-1' must be a number above 0"),
        ("tokens=5", "'tokens=5' is not a speed or a length; did you mean 'tok_s'?"),
        ("depth=5", "names no speed"),
        ("tok_s=1 tok_s=2", "tok_s is said twice"),
        ("nothing.md", "nothing.md cannot be read: No such file"),
    ],
)
def test_what_is_typed_wrongly(typed, message):
    with pytest.raises(UserError) as problem:
        measured(typed)
    assert message in str(problem.value)


def test_a_column_that_is_not_known_is_named():
    text = f"{HEAD}\n{RULE}\n{CELLS.format('pp512', '1 ± 0')}".replace("threads", "warps")
    (row,) = rows(text)
    assert row.flags.ignored == ("warps",)


PIECES = [
    HEAD,
    RULE,
    CELLS.format("pp512", "1 ± 0"),
    *FORMATS["csv"].splitlines(),
    FORMATS["jsonl"],
    FORMATS["sql"].splitlines()[-1],
    "[",
    "]",
]
PIECES += [
    *benchmark(1).splitlines(),
    "eval time = 1 ms / 9 runs",
    "eval rate: 1 tokens/s",
    "eval count: 9 token(s)",
    "|||",
    "| - |",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text('|{}[]",:0123456789.pptg -±', max_size=20)), max_size=8))
def test_any_lines_give_rows_or_one_line(lines):
    try:
        found = rows("\n".join(lines))
    except UserError as problem:
        assert "\n" not in str(problem)
    else:
        assert all(row.tok_s > 0 and 1 <= row.line <= max(len(lines), 1) for row in found)
