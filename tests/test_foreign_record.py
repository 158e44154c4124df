"""`simmoe trace record` against the routers' own logits: tiny models of seven families with random weights, on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")
pytestmark = [pytest.mark.slow, pytest.mark.real]

PROMPTS, NEW, EXPERTS, K = ([1, 5, 9, 2, 7], [3, 3, 8]), 4, 8, 2
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 32, "moe_intermediate_size": 16, "num_experts_per_tok": K, "max_position_embeddings": 64,
    "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("Mixtral", {"num_local_experts": EXPERTS}),
    "olmoe": ("Olmoe", {"num_experts": EXPERTS}),
    "qwen3_moe": ("Qwen3Moe", {"num_experts": EXPERTS, "decoder_sparse_step": 1, "mlp_only_layers": [0]}),
    "qwen3_next": ("Qwen3Next", {
        "num_experts": EXPERTS, "shared_expert_intermediate_size": 16, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
        "linear_key_head_dim": 16, "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    }),
    "deepseek_v3": ("DeepseekV3", {
        "n_routed_experts": EXPERTS, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, "head_dim": 8,
    }),
    "gpt_oss": ("GptOss", {"num_local_experts": EXPERTS, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2,
                           "num_hidden_layers": 4}),
}  # fmt: skip


def model_of(family: str) -> Any:
    torch.manual_seed(0)
    if family == "switch":
        config = transformers.SwitchTransformersConfig(
            vocab_size=64, d_model=32, d_kv=16, d_ff=32, num_layers=4, num_decoder_layers=4, num_heads=2, num_experts=EXPERTS,
            num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, expert_capacity=64, decoder_start_token_id=0,
            eos_token_id=None, dropout_rate=0.0, router_jitter_noise=0.0,
        )  # fmt: skip
        return transformers.SwitchTransformersForConditionalGeneration(config).eval()
    name, sizes = FAMILIES[family]
    model = getattr(transformers, f"{name}ForCausalLM")(
        getattr(transformers, f"{name}Config")(**{**SIZES, **sizes})
    ).eval()
    for parameter in model.parameters():  # routers begin at almost nothing: logits that differ, and choices that do
        torch.nn.init.normal_(parameter, std=0.5) if parameter.ndim == 2 else None
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            torch.nn.init.normal_(buffer, std=0.3)
    return model


def chosen(family: str, router: Any, logits: Any) -> np.ndarray[Any, Any]:
    """[tokens, k]: by the rule of the family, from the logits alone."""
    if family != "deepseek_v3":
        k = 1 if family == "switch" else K
        return np.argsort(-logits.double().numpy(), 1, kind="stable")[:, :k]
    scores = torch.sigmoid(logits.double()).numpy() + router.e_score_correction_bias.double().numpy()
    found = []
    for score in scores:
        groups = score.reshape(4, -1)
        best = np.argsort(-np.sort(groups, 1)[:, -2:].sum(1))[:2]  # the two groups whose two best are best together
        allowed = np.full_like(groups, -np.inf)
        allowed[best] = groups[best]
        found.append(np.argsort(-allowed.reshape(-1))[:K])
    return np.array(found)


def logits_of(family: str, model: Any, prompt: list[int], fed: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    """{router: [tokens, k]} of a forward pass over everything at once, from what the router's own matrix gives."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    hooks = []
    for name, module in model.named_modules():
        if name.startswith("encoder") or not type(module).__name__.endswith(("Router", "Top1Router", "TopkRouter")):
            continue
        weight = getattr(module, "weight", None)
        weight, bias = (module.classifier.weight, None) if weight is None else (weight, getattr(module, "bias", None))

        def hook(router: Any, args: Any, _: Any, name: str = name, weight: Any = weight, bias: Any = bias) -> None:
            logits = torch.nn.functional.linear(args[0].reshape(-1, args[0].shape[-1]).float(), weight.float(), bias)
            found[name] = chosen(family, router, logits.detach())

        hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        if family == "switch":
            model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([fed]), use_cache=False)
        else:
            model(input_ids=torch.tensor([fed]), use_cache=False)
    for one in hooks:
        one.remove()
    return found


@pytest.mark.parametrize("family", [*FAMILIES, "switch"])
def test_ids_are_those_of_the_routers_own_logits(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the prompt's pass and in every decoded one."""
    model = model_of(family)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("\n".join(map(json.dumps, PROMPTS)))
    words = [
        "--model",
        tmp_path / "model",
        "--prompts",
        tmp_path / "prompts.txt",
        "--generate",
        NEW,
        "--out",
        tmp_path / "t.npz",
    ]
    code = main(["trace", "record", *map(str, words)])
    shown = capsys.readouterr()
    assert code == 0, shown.out + shown.err
    trace = simmoe.load_trace(tmp_path / "t.npz")
    switch = family == "switch"
    assert trace.n_experts == EXPERTS and trace.top_k == (1 if switch else K)
    lengths = [1 if switch else len(prompt) for prompt in PROMPTS]
    assert np.diff(trace.pass_ptr).tolist() == [size for length in lengths for size in (length, *[1] * (NEW - 1))]
    assert trace.phase.tolist() == [0, 1, 1, 1] * 2
    for number, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            out = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, pad_token_id=0)[
                0
            ].tolist()
        wanted = logits_of(family, model, prompt, out[:-1])
        got = trace.expert_ids[trace.sequence == number]
        assert got.shape[:2] == (len(out) - 1, len(wanted)), wanted.keys()
        for column, (name, rows) in enumerate(wanted.items()):
            assert f".{trace.layer_index[column]}." in name
            assert np.sort(got[:, column], 1).tolist() == np.sort(rows, 1).tolist(), name
    assert len(np.unique(trace.expert_ids, axis=0)) > 3


def test_what_cannot_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "dense")
    (tmp_path / "good.txt").write_text("[1, 2]\n")
    (tmp_path / "bad.txt").write_text("[1, 2]\n[1, -2]\n")
    for model, prompts, line in (
        ("dense", "good.txt", "LlamaForCausalLM has no module of experts"), ("dense", "bad.txt", "bad.txt: line 2: token ids are whole"),
        ("missing", "good.txt", "missing cannot be loaded by transformers"),
    ):  # fmt: skip
        code = main(
            [
                "trace",
                "record",
                "--model",
                str(tmp_path / model),
                "--prompts",
                str(tmp_path / prompts),
                "--out",
                str(tmp_path / "t.npz"),
            ]
        )
        said = capsys.readouterr().err
        assert code == 2 and line in said and said.count("\n") == 1, said
