# ruff: noqa: E501
"""Damaged inputs by the thousand, in one process: `python -m tests.fuzz --seconds 1200`.

Each round damages one good input (a trace, a profile, a shape, a space, a scenario, a case, a journal, a policy, the files of a model,
a twin, a host, a fabric, a schedule, timestamps of requests, a report of a machine, the words of a command) and calls a command with it. A command may refuse in one line or play; it may not raise, print a second line,
take over 10 s, make the process larger than 1 GB or print JSON that contradicts itself. Nonsense of the kinds in NONSENSE must be refused. What fails is kept, with its
command; the same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simmoe import hardware_profiles, policies
from simmoe.cli.main import main as simmoe
from simmoe.play.scenario import OPTIONS
from simmoe.simulator.decide import guard
from simmoe.sweeps.validation import case as cases
from simmoe.workloads import models
from tests.fuzz_served import ARRIVALS, FABRIC, ROWS, contradiction, served
from tests.fuzz_served import FILES as SERVED_FILES

LONGEST_S, LARGEST_KB = 10, 1_000_000
ALARMS = (signal.SIGALRM, signal.SIGPROF)
CODES = (0, 1, 2, 130)
SAID_BEFORE = (
    "sweep: ",
    "run: ",
    "compare: ",
)  # beginnings of lines that tell how far a command is, or how long it will take
Words = list[str]

# --- the damage -----------------------------------------------------------------------------------------------------

ODD = (
    "", "null", "true", "false", "0", "-1", "1", "1e400", "-0.0", ".nan", ".inf", "1_000", "0x10", "1:30", "~", "[]", "{}", "[1, a]",
    "{a: 1}", "²", "٣", "x", "a b", "'1'", '""', '"\\ud800"', '"\\0"', "2020-01-01", "2020-13-45", "9" * 20, "9" * 400, "9" * 5000, "1" * 30 + " GB", "-5 GB",
    "1.5 B", "5 GX", "100%", "101%", "-3%", "!!python/object/apply:os.getcwd []", "!!binary aGk=", "&a [*a]", "*a", "<<", "[" * 60, "a: b: c", "- x",
    "\t", "../../etc/passwd", "/dev/null", ".", "\x1b[31m", "NaN", "Infinity", "1.", "1e5", "32767", "32768", "2147483648", "9223372036854775807",
)  # fmt: skip
JSON_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, float("nan"), 10**20, 10**400, "", "x", "\ud800", "\0", [], {}, [1], {"a": 1}, [[]], 2**31, 2**63,
    "GB" * 100, 32767, 32768, 65536, "all",
)  # fmt: skip


def in_bytes(data: bytes, draw: random.Random) -> bytes:
    """Some bits turned, or a piece cut off, cut out, repeated or put in."""
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(damaged) + 1), draw.choice((1, 2, 4, 8, 64))
        match draw.randrange(6):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << draw.randrange(8)
            case 1:
                del damaged[at : at + length]
            case 2:
                damaged[at:at] = damaged[at : at + length]
            case 3:
                damaged[at : at + length] = draw.randbytes(length)
            case 4:
                damaged[at : at + 8] = draw.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7))
            case 5 if draw.random() < 0.2:
                del damaged[at:]
    return bytes(damaged)


def in_text(data: bytes, draw: random.Random) -> bytes:
    """Some words, values or lines of a YAML or Python file replaced, moved, repeated or taken out."""
    if draw.random() < 0.15:
        return in_bytes(data, draw)
    lines = data.decode().split("\n")
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        match draw.randrange(7):
            case 0 | 1 | 2:
                lines[at] = re.sub(r"(:\s+|- |value: ).*$", lambda m: m[1] + draw.choice(ODD), lines[at], count=1)
            case 3:
                words = re.split(r"(\W+)", lines[at])
                words[draw.randrange(len(words))] = draw.choice(ODD)
                lines[at] = "".join(words)
            case 4:
                lines.insert(draw.randrange(len(lines)), lines[at])
            case 5 if len(lines) > 1:
                del lines[at]
            case 6:
                lines[at] = " " * draw.randint(0, 4) + lines[at].lstrip()
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def in_json(data: bytes, draw: random.Random) -> bytes:
    """A value of a JSON file replaced by another kind, taken out or moved."""
    if draw.random() < 0.2:
        return in_bytes(data, draw)
    content = json.loads(data)
    for _ in range(draw.randint(1, 2)):
        content = _elsewhere(content, draw)
    return json.dumps(content).encode()


def _elsewhere(content: Any, draw: random.Random) -> Any:
    holder, key = None, None
    node = content
    while isinstance(node, dict | list) and node and (holder is None or draw.random() < 0.8):
        holder, key = node, draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = node[key]
    if holder is None:
        return draw.choice(JSON_ODD)
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(JSON_ODD)
    return content


def in_arrays(data: bytes, draw: random.Random) -> bytes:
    """An array of an npz file with other values, another shape or dtype, or without it; or its meta damaged."""
    if draw.random() < 0.25:
        return in_bytes(data, draw)
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    for name in draw.sample(list(arrays), min(draw.randint(1, 2), len(arrays))):
        if name == "meta":
            arrays[name] = np.array(in_json(str(arrays[name]).encode(), draw).decode("utf-8", "replace"))
        else:
            arrays[name] = _other(arrays[name], draw)
    stream = io.BytesIO()
    np.savez(stream, **{name: one for name, one in arrays.items() if one is not None})
    return stream.getvalue()


def _other(array: Any, draw: random.Random) -> Any:
    if array is None or array.dtype.kind not in "iuf":
        return None
    flat = array.ravel()
    match draw.randrange(8):
        case 0:
            return None
        case 1:
            return array.astype(draw.choice(("i1", "i4", "u8", "f4", "f8", "c8", "?", "U3", "S2")))
        case 2:
            return array.reshape(-1)[: draw.randint(0, flat.size)]
        case 3:
            return array[None]
        case 4:
            return np.array(flat[0] if flat.size else 0, array.dtype)
        case _ if flat.size:
            changed = array.copy()
            low, high = (-(2**15), 2**15 - 1) if array.dtype.itemsize == 2 else (-(2**31), 2**31 - 1)
            value = (
                draw.choice((-2, -1, 0, 1, 2, 3, 5, low, high))
                if array.dtype.kind != "f"
                else draw.choice((0, -1, np.nan, np.inf, 1))
            )
            changed.reshape(-1)[draw.randrange(flat.size)] = np.array(value).astype(array.dtype)
            return changed
    return array


# --- good inputs ----------------------------------------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Input:
    """A good file, how it is damaged, and the commands that read it."""

    name: str
    content: bytes
    damage: Damage
    commands: tuple[Words, ...]  # FILE stands for it
    beside: dict[str, bytes] = field(default_factory=dict)


FILE = "FILE"
SMALL = ["--model", "shape.yaml", "--budget", "50%", "--engine", "plain"]
TRACE = ["--trace", "good.npz"]
SPACE = b"schema: 1\nname: small\nhw: [a100, jetson_orin]\ntrace: [good.npz]\nmodel: [shape.yaml]\neviction: [lru, lfu]\nprefetch: [none]\nbudget: {low: 40%, high: 80%, step: 20%}\nminimum: 1\ntokens: 12\nobjectives: {tok_s: maximize, memory_bytes: minimize}\n".replace(
    b"minimum: 1\n", b""
)
CONFIG = {
    "model_type": "mixtral", "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 100, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip
DEEPSEEK = CONFIG | {
    "model_type": "deepseek_v3", "moe_intermediate_size": 32, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 16, "q_lora_rank": None, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "moe_layer_freq": 1,
}  # fmt: skip


def good_trace() -> bytes:
    """12 tokens in 6 passes, two layers, top-2 of 4."""
    draw = np.random.default_rng(1)
    ids = np.stack([draw.permutation(4)[:2] for _ in range(24)]).reshape(12, 2, 2)
    meta = {
        "schema_version": 1,
        "n_experts": 4,
        "top_k": 2,
        "model": "test",
        "router": "r",
        "source": {"text": "x"},
        "tokens": 12,
    }
    stream = io.BytesIO()
    np.savez(
        stream, expert_ids=ids.astype(np.int16), layer_index=np.array([1, 2], np.int16), pass_ptr=np.array([0, 7, 8, 9, 10, 11, 12]),
        phase=np.array([0, 1, 1, 1, 1, 1], np.int8), sequence=np.zeros(12, np.int32), position=np.arange(12, dtype=np.int32),
        gate_weights=np.full((12, 2, 2), 0.5, np.float16), meta=np.array(json.dumps(meta)),
    )  # fmt: skip
    return stream.getvalue()


def good_shape() -> bytes:
    """An architecture with MoE layers 1 and 2 of 3, 4 experts."""
    text = (models.FOLDER / "oracle-moe-2x4.yaml").read_text()
    return text.replace("moe_layers: [5, 11]", "moe_layers: [1, 2]").replace("  layers: 12", "  layers: 3").encode()


def good_gguf() -> bytes:
    """A header of two layers, as docs/gguf.md of ggml lays it out."""
    text = lambda word: struct.pack("<Q", len(word)) + word.encode()  # noqa: E731
    number = lambda key, value: text(f"qwen3moe.{key}") + struct.pack("<II", 4, value)  # noqa: E731
    fields = {
        "block_count": 2, "embedding_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 16,
        "attention.value_length": 16, "expert_count": 4, "expert_used_count": 2, "context_length": 4096,
    }  # fmt: skip
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("qwen3moe")]
    pairs += [number(key, value) for key, value in fields.items()]
    pairs += [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")]
    tensors = [("token_embd.weight", (64, 32)), ("output.weight", (64, 32)), ("output_norm.weight", (64,))]
    for i in range(2):
        tensors += [(f"blk.{i}.{name}.weight", dims) for name, dims in (
            ("attn_norm", (64,)), ("attn_q", (64, 64)), ("attn_k", (64, 32)), ("attn_v", (64, 32)), ("attn_output", (64, 64)), ("ffn_norm", (64,)),
            ("ffn_gate_inp", (64, 4)), ("ffn_gate_exps", (64, 32, 4)), ("ffn_up_exps", (64, 32, 4)), ("ffn_down_exps", (32, 64, 4)),
        )]  # fmt: skip
    infos = [text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, 0) for name, dims in tensors]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join([*pairs, *infos])


def good_safetensors() -> bytes:
    """The header of a Mixtral of two layers, and nothing behind it."""
    shapes = {"model.embed_tokens.weight": [100, 64], "lm_head.weight": [100, 64], "model.norm.weight": [64]}
    for i in range(2):
        at = f"model.layers.{i}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": [64 if name in "qo" else 32, 64] for name in "qkvo"}
        shapes |= {
            f"{at}.input_layernorm.weight": [64],
            f"{at}.post_attention_layernorm.weight": [64],
            f"{at}.block_sparse_moe.gate.weight": [4, 64],
        }
        for e in range(4):
            at_e = f"{at}.block_sparse_moe.experts.{e}"
            shapes |= {f"{at_e}.w1.weight": [128, 64], f"{at_e}.w2.weight": [64, 128], f"{at_e}.w3.weight": [128, 64]}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def in_header(data: bytes, draw: random.Random) -> bytes:
    """A safetensors header, its length mostly right."""
    if draw.random() < 0.3:
        return in_bytes(data, draw)
    text = in_json(data[8:], draw)
    return struct.pack("<Q", len(text)) + text


TWIN = b"""name: small
source: made
experts_known: true
n_experts: 4
top_k: 2
topic_tokens: 16
depth_ends: [2, 4]
layers:
- layer: 1
  popularity: [0.5, 0, -0.25, 1]
  stickiness: [1.5, 0]
  topic_spread: 0.3
  targets: [0]
  partners: [1]
  lift: [0.5]
- layer: 2
  popularity:
  - 0
  - 1.5
  - -20
  - 20
  stickiness: [0, 20]
  topic_spread: 10
  targets: [2]
  partners: [3]
  lift: [-0.5]
"""
REPORTS = Path(__file__).parent / "detect"  # of machines

ROUTES = (
    b"# route_trace v1\n# model=m n_layer=2 n_expert=16 n_expert_used=1\nturn,phase,step,layer,slot,expert,weight\n"
    b"0,0,0,0,0,3,0.5\n0,0,1,0,0,4,0.5\n0,0,1,1,0,4,0.5\n0,1,2,0,0,5,nan\n0,1,2,1,0,6,0.5\n"
)


def inputs() -> list[Input]:
    """One good input of every kind."""
    config = json.dumps(CONFIG).encode()
    take = ["model", "import", FILE, "--out", "out.yaml", "--force"]
    run = ["run", "--hw", "a100", *TRACE, *SMALL]
    checked = [
        ["hw", "check", FILE],
        ["hw", "show", FILE],
        ["run", "--hw", FILE, *TRACE, *SMALL],
        ["hw", "diff", "a100", FILE],
        ["sensitivity", "--hw", FILE, *TRACE, *SMALL],
        ["require", "--hw", FILE, *TRACE, *SMALL, "--tok-s", "900", "--least", "link.bandwidth"],
    ]
    shown = [
        ["trace", "check", FILE],
        ["trace", "info", FILE],
        ["locality", FILE],
        ["run", "--hw", "a100", "--trace", FILE, *SMALL],
        ["trace", "stats", FILE],
        ["trace", "cut", FILE, "--rows", "2-9", "--layers", "2", "--out", "out.npz", "--force"],
        ["trace", "join", "good.npz", FILE, FILE, "--out", "out.npz", "--force"],
    ]
    scenario = b"schema: 1\nhw: a100\ntrace: ./good.npz\nmodel: ./shape.yaml\neviction: lru\nbudget: 50%\nplacement: random=50%\ntokens: 12\nseed: 3\ngraphs: true\nset:\n- link.bandwidth=12 GB/s\n"
    index = json.dumps({"metadata": {"total_size": 5}, "weight_map": {"lm_head.weight": "model.safetensors"}}).encode()
    shape = [["run", "--hw", "h100", *TRACE, "--model", FILE, "--budget", "50%", "--engine", "plain"]]
    sweep = [["sweep", FILE, "--trials", "1", "--sampler", sampler] for sampler in ("random", "nsga2", "tpe")]
    foreign = [
        ["trace", "import", FILE, "--experts", "16", "--out", "t.npz", "--force"],
        ["trace", "check", FILE],
        ["locality", FILE],
        ["run", "--hw", "a100", "--trace", FILE, *SMALL],
    ]
    twin = [
        ["trace", "synth", "--routing", FILE, "--prompt", "3", "--generate", "20", "--out", "t.npz", "--force"],
        ["run", "--hw", "a100", *SMALL, "--routing", FILE, "--prompt", "5", "--generate", "9"],
    ]
    of_files = {
        "trace": ("t.npz", good_trace(), in_arrays, shown),
        "shape": ("s.yaml", good_shape(), in_text, shape),
        "shape that extends": ("s.yaml", b"schema: 1\nname: mine\nextends: shape.yaml\narchitecture: {layers: 3, moe_layers: [1, 2]}\n", in_text, shape),
        "space": ("sp.yaml", SPACE, in_text, sweep),
        "scenario": ("sc.yaml", scenario, in_text, [["run", FILE]]),
        "config.json": ("config.json", config, in_json, [take]),
        "another config.json": ("config.json", json.dumps(DEEPSEEK).encode(), in_json, [take]),
        "GGUF": ("m.gguf", good_gguf(), in_bytes, [take]),
        "CSV of llama.cpp": ("r.csv", b"layer,expert\n0,1\n0,2\n2,3\n2,4\n0,5\n0,6\n2,7\n2,8\n", in_text, foreign),
        "answer of vLLM": ("r.json", json.dumps({"routed_experts": [[[1, 2], [3, 4]]] * 3}).encode(), in_json, foreign),
        "CSV beside its model": ("r.csv", b"layer,expert\n1,1\n1,2\n2,3\n2,0\n1,0\n1,3\n2,2\n2,1\n", in_text, foreign[-1:]),
        "route_trace": ("r.csv", ROUTES, in_text, foreign),
        "twin": ("twin.yaml", TWIN, in_text, twin),
        "journal": ("study", b'{"op_code":0,"worker_id":"a","study_name":"small","directions":[2, 1]}\n', in_bytes, [["sweep", "space.yaml", "--trials", "1", "--study", FILE]]),
    }  # fmt: skip
    found = [Input(*one[:3], tuple(one[3])) for one in of_files.values()]
    found += [
        Input("box.yaml", (hardware_profiles.FOLDER / f"{name}.yaml").read_bytes(), in_text, tuple(checked))
        for name in ("a100", "jetson_orin", "rtx_4090")
    ]
    found += [
        Input("c.yaml", (cases.FOLDER / f"{name}.yaml").read_bytes(), in_text, (["validate", FILE],))
        for name in ("kernel_gemv_h100", "kernel_moe_decode")
    ]
    found += [
        Input(
            "host.yaml",
            (hardware_profiles.FOLDER / "hosts" / f"{name}.yaml").read_bytes(),
            in_text,
            (
                ["hw", "show", "--host", FILE],
                ["hw", "compose", "rtx_3060", FILE, "--out", "out.yaml", "--force"],
                ["run", "--gpu", "rtx_3060", "--host", FILE, *TRACE, *SMALL],
            ),
        )
        for name in ("ddr4_3200_2ch", "ddr4_2400_4ch_2s")
    ]
    several = [
        *run[:1],
        "--hw",
        f"2xh100:./{FILE}",
        *run[3:],
        "--timeline",
        "expert_parallel",
        "--placement",
        "balanced",
    ]
    found += [Input("fabric.yaml", FABRIC, in_text, (several,))]
    arrive = [*run, "--prompt", "5", "--generate", "4", "--requests", "6", "--json"]
    asked = (("vllm", ["--kv-blocks", "2"]), ("continuous", ["--max-batch", "2"]), ("llama_cpp", ["--max-tokens", "4"]))
    texts = {name: (policies.FOLDER / "schedule" / f"{name}.py").read_bytes() for name, _ in asked}
    found += [Input("sched.py", texts[name], in_text, ([*arrive, "--schedule", FILE, *more],)) for name, more in asked]
    found += [
        Input("sched.py", SERVED_FILES[ROWS], in_text, ([*arrive, "--schedule", FILE, "--rate", "90/s"],)),
        Input("t.jsonl", SERVED_FILES[ARRIVALS], in_text, ([*arrive, "--schedule", "vllm", "--arrivals", FILE],)),
        Input(
            "t.jsonl",
            SERVED_FILES[ARRIVALS],
            in_text,
            ([*arrive, "--schedule", "vllm", "--arrivals", FILE, "--rate", "3/s"],),
        ),
    ]
    detect = (["hw", "detect", "--from", FILE], ["hw", "detect", "--from", FILE, "--out", "out.yaml", "--force"])
    found += [
        Input(f"report{one.suffix}", one.read_bytes(), in_json if one.suffix == ".json" else in_text, detect)
        for one in sorted(REPORTS.glob("*/*"))
    ]
    found += [Input("model.safetensors", good_safetensors(), in_header, (take,), {"config.json": config})]
    found += [
        Input(
            "model.safetensors.index.json",
            index,
            in_json,
            (take,),
            {"config.json": config, "model.safetensors": good_safetensors()},
        )
    ]
    for kind, name in (
        ("eviction", "lru"),
        ("eviction", "arc"),
        ("prefetch", "next_layer"),
        ("miss", "balanced"),
        ("placement", "popular"),
        ("timeline", "serial"),
        ("schedule", "recorded"),
    ):
        amount = "=50%" if kind == "placement" else ""
        text = (policies.FOLDER / kind / f"{name}.py").read_bytes()
        found.append(Input("p.py", text, in_text, ([*run, f"--{kind}", FILE + amount],)))
    return found


def words(draw: random.Random) -> Words:
    """A run with one to three options of odd values."""
    found = ["run", "--hw", "a100", *TRACE, *SMALL]
    for option in draw.sample(list(OPTIONS.values()), draw.randint(1, 3)):
        value = draw.choice(
            [
                *ODD,
                "on",
                "none",
                "10",
                "50%",
                "1GB",
                "lru",
                "random=50%",
                "poisson:2/s",
                "every:5ms",
                "link.bandwidth=9 GB/s",
                "a100@x",
            ]
        )
        found += [f"{option.flag}={value}".replace("\0", "")]
    return found


LENGTHS = (
    "",
    "0",
    "1",
    "7",
    "40",
    "-1",
    "1.5",
    "k",
    "1k",
    "1K ",
    "٣",
    "x",
    "none",
    "all",
    "9" * 30,
    "2147483647",
    "2097151k",
)


def drawn(draw: random.Random) -> Words:
    """A run without a trace, of one to four lengths and other options, some of them odd."""
    found = [
        "run",
        "--hw",
        draw.choice(("a100", "jetson_orin", "rtx_3060")),
        "--model",
        "shape.yaml",
        "--engine",
        "plain",
    ]
    odd = draw.random() < 0.5
    lengths = LENGTHS if odd else ("1", "2", "7", "40")
    said = {
        name: draw.choice(lengths)
        for name in draw.sample(
            ("prompt", "generate", "batch", "depth", "requests", "max-batch"), draw.randint(1, 3 if odd else 1)
        )
    }
    said |= {"prompt": "4"} if "prompt" not in said else {}
    said |= {"generate": "6"} if "generate" not in said else {}
    if draw.random() < 0.4:
        said |= {
            "schedule": "continuous",
            "prompt": draw.choice(
                (said["prompt"], "uniform:1..9", "lognormal:7,cv=1", "uniform:9..", "lognormal:7,cv=x", "good.jsonl")
            ),
            "arrivals": draw.choice(
                (
                    "every:5ms",
                    "poisson:2/s",
                    "gamma:2/s,burstiness=0.5",
                    "onoff:2/s,on=1s,off=1s",
                    "every:0s",
                    "poisson:0/s",
                    "x",
                )
            ),
        }
    others = {
        "routing": ("uniform", "typical", "like:olmoe", "like:", "x", "good.npz"), "context": lengths, "seed": ("1", "4294967295", *("-1", "x") * odd),
        "budget": ("50%", "0B", "1B", "101%"), "prefill-chunk": lengths, "tokens": lengths, "warm-up": lengths, "kv-format": ("q8_0", "f32", "x"),
        "placement": ("n_cpu_moe=1", "random=50%", "popular=50%", "popular=50%:first=20%", "popular=50%:good.npz"), "eviction": ("belady", "nothing"),
    }  # fmt: skip
    said |= {name: draw.choice(others[name]) for name in draw.sample(sorted(others), draw.randint(0, 2))}
    return [*found, *(f"--{name}={value}" for name, value in said.items())]


# --- what may not happen --------------------------------------------------------------------------------------------


class TooLong(BaseException):
    """A command has taken more than LONGEST_S."""


def called(arguments: Words) -> tuple[int | None, str, str]:
    """Status and standard error of a command, and what was wrong with how it ended."""
    out, err, code, wrong = io.StringIO(), io.StringIO(), None, ""
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)  # of CPU: other work on the machine does not count
    signal.setitimer(signal.ITIMER_REAL, 20 * LONGEST_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(record=True):
            code = simmoe(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except TooLong:
        wrong = f"took more than {LONGEST_S} s of CPU, or {20 * LONGEST_S} s"
    except BaseException:
        wrong = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    lines = [line for line in err.getvalue().split("\n") if line and not line.startswith(SAID_BEFORE)]
    if not wrong and code not in CODES:
        wrong = f"ended with {code}"
    if not wrong and code == 0 and arguments[0] == "run" and "--json" in arguments:
        wrong = contradiction(out.getvalue())
    if not wrong and code == 2 and (len(lines) != 1 or not lines[0].startswith("simmoe: ")):
        wrong = f"refused in {len(lines)} lines: {err.getvalue()[:500]}"
    return code, err.getvalue(), wrong


def _too_long(*_: object) -> None:
    raise TooLong


def nonsense() -> Iterator[tuple[str, dict[str, bytes], Words]]:
    """(kind, files, command) of what no command may take."""
    with np.load(io.BytesIO(good_trace())) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"]))
    changes: dict[str, dict[str, Any]] = {
        "experts beyond any trace": {"n_experts": 10**6}, "experts that are true": {"n_experts": True}, "a version that is true": {"schema_version": True},
        "experts of 400 digits": {"n_experts": 10**400}, "a model that is a number": {"model": 5}, "half a character": {"router": "\ud800"},
        "NaN in meta": {"quality": float("nan")},
    }  # fmt: skip
    for kind, change in changes.items():
        stream = io.BytesIO()
        np.savez(stream, **{**arrays, "meta": np.array(json.dumps(meta | change))})
        yield kind, {"t.npz": stream.getvalue()}, ["trace", "check", "t.npz"]
    profile = (hardware_profiles.FOLDER / "a100.yaml").read_text()
    for kind, value in {"a capacity of 400 digits": "1" + "0" * 400 + " GB", "a capacity that no machine has": "1" + "0" * 30 + " GB",
                        "a capacity that is NaN": ".nan", "a negative capacity": "-80 GiB", "a capacity without a unit": "80"}.items():  # fmt: skip
        yield kind, {"box.yaml": profile.replace("80 GiB", value).encode()}, ["hw", "check", "box.yaml"]
    yield (
        "a key twice in a profile",
        {"box.yaml": (profile + "memory: discrete\n").encode()},
        ["hw", "check", "box.yaml"],
    )
    yield "a key twice in a space", {"s.yaml": SPACE + b"tokens: 5\n"}, ["sweep", "s.yaml", "--trials", "1"]
    yield (
        "a version that is true, of a space",
        {"s.yaml": SPACE.replace(b"schema: 1", b"schema: true")},
        ["sweep", "s.yaml", "--trials", "1"],
    )
    yield (
        "a version that is true, of a profile",
        {"box.yaml": profile.replace("schema: 1", "schema: true").encode()},
        ["hw", "check", "box.yaml"],
    )
    yield (
        "a version that is true, of a shape",
        {"s.yaml": good_shape().replace(b"schema: 1", b"schema: true")},
        ["run", "--hw", "a100", *TRACE, "--model", "s.yaml"],
    )
    config = {**CONFIG, "num_local_experts": True}
    yield (
        "experts that are true, of a model",
        {"config.json": json.dumps(config).encode()},
        ["model", "import", "config.json", "--out", "o.yaml", "--force"],
    )
    for word in ("٣", "²", "1_0", "true", "1.0", "9" * 30):
        yield f"--tokens {word[:5]}", {}, ["run", "--hw", "a100", *TRACE, *SMALL, "--tokens", word]
        yield f"--trials {word[:5]}", {}, ["sweep", "space.yaml", "--trials", word]
    yield "a budget above all sizes", {}, ["run", "--hw", "a100", *TRACE, *SMALL[:2], "--budget", "9" * 25 + "GB"]


@dataclass
class Found:
    """What was tried and what went wrong: (kind, wrong, command, folder with the input)."""

    tried: Counter[str] = field(default_factory=Counter)
    codes: Counter[int | None] = field(default_factory=Counter)
    wrong: list[tuple[str, str, Words]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    last: int | None = None  # status
    slowest_s: float = 0.0
    largest_kb: int = 0


def kinds_of(only: str | None) -> dict[str, list[Any]]:
    """Good inputs and makers of commands, by the name of their kind."""
    found: dict[str, list[Any]] = {"words": [words], "drawn": [drawn], "served": [served]}
    for one in inputs():
        found.setdefault(one.name, []).append(one)
    return found if only is None else {only: found[only]}


def fuzz(
    seconds: float, seed: int, keep: Path | None = None, most: int | None = None, only: str | None = None
) -> Found:
    """Damaged inputs until the time is over or `most` are tried. The working folder is a temporary one meanwhile. only: of one kind."""
    found, draw, before = Found(), random.Random(seed), [signal.signal(one, _too_long) for one in ALARMS]
    home, kinds, turns = Path.cwd(), kinds_of(only), guard.MOST_TURNS
    guard.MOST_TURNS = 10**6  # a user's endless loop is ended after 10**8 turns, which is up to a minute
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            fresh = {"good.npz": good_trace(), "shape.yaml": good_shape(), "space.yaml": SPACE, **SERVED_FILES}
            for name, content in fresh.items():
                Path(name).write_bytes(content)
            for kind, files, command in nonsense():
                _tried(found, kind, files, command, keep)
                if found.last != 2:
                    found.accepted.append(kind)
            end = time.monotonic() + seconds
            while time.monotonic() < end and (most is None or found.tried.total() < most):
                one = draw.choice(kinds[draw.choice(sorted(kinds))])
                if callable(one):
                    _tried(found, one.__name__, {}, one(draw), keep)
                    continue
                command = [word.replace(FILE, one.name) for word in draw.choice(one.commands)]
                _tried(found, one.name, {**one.beside, one.name: one.damage(one.content, draw)}, command, keep)
        finally:
            os.chdir(home)
            guard.MOST_TURNS = turns
            for one, old in zip(ALARMS, before):
                signal.signal(one, old)
    return found


def largest_kb() -> int:
    """The most memory that this process has had. On Linux what `getrusage` says began with that of the process that started this one."""
    status = Path("/proc/self/status")
    told = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(told[1]) if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tried(found: Found, kind: str, files: dict[str, bytes], command: Words, keep: Path | None) -> None:
    for name, content in files.items():
        Path(name).write_bytes(content)
    start = time.process_time()
    code, _, wrong = called(command)
    found.slowest_s = max(found.slowest_s, time.process_time() - start)
    found.largest_kb = largest_kb()
    if not wrong and found.largest_kb > LARGEST_KB:
        wrong = f"the process has grown to {found.largest_kb} kB"
    found.tried[kind] += 1
    found.codes[code] += 1
    found.last = code
    if wrong:
        found.wrong.append((kind, wrong, command))
        if keep is not None:
            place = keep / f"{len(found.wrong):03d}"
            shutil.copytree(Path.cwd(), place)
            (place / "command.txt").write_text(json.dumps(command) + "\n" + wrong)
    for name in files:
        Path(name).unlink(missing_ok=True)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1200)
    arguments.add_argument("--most", type=int, help="at most so many inputs (default: as many as the time allows)")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments.add_argument("--keep", type=Path, help="folder for the inputs that fail (default: none are kept)")
    arguments.add_argument(
        "--kind", choices=sorted(kinds_of(None)), help="try inputs of this kind alone (default: all)"
    )
    a = arguments.parse_args()
    found = fuzz(a.seconds, a.seed, a.keep, a.most, a.kind)
    print(
        f"seed {a.seed}: {found.tried.total():,} inputs, statuses {dict(found.codes)}; slowest {found.slowest_s:.1f} s, largest {found.largest_kb / 1000:,.0f} MB"
    )
    print(", ".join(f"{kind} {count}" for kind, count in found.tried.most_common(30)))
    for kind, wrong, command in found.wrong:
        print(f"{kind}: {' '.join(command)[:300]}\n{wrong}")
    print(f"{len(found.wrong)} went wrong, {len(found.accepted)} kinds of nonsense were accepted {found.accepted}")
    return 1 if found.wrong or found.accepted else 0


if __name__ == "__main__":
    sys.exit(main())
