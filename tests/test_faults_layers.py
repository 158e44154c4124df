"""Faults of 0.1.0 in what a model keeps of each position, layer by layer, through the command line alone, with the value that is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from tests.test_faults_policies import gguf, write_trace

GB = 10**9


def played(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["run", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def routed(path: Path, layers: int, n_experts: int, top_k: int, positions: tuple[int, ...] = (0, 1)) -> str:
    """A trace that decodes one token at each of these positions, each in a sequence of its own."""
    rng = np.random.default_rng(0)
    ids = np.array([[rng.permutation(n_experts)[:top_k] for _ in range(layers)] for _ in positions], np.int16)
    write_trace(path, ids, n_experts)
    with np.load(path) as file:
        arrays = dict(file)
    arrays |= {"position": np.array(positions, np.int32), "sequence": np.arange(len(positions), dtype=np.int32)}
    np.savez(path, **arrays)
    return str(path)


def gemma(path: Path) -> Path:
    """The layers of Gemma 4 26B: 25 of 30 have a window of 1,024 and 8 KV heads of 256, every sixth has 2 of 512 and no window."""
    short = [(i + 1) % 6 != 0 for i in range(30)]
    said = {
        "attention.head_count": 16, "attention.head_count_kv": [8 if one else 2 for one in short],
        "attention.key_length": 512, "attention.value_length": 512,
        "attention.key_length_swa": 256, "attention.value_length_swa": 256,
        "attention.sliding_window": 1024, "attention.sliding_window_pattern": short,
    }  # fmt: skip
    return gguf(path, "gemma4", 30, **said)


@pytest.fixture
def gemma_run(tmp_path: Path) -> tuple[str, ...]:
    model = str(tmp_path / "m.yaml")
    assert main(["model", "import", str(gemma(tmp_path / "gemma.gguf")), "--out", model]) == 0
    return "--hw", "rtx_3090", "--trace", routed(tmp_path / "t.npz", 30, 4, 2), "--model", model, "--format", "stored"


GEMMA_KV = {4096: 0.40, 8192: 0.48, 32768: 0.99, 131072: 3.00}


@pytest.mark.slow
@pytest.mark.parametrize("context", GEMMA_KV)
def test_fault_11_a_window_keeps_its_own_positions(
    context: int, gemma_run: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sequences decode one after the other, so that one is held at a time."""
    found = played(capsys, *gemma_run, "--budget", "5%", "--context", str(context))
    assert found["memory_bytes"]["kv"] / GB == pytest.approx(GEMMA_KV[context], abs=0.005)
    assert "counted as full attention" not in " ".join(found.get("notes", []))


@pytest.mark.slow
@pytest.mark.parametrize(("context", "gigabytes"), [(4096, 0.29), (8192, 0.38), (32768, 0.88), (131072, 2.89)])
def test_fault_11_without_a_microbatch_a_window_is_bare(
    context: int, gigabytes: float, gemma_run: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*gemma_run, "--budget", "5%", "--context", str(context))
    bare = played(capsys, *given, "--microbatch", "0")
    assert bare["memory_bytes"]["kv"] / GB == pytest.approx(gigabytes, abs=0.006)
    assert bare["scenario"]["microbatch"] == 0
    usual, said = played(capsys, *given), played(capsys, *given, "--microbatch", "512")
    assert usual["digest"] == said["digest"] != bare["digest"]


def test_fault_11_a_microbatch_beside_full_attention_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = routed(tmp_path / "t.npz", 32, 8, 2)
    assert main(["run", "--hw", "rtx_3090", "--trace", trace, "--model", "mixtral-8x7b", "--format", "q4_k",
                 "--budget", "5%", "--microbatch", "0"]) == 2  # fmt: skip
    assert "no layer of mixtral-8x7b has a window or chunks" in capsys.readouterr().err


MIB = 2**20
BUNDLED = {  # name, layers, experts, top-k, context -> bytes: layers × positions × bytes of one
    ("gpt-oss-20b", 24, 32, 4, 131072): 3072 * MIB + 15 * MIB,
    ("gpt-oss-20b", 24, 32, 4, 100): 24 * 100 * 2048,
    ("gpt-oss-120b", 36, 128, 4, 131072): 18 * (131072 + 128 + 512) * 2048,
    ("llama-4-scout", 48, 16, 1, 32768): (12 * 32768 + 36 * (8192 + 512)) * 4096,
    ("llama-4-scout", 48, 16, 1, 8192): 48 * 8192 * 4096,
    ("mixtral-8x7b", 32, 8, 2, 32768): 32 * 32768 * 4096,
}


@pytest.mark.parametrize("case", BUNDLED)
def test_fault_11_bundled_shapes_keep_what_their_layers_need(
    case: tuple[str, int, int, int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, layers, n_experts, top_k, context = case
    trace = routed(tmp_path / "t.npz", layers, n_experts, top_k)
    found = played(capsys, "--hw", "h100", "--trace", trace, "--model", model, "--format", "q4_k", "--budget", "10%",
                   "--context", str(context))  # fmt: skip
    assert found["memory_bytes"]["kv"] == BUNDLED[case]
    assert "counted as full attention" not in " ".join(found.get("notes", []))


def test_fault_11_gpt_oss_120b_fits_where_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64 GiB, the experts of three layers on the CPU, the model's own context."""
    trace = routed(tmp_path / "t.npz", 36, 128, 4)
    found = played(
        capsys, "--hw", "rtx_5090", "--set", "tiers.gddr.capacity=64GiB", "--trace", trace, "--model", "gpt-oss-120b",
        "--format", "mxfp4", "--placement", "n_cpu_moe=3", "--budget", "91.7%", "--context", "131072",
    )  # fmt: skip
    assert found["memory_bytes"]["kv"] / GB == pytest.approx(4.85, abs=0.01)


def test_fault_11_a_window_reads_its_own_positions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Decoding at position 100,000 reads more than at 1,000 in the 12 layers of gpt-oss-20b without a window alone."""
    took = []
    for position in (1_000, 100_000):
        trace = routed(tmp_path / "t.npz", 24, 32, 4, (position,))
        found = played(capsys, "--hw", "rtx_3090", "--trace", trace, "--model", "gpt-oss-20b", "--format", "mxfp4",
                       "--eviction", "everything")  # fmt: skip
        took.append(found["total_ps"])
    rate = simmoe.load_hardware("rtx_3090").device.bytes_per_s
    assert took[1] - took[0] == pytest.approx(12 * 99_000 * 2048 / rate * 1e12, rel=1e-4)


def test_fault_11_a_file_without_a_latent_cache_keeps_every_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """llama.cpp caches keys and values of all heads for a GGUF file that was made before it had latent caches."""
    latent = {"attention.kv_lora_rank": 8, "rope.dimension_count": 8}
    old = {"attention.key_length": 48, "attention.value_length": 24}
    new = {
        "attention.key_length": 16,
        "attention.value_length": 8,
        "attention.head_count_kv": 1,
        "attention.key_length_mla": 48,
    }
    kept, model, trace = [], str(tmp_path / "m.yaml"), routed(tmp_path / "t.npz", 2, 4, 2)
    for widths in (old, new):
        path = gguf(tmp_path / "old.gguf", "deepseek2", 2, **latent, **widths)
        assert main(["model", "import", str(path), "--out", model, "--force"]) == 0
        capsys.readouterr()
        found = played(
            capsys, "--hw", "rtx_3090", "--trace", trace, "--model", model, "--budget", "50%", "--context", "1000"
        )
        kept.append(found["memory_bytes"]["kv"])
    assert kept == [2 * 1000 * 2 * (48 + 24) * 2, 2 * 1000 * (8 + 8) * 2]


CONFIG = {"model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2,
          "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "intermediate_size": 64,
          "vocab_size": 1024, "max_position_embeddings": 8192}  # fmt: skip
CONFIGS: dict[str, tuple[dict[str, Any], int]] = {  # -> positions kept by the four layers together, at 8,192
    "windows of gpt-oss": ({"model_type": "gpt_oss", "num_local_experts": 4, "sliding_window": 128}, 2 * (128 + 512) + 2 * 8192),
    "windows of Mixtral": ({"model_type": "mixtral", "num_local_experts": 4, "sliding_window": 1024}, 4 * (1024 + 512)),
    "listed": ({"sliding_window": 1024, "use_sliding_window": True,
                "layer_types": ["full_attention"] + ["sliding_attention"] * 3}, 3 * (1024 + 512) + 8192),
    "from a layer on": ({"sliding_window": 1024, "use_sliding_window": True, "max_window_layers": 3}, 1024 + 512 + 3 * 8192),
    "switched off": ({"sliding_window": 1024, "use_sliding_window": False}, 4 * 8192),
    "as long as the context": ({"sliding_window": 8192, "use_sliding_window": True, "max_window_layers": 0}, 4 * 8192),
    "full": ({}, 4 * 8192),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_fault_11_a_config_that_names_windows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, positions = CONFIGS[name]
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **more}))
    model, trace = str(tmp_path / "m.yaml"), routed(tmp_path / "t.npz", 4, 4, 2)
    assert main(["model", "import", str(tmp_path / "config.json"), "--out", model]) == 0
    assert "counted" not in capsys.readouterr().out
    found = played(
        capsys, "--hw", "rtx_3090", "--trace", trace, "--model", model, "--budget", "50%", "--context", "8192"
    )
    assert found["memory_bytes"]["kv"] == positions * 2 * 2 * 32 * 2
