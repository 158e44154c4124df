"""simmoe explain: a measured row beside its simulation. Rows are made by the simulator with a constant changed, so the fit must find it."""

from __future__ import annotations

import json

import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.explain.causes import CARRIED, CPU_DECODE, RESIDENT_DECODE, RESIDENT_PROMPT
from simmoe.explain.fitted import with_constants
from simmoe.policies import runtime as runtimes

BOX = ["--gpu", "rtx_3090", "--host", "ddr5_6000_2ch"]
TINY = ["--model", "gpt-oss-20b", "--format", "q8_0"]
MACHINE = {"gpu": "rtx_3090", "host": "ddr5_6000_2ch"}
HEAD = "| model | size | params | backend | ngl | n_cpu_moe | n_ubatch | lm | test | t/s |\n|---|---|---|---|---|---|---|---|---|---|\n"
SMALL, LARGE = ("gpt-oss-20b", "MXFP4_MOE", "20.91 B"), ("gpt-oss-120b", "MXFP4_MOE", "116.83 B")


def row(params, blocks, microbatch, mode, test, speed):
    return f"| gpt-oss | 11.27 GiB | {params} | CUDA | 99 | {blocks} | {microbatch} | {mode} | {test} | {speed:.6f} ± 0.10 |\n"


def speed(model, runtime, **options):
    """As simmoe.run has it."""
    name, format, _ = model
    run = simmoe.run(**MACHINE, model=name, format=format, runtime=runtime, eviction="everything", **options)
    return run.tok_s if options["generate"] else run.prompt_tok_s


def explained(capsys, bench, model, *words):
    name, format, _ = model
    assert main(["explain", str(bench), *BOX, "--model", name, "--format", format, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_kernel_time_of_resident_decode_is_found(capsys, tmp_path):
    """Rows of an engine whose small kernels take 2.5 times as long, whose products run at .6 of the rate."""
    cuda = runtimes.load("llama_cpp_cuda")
    slow = with_constants(with_constants(cuda, ["decode.kernel"], 2.5), ["prompt.flops_per_clock"], 0.6)
    decode = {"prompt": 0, "generate": 16}
    bench = tmp_path / "bench.md"
    bench.write_text(
        HEAD
        + row(SMALL[2], 0, 512, "auto", "tg128", speed(SMALL, slow, depth=56, **decode))
        + row(SMALL[2], 0, 512, "auto", "tg128 @ d4096", speed(SMALL, slow, depth=4152, **decode))
        + row(SMALL[2], 0, 512, "auto", "pp512", speed(SMALL, slow, prompt=512, generate=0, microbatch=512))
    )
    found = explained(capsys, bench, SMALL)
    kernel, products = found["fits"]
    assert (kernel["kind"], kernel["paths"], kernel["rows"]) == (RESIDENT_DECODE, ["decode.kernel"], 2)
    assert kernel["factor"] == pytest.approx(2.5, rel=2e-3)
    assert kernel["value"] == pytest.approx(2.5 * cuda.known("decode.kernel"), rel=2e-3)
    assert kernel["ratio"] > 1.2 and not kernel["inside"] and "power limit" in kernel["cause"]
    assert (products["kind"], products["paths"]) == (RESIDENT_PROMPT, ["prompt.flops_per_clock"])
    assert products["factor"] == pytest.approx(0.6, rel=2e-3)
    assert [one["line"] for one in found["rows"]] == [3, 4, 5]
    kernels = sum(count for part, count in cuda.kernels.items() if part in ("attention", "experts", "expert_bias"))
    clock = simmoe.load_hardware("rtx_3090").device.clock_hz
    assert found["layer_s"] == pytest.approx(kernels * 2.5 * cuda.known("decode.kernel") * 2e9 / clock, rel=0.05)


@pytest.mark.slow
def test_rows_as_simulated_need_no_change(capsys, tmp_path):
    """The 4,096 tokens behind position 1,024 are those of their middle, 3,064 to 3,080."""
    there = speed(SMALL, "llama_cpp_cuda", prompt=0, generate=16, depth=1024 + 2040)
    bench = tmp_path / "bench.md"
    bench.write_text(HEAD + row(SMALL[2], 0, 512, "auto", "tg4096 @ d1024", there))
    found = explained(capsys, bench, SMALL)
    assert found["rows"][0]["simulated_tok_s"] == pytest.approx(there, rel=1e-6)
    assert found["fits"][0]["factor"] == pytest.approx(1, abs=1e-3)
    assert found["fits"][0]["inside"] and found["fits"][0]["cause"] is None


@pytest.mark.slow
def test_the_host_and_the_link_are_found(capsys, tmp_path):
    """Experts on the CPU, whose memory gives 1.5 of the share; prompts copied from pinned memory, which -lm none means."""
    fast = with_constants(runtimes.load("llama_cpp_cuda"), ["cpu.memory"], 1.5)
    decode = speed(LARGE, fast, prompt=0, generate=16, depth=56, placement="n_cpu_moe=27")
    prompt = speed(LARGE, fast, prompt=2048, generate=0, placement="n_cpu_moe=27", microbatch=2048, mmap=False)
    bench = tmp_path / "bench.md"
    bench.write_text(
        HEAD + row(LARGE[2], 27, 2048, "none", "tg128", decode) + row(LARGE[2], 27, 2048, "none", "pp2048", prompt)
    )
    found = explained(capsys, bench, LARGE)
    host, link = found["fits"]
    assert (host["kind"], link["kind"]) == (CPU_DECODE, CARRIED)
    assert host["factor"] == pytest.approx(1.5, rel=5e-3)
    assert link["factor"] == pytest.approx(1, abs=5e-3)
    mapped = tmp_path / "mapped.md"
    mapped.write_text(HEAD + row(LARGE[2], 27, 2048, "mmap", "pp2048", prompt))
    (copied,) = explained(capsys, mapped, LARGE, "--set", "link.pageable=10GB/s")["fits"]
    assert copied["ratio"] < 0.7 and copied["factor"] > 1.5 and "pinned" in copied["cause"]


@pytest.mark.slow
def test_what_cannot_be_simulated_says_why(capsys, tmp_path):
    good = speed(SMALL, "llama_cpp_cuda", prompt=0, generate=16)
    line = row(SMALL[2], 0, 512, "auto", "tg16", good)
    bench = tmp_path / "bench.md"
    bench.write_text(HEAD + line + line)
    assert (
        main(["explain", str(bench), *BOX, "--model", "gpt-oss-20b", "--format", "MXFP4_MOE", "--flags", "-np 4"]) == 2
    )
    error = capsys.readouterr().err
    assert (
        "none of the 2 rows can be simulated; the first, on line 3: several sequences at once are not explained yet"
        in error
    )


@pytest.mark.slow
def test_flags_say_what_the_output_does_not(capsys):
    """A typed speed has no flags; --flags gives them, in the engine's own words."""
    there = speed(LARGE, "llama_cpp_cuda", prompt=0, generate=16, depth=4096, placement="n_cpu_moe=30")
    found = explained(
        capsys, f"tok_s={there:.6f} depth=4096 generate=16", LARGE, "--flags", "-ngl 99 --n-cpu-moe 30 -ub 2048"
    )
    assert found["fits"][0]["kind"] == CPU_DECODE
    assert found["fits"][0]["ratio"] == pytest.approx(1, abs=1e-4)
    words = ("--flags", r"-ngl 99 -ot 'blk\.([0-9]|[12][0-9])\.ffn_.*_exps=CPU'")
    assert explained(capsys, f"tok_s={there:.6f} depth=4096 generate=16", LARGE, *words)["fits"][0][
        "ratio"
    ] == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_another_model_is_doubted(capsys, tmp_path):
    bench = tmp_path / "bench.md"
    bench.write_text(HEAD + row("30.53 B", 0, 512, "auto", "tg16", 100.0))
    found = explained(capsys, bench, SMALL)
    assert found["cautions"] == [
        "The rows are of a model of 30.5 B parameters, and gpt-oss-20b has 20.9 B: is it the one?"
    ]


@pytest.mark.slow
def test_the_fitted_engine_plays_as_measured(capsys, tmp_path):
    """--out writes a runtime under which simmoe.run gives the measured speed."""
    bench, out = tmp_path / "bench.md", tmp_path / "mine.yaml"
    bench.write_text(HEAD + row(SMALL[2], 0, 512, "auto", "tg16", 90.0))
    explained(capsys, bench, SMALL, "--out", str(out))
    assert yaml.safe_load(out.read_text())["decode"]["kernel"]["kind"] == "fitted"
    assert speed(SMALL, str(out), prompt=0, generate=16) == pytest.approx(90.0, rel=2e-3)
    assert (
        main(["explain", str(bench), *BOX, "--model", "gpt-oss-20b", "--format", "MXFP4_MOE", "--out", str(out)]) == 2
    )
    assert "exists" in capsys.readouterr().err


@pytest.mark.slow
def test_a_faster_command_line_is_named(capsys, tmp_path):
    """All blocks on the CPU though most would fit: plan finds fewer, and the table says all that."""
    there = speed(SMALL, "llama_cpp_cuda", prompt=0, generate=16, placement="n_cpu_moe=24")
    bench = tmp_path / "bench.md"
    bench.write_text(HEAD + row(SMALL[2], 24, 512, "none", "tg16", there))
    assert main(["explain", str(bench), *BOX, "--model", "gpt-oss-20b", "--format", "MXFP4_MOE"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Explained: 1 measured row beside gpt-oss-20b at MXFP4_MOE on GeForce RTX 3090")
    assert "Faster, simulated: decode × " in out
    assert "llama-server -m YOUR.gguf -ngl 999 -c 4608 -b 2048 -ub 512 -fa on\n" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.md", *BOX, "--model", "gpt-oss-20b"], "nothing.md cannot be read"),
        (["tok_s=5", "--model", "gpt-oss-20b"], "add --gpu NAME --host NAME (or --hw; `simmoe hw list`), --format"),
        (["tok_s=5", *BOX, "--model", "gpt-oss-20b", "--force"], "--force overwrites the file of --out"),
        (["tok_s=5", *BOX, *TINY, "--flags", "-ncmo 4"], "does not know the flag -ncmo; did you mean '-ncmoe'?"),
        (["tok_s=5", *BOX, *TINY, "--runtime", "ideal"], "ideal has none: name one, such as --runtime llama_cpp_cuda"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(capsys, words, message):
    assert main(["explain", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
