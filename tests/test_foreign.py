"""Traces of other programs, through the command line: known ids in each format come back identical, a wrong file is one line."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from tests import real_traces

PROMPT, ROWS, LAYERS, K, EXPERTS = 5, 12, 4, 2, 16
FIELD = (2, 5, 8, 11)  # the MoE layers of oracle-moe-4x16-k2, which has 12
MODEL = "oracle-moe-4x16-k2"
SAID = ("--experts", "16")
LINE = r"simmoe: "


def ids(
    rows: int = ROWS, layers: int = LAYERS, k: int = K, experts: int = EXPERTS, seed: int = 0
) -> np.ndarray[Any, Any]:
    """Known experts, in an order that no sort would make."""
    draw = np.random.default_rng(seed)
    return np.array([[draw.permutation(experts)[:k] for _ in range(layers)] for _ in range(rows)], np.int16)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def imported(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[Any, str]:
    """(the trace that the command wrote, what it printed)."""
    out = path.with_name("out.npz")
    code, shown, wrong = call(capsys, "trace", "import", path, "--out", out, "--force", *options)
    assert (code, wrong) == (0, ""), wrong
    return simmoe.load_trace(out), shown


def refused(capsys: pytest.CaptureFixture[str], path: Path, *options: str, out: str = "out.npz") -> str:
    code, shown, wrong = call(capsys, "trace", "import", path, "--out", path.with_name(out), "--force", *options)
    assert code == 2 and not shown and wrong.startswith(LINE) and wrong.count("\n") == 1, (code, shown, wrong)
    assert not path.with_name(out).exists()
    return wrong


def same(
    trace: Any, wanted: np.ndarray[Any, Any], sizes: list[int], phase: list[int], layers: tuple[int, ...] = (0, 1, 2, 3)
) -> None:
    assert trace.expert_ids.tolist() == wanted.tolist()
    assert np.diff(trace.pass_ptr).tolist() == sizes and trace.phase.tolist() == phase
    assert trace.layer_index.tolist() == list(layers) and trace.n_experts == EXPERTS


def one_request(
    trace: Any, wanted: np.ndarray[Any, Any], layers: tuple[int, ...] = (0, 1, 2, 3), prompt: int = PROMPT
) -> None:
    rest = len(wanted) - prompt
    same(trace, wanted, [prompt] * bool(prompt) + [1] * rest, [0] * bool(prompt) + [1] * rest, layers)
    assert trace.position.tolist() == list(range(len(wanted))) and set(trace.sequence.tolist()) == {0}


def without_last_layer(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As llama.cpp reads a prompt: in the last layer its last token only."""
    left = rows.copy()
    left[: PROMPT - 1, -1] = -1
    return left


# --- each format, written from known ids -----------------------------------------------------------------------------------


def csv_of(rows: np.ndarray[Any, Any], heading: str = "layer,expert\n") -> str:
    parts = [rows[:PROMPT], *(rows[i : i + 1] for i in range(PROMPT, len(rows)))]
    lines = [
        f"{layer},{e}"
        for part in parts
        for layer in range(rows.shape[1])
        for token in part[:, layer]
        for e in token
        if e >= 0
    ]
    return heading + "\n".join(lines) + "\n"


@pytest.mark.parametrize("heading", ["layer,expert\n", ""])
def test_fault_20_a_csv_of_layer_and_expert(heading: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text(csv_of(ids(), heading))
    trace, shown = imported(capsys, tmp_path / "r.csv", *SAID)
    one_request(trace, ids())
    assert "a layer_expert_csv file" in shown and "note: a pass of one token counts as decode" in shown


def test_a_csv_whose_prompt_has_one_token_in_the_last_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = without_last_layer(ids())
    (tmp_path / "r.csv").write_text(csv_of(left))
    one_request(imported(capsys, tmp_path / "r.csv", "--model", MODEL)[0], left, FIELD)


def test_fault_20_single_tokens_are_the_prompt_that_one_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ids()
    lines = [f"{layer},{e}" for token in rows for layer in range(LAYERS) for e in token[layer]]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    one_request(imported(capsys, tmp_path / "r.csv", *SAID, "--prompt", "5")[0], rows)
    one_request(imported(capsys, tmp_path / "r.csv", *SAID)[0], rows, prompt=0)


def route_trace(rows: np.ndarray[Any, Any], facts: str = "n_layer=4 n_expert=16 n_expert_used=2") -> str:
    weight = np.arange(rows.size).reshape(rows.shape) / 1024
    lines = [
        f"0,{int(step >= PROMPT)},{step},{layer},{slot},{rows[step, layer, slot]},{weight[step, layer, slot]},0,1,0"
        for layer in range(rows.shape[1]) for step in range(len(rows)) for slot in range(rows.shape[2]) if rows[step, layer, slot] >= 0
    ]  # fmt: skip
    heading = f"# route_trace v1\n# model=m.gguf arch=x {facts}\n# layer=0 expert_bytes=1 dense_bytes=1\n"
    return (
        heading + "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes,dropped\n" + "\n".join(lines) + "\n"
    )


def test_a_route_trace_of_two_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = without_last_layer(ids())
    text = route_trace(left)
    more = "".join(f"1,0,0,{layer},{slot},{slot},0.5,0,1,0\n" for layer in range(LAYERS) for slot in range(K))
    (tmp_path / "r.csv").write_text(text + more)
    trace, _ = imported(capsys, tmp_path / "r.csv")
    again = np.tile(np.arange(K), (1, LAYERS, 1))
    same(trace, np.concatenate([left, again]), [PROMPT] + [1] * 8, [0] + [1] * 7 + [0])
    assert trace.sequence.tolist() == [0] * ROWS + [1] and trace.position.tolist() == [*range(ROWS), 0]
    assert trace.gate_weights[3, 1].tolist() == [26 / 1024, 27 / 1024]


def npy_text(array: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    np.save(stream, array)
    return base64.b64encode(stream.getvalue()).decode()


def wide(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[tokens, all 12 layers, k]: zeros where the model has no experts."""
    every = np.zeros((len(rows), 12, rows.shape[2]), rows.dtype)
    every[:, list(FIELD)] = rows
    return every


def test_arrays_of_vllm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "r.npy", ids())
    trace, shown = imported(capsys, tmp_path / "r.npy", *SAID)
    one_request(trace, ids(), prompt=0)
    assert "does not tell the prompt" in shown
    np.save(tmp_path / "r.npy", wide(ids()))
    for options in (SAID, ("--model", MODEL)):
        one_request(imported(capsys, tmp_path / "r.npy", *options, "--prompt", "5")[0], ids(), FIELD)
    np.savez(tmp_path / "r.npz", prompt_routed_experts=ids()[:PROMPT], routed_experts=ids()[PROMPT:])
    one_request(imported(capsys, tmp_path / "r.npz", *SAID)[0], ids())


def test_answers_of_vllm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ids()
    split = {"prompt_routed_experts": npy_text(rows[:PROMPT]), "choices": [{"routed_experts": npy_text(rows[PROMPT:])}]}
    padded = np.concatenate([rows, np.zeros_like(rows[:1])])
    raw = {"data": base64.b64encode(padded.tobytes()).decode(), "dtype": "int16", "shape": padded.shape}
    whole = {"usage": {"prompt_tokens": PROMPT}, "choices": [{"routed_experts": raw}]}
    lists = {"prompt_token_ids": [1] * PROMPT, "outputs": [{"routed_experts": rows.tolist()}]}
    for number, record in enumerate((split, whole, lists)):
        (tmp_path / f"{number}.json").write_text(json.dumps(record, indent=1))
        one_request(imported(capsys, tmp_path / f"{number}.json", *SAID)[0], rows)
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, (split, whole, lists))))
    trace, _ = imported(capsys, tmp_path / "all.jsonl", *SAID)
    same(trace, np.concatenate([rows] * 3), [PROMPT, *[1] * 7] * 3, [0, *[1] * 7] * 3)
    assert trace.sequence.tolist() == [0] * ROWS + [1] * ROWS + [2] * ROWS


def sglang(rows: np.ndarray[Any, Any]) -> dict[str, Any]:
    text = base64.b64encode(rows.astype("<i4").tobytes()).decode()
    return {
        "text": "x",
        "meta_info": {"prompt_tokens": PROMPT, "completion_tokens": len(rows) - PROMPT + 1, "routed_experts": text},
    }


def test_answers_of_sglang(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text(json.dumps([sglang(wide(ids()))]))
    one_request(imported(capsys, tmp_path / "r.json", "--model", MODEL)[0], ids(), FIELD)
    about = sglang(ids())["meta_info"]
    text = {"choices": [{"sgl_ext": {"routed_experts": about.pop("routed_experts")}}], "usage": about}
    (tmp_path / "r.json").write_text(json.dumps(text))
    one_request(imported(capsys, tmp_path / "r.json", *SAID, "--top-k", "2")[0], ids())


def test_router_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ids()
    logits = np.full((ROWS, LAYERS, EXPERTS), -3.5, np.float32)
    np.put_along_axis(logits, rows.astype(np.int64), np.array([2.5, 1.5], np.float32), 2)
    np.save(tmp_path / "r.npy", logits)
    one_request(imported(capsys, tmp_path / "r.npy", "--top-k", "2", "--prompt", "5")[0], rows)
    for dtype, name in (("<f4", "F32"), ("<u2", "BF16")):
        bits = logits if name == "F32" else (logits.view(np.uint32) >> 16)
        layers = {f"model.layers.{FIELD[i]}.mlp.gate": bits[:, i].astype(dtype).tobytes() for i in range(LAYERS)}
        header, data = {}, b""
        for key, raw in reversed(layers.items()):
            header[key] = {"dtype": name, "shape": [ROWS, EXPERTS], "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        head = json.dumps(header).encode()
        (tmp_path / "r.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
        one_request(imported(capsys, tmp_path / "r.safetensors", "--model", MODEL, "--prompt", "5")[0], rows, FIELD)
    tied = np.zeros((3, 2, EXPERTS), np.float32)
    tied[:, :, 7] = 0.5
    np.save(tmp_path / "r.npy", tied)
    trace, shown = imported(capsys, tmp_path / "r.npy", "--top-k", "2")
    assert trace.expert_ids.tolist() == [[[7, 0]] * 2] * 3 and "6 of 6 choices were ties" in shown


def cache_lab(rows: np.ndarray[Any, Any], version: int = 1) -> list[dict[str, Any]]:
    about: dict[str, Any] = {
        "record_type": "metadata",
        "format": "moe-cache-lab.routing-jsonl",
        "format_version": version,
        "model_id": "m",
    }
    prompts = [(step, layer) for layer in range(LAYERS) for step in range(PROMPT)]
    answers = [(step, layer) for step in range(PROMPT, len(rows)) for layer in range(LAYERS)]
    records = []
    for step, layer in prompts + answers:
        phase = "prompt" if step < PROMPT else "generated"
        one = {"record_type": "routing_selection", "phase": phase, "token_position": step, "layer": layer}
        records.append(one | {"selected_experts": rows[step, layer].tolist(), "selected_probabilities": [0.75, 0.25]})
    if version == 1:
        return [about | {"num_experts": EXPERTS, "experts_per_token": K}, *records]
    stage = {"num_experts": EXPERTS, "assigned_experts_per_token": K, "allows_unassigned": True}
    about["routing_stages"] = [{"routing_stage": "encoder", **stage}, {"routing_stage": "decoder", **stage}]
    source = records[0] | {"routing_stage": "encoder", "phase": "source"}
    staged = [one | {"routing_stage": "decoder", "phase": f"decoder_{one['phase']}"} for one in records]
    staged[3] |= {
        "assignment_state": "unassigned",
        "unassigned_reason": "capacity",
        "selected_experts": [],
        "selected_probabilities": [],
    }
    return [about, source, *staged]


def test_moe_cache_lab(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, cache_lab(ids()))))
    trace, _ = imported(capsys, tmp_path / "r.jsonl")
    one_request(trace, ids())
    assert trace.gate_weights[0, 0].tolist() == [0.75, 0.25]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, cache_lab(ids(), 2))))
    left = ids()
    left[3, 0] = -1
    one_request(imported(capsys, tmp_path / "r.jsonl")[0], left)


def test_npz_of_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, said = np.concatenate([ids(), ids(seed=1)]), json.dumps({"model": "m", "first_moe_layer": 1, "source": "s"})
    phase = np.array(([0] * PROMPT + [1] * 7) * 2, np.int8)
    plain = {"expert_ids": rows, "n_experts": np.int32(16), "seq_start": np.array([0, ROWS]), "meta": np.array(said)}
    np.savez(tmp_path / "r.npz", phase=phase, weights=np.full(rows.shape, 0.5), **plain)
    trace, _ = imported(capsys, tmp_path / "r.npz")
    same(trace, rows, [PROMPT, *[1] * 7] * 2, [0, *[1] * 7] * 2, (1, 2, 3, 4))
    assert trace.sequence.tolist() == [0] * ROWS + [1] * ROWS and trace.position.tolist() == [*range(ROWS)] * 2
    assert (trace.gate_weights == 0.5).all() and trace.meta["source"] == "s"


def counts_of(rows: np.ndarray[Any, Any], layers: int = LAYERS) -> np.ndarray[Any, Any]:
    return np.array([np.bincount(rows[:, i].reshape(-1), minlength=EXPERTS) for i in range(layers)])


def test_counts_are_drawn_and_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = [counts_of(ids(40, seed=seed)).astype(np.float32) for seed in (1, 2)]
    np.save(tmp_path / "r.npy", np.stack([*two, np.zeros_like(two[0])]))
    trace, shown = imported(capsys, tmp_path / "r.npy", "--top-k", "2")
    assert (
        "a moe_infinity file" in shown and "synthetic: rows drawn (seed 0)" in shown and "80 rows were counted" in shown
    )
    assert np.bincount(trace.sequence).tolist() == [40, 40] and trace.phase.tolist() == [1] * 80
    for number, wanted in enumerate(two):
        assert counts_of(trace.expert_ids[trace.sequence == number]).tolist() == wanted.tolist()
    total = {"logical_count": np.stack([counts_of(ids(30)), counts_of(ids(10, seed=3))]).tolist()}
    (tmp_path / "r.json").write_text(json.dumps(total))
    trace, shown = imported(capsys, tmp_path / "r.json", "--model", MODEL, "--seed", "3")
    assert (
        "a ktransformers file" in shown and trace.layer_index.tolist() == list(FIELD) and trace.meta["model"] == MODEL
    )
    assert counts_of(trace.expert_ids).tolist() == (counts_of(ids(30)) + counts_of(ids(10, seed=3))).tolist()
    code, shown, _ = call(capsys, "run", "--hw", "a100", "--trace", tmp_path / "out.npz", "--budget", "50%", "--json")
    assert code == 0 and any(
        note.startswith("The trace is synthetic: rows drawn (seed 3)") for note in json.loads(shown)["notes"]
    )


def test_few_rows_drawn_from_many_counts_keep_the_popularity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expert 0 in every row, 1 in three quarters, 2 in one quarter; of a million counted."""
    counts = np.zeros((1, 2, 16), np.int64)
    counts[:, :, :3] = [1_000_000, 750_000, 250_000]
    (tmp_path / "r.json").write_text(json.dumps({"logical_count": counts.tolist()}))
    trace, shown = imported(capsys, tmp_path / "r.json", "--top-k", "2", "--tokens", "100")
    assert counts_of(trace.expert_ids, 2)[:, :3].tolist() == [[100, 75, 25]] * 2 and "100 drawn (--tokens)" in shown
    trace, _ = imported(capsys, tmp_path / "r.json", "--top-k", "2", "--tokens", "51")
    assert counts_of(trace.expert_ids, 2)[:, :3].tolist() == [[51, 38, 13]] * 2  # 51, 38.25, 12.75


@pytest.mark.slow
@pytest.mark.real
def test_files_of_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Statistics as KTransformers takes them, and the records of SGLang: two requests, the second begun while the first is decoded."""
    torch = pytest.importorskip("torch")
    counts = counts_of(ids(40))
    for content in (
        {"rank": 0, "logical_count": torch.tensor(counts)[None].to(torch.int32)},
        torch.tensor(counts).float().t().contiguous().t(),
    ):
        torch.save(content, tmp_path / "r.pt")
        trace, _ = imported(capsys, tmp_path / "r.pt", "--top-k", "2")
        assert counts_of(trace.expert_ids).tolist() == counts.tolist()
    rows, other = ids(), ids(4, seed=2)
    mapped = np.stack([np.roll(np.arange(EXPERTS), 3)] * LAYERS)  # logical expert of each physical one
    physical = np.argsort(mapped[0])

    def record(
        parts: list[np.ndarray[Any, Any]], positions: list[int], mode: int, lengths: list[int] | None
    ) -> dict[str, Any]:
        found = physical[np.concatenate(parts)].swapaxes(0, 1)
        padded = torch.full((LAYERS, found.shape[1], 8), -1, dtype=torch.int32)
        padded[:, :, :K] = torch.tensor(found)
        return {
            "topk_ids_of_layer": padded,
            "positions": positions,
            "extend_seq_lens": lengths,
            "forward_mode": mode,
            "misc_objects": [],
        }

    records = [
        record([rows[:PROMPT]], list(range(PROMPT)), 1, [PROMPT]), record([rows[5:6]], [5], 2, None),
        record([other[:3]], [0, 1, 2], 1, [3]),
        record([other[3:4], rows[6:7]], [3, 6], 2, None), {**record([rows[:1]], [0], 4, None), "positions": []},
    ]  # fmt: skip
    torch.save({"records": records, "last_physical_to_logical_map": torch.tensor(mapped)}, tmp_path / "r.pt")
    trace, _ = imported(capsys, tmp_path / "r.pt")
    for key, value, line in (
        ("forward_mode", 3, "record 1: forward_mode is 3"),
        ("positions", [-1], "record 1: positions must be a list of whole numbers from 0"),
        ("topk_ids_of_layer", [1], "record 1: topk_ids_of_layer is no tensor [layers, 1, k]"),
        ("positions", 5, "record 1: positions must be"),
    ):  # fmt: skip
        torch.save({"records": [records[0], {**records[1], key: value}]}, tmp_path / "bad.pt")
        assert line in refused(capsys, tmp_path / "bad.pt", *SAID, out="none.npz")
    same(trace, np.concatenate([rows[:6], other, rows[6:7]]), [5, 1, 3, 2], [0, 1, 0, 1])
    assert trace.sequence.tolist() == [0] * 6 + [1] * 4 + [0]
    assert trace.position.tolist() == [*range(6), *range(4), 6]


def test_a_table_of_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = ids()
    cells = [(step, layer, "prefill" if step < PROMPT else "decode") for layer in range(LAYERS) for step in range(ROWS)]
    token, layer, phase = zip(*cells)
    lists = [rows[a, b].tolist() for a, b, _ in cells]
    parquet.write_table(
        pyarrow.table({"token": token, "layer": layer, "phase": phase, "experts": lists}), tmp_path / "r.parquet"
    )
    one_request(imported(capsys, tmp_path / "r.parquet", *SAID)[0], rows)
    single = [(a, b, e) for a, b, _ in cells for e in rows[a, b].tolist()]
    token, layer, expert = zip(*single)
    parquet.write_table(pyarrow.table({"position": token, "layer": layer, "expert": expert}), tmp_path / "r.parquet")
    one_request(imported(capsys, tmp_path / "r.parquet", *SAID, "--prompt", "5")[0], rows)


def test_parquet_without_its_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "r.parquet").write_bytes(b"PAR1....PAR1")
    assert refused(capsys, tmp_path / "r.parquet", *SAID).endswith(
        "reading parquet needs pyarrow: pip install pyarrow\n"
    )


# --- directly ------------------------------------------------------------------------------------------------------------


def test_fault_20_a_run_takes_a_file_that_says_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As its import plays; the name of the file does not matter."""
    text = route_trace(ids()).replace("\n0,", "\n0,")
    for old, new in zip(range(LAYERS - 1, -1, -1), reversed(FIELD)):
        text = "\n".join(_moved(line, old, new) for line in text.splitlines())
    (tmp_path / "r.dat").write_text(text)
    _, _ = imported(capsys, tmp_path / "r.dat")
    results = []
    for name in ("r.dat", "out.npz"):
        code, shown, wrong = call(
            capsys, "run", "--hw", "a100", "--model", MODEL, "--trace", tmp_path / name, "--budget", "50%", "--json"
        )
        assert code == 0, wrong
        results.append(json.loads(shown)["decode"])
    assert results[0] == results[1] and results[0]["tokens"] == ROWS - PROMPT
    assert call(capsys, "trace", "check", tmp_path / "r.dat")[0] == 0
    assert call(capsys, "locality", tmp_path / "r.dat")[0] == 0


def written_by_others(folder: Path) -> dict[str, Path]:
    """Files that leave something open which the model says."""
    rows = ids()
    logits = np.zeros((ROWS, LAYERS, EXPERTS), np.float32)
    np.put_along_axis(logits, rows.astype(np.int64), np.array([2.5, 1.25], np.float32), 2)
    texts = {
        "r.csv": csv_of(rows), "bare.csv": csv_of(rows, ""), "answer.json": json.dumps(sglang(wide(rows))),
        "counts.json": json.dumps({"logical_count": counts_of(rows).tolist()}),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    np.save(folder / "vllm.npy", wide(rows))
    np.save(folder / "logits.npy", logits)
    np.save(folder / "uses.npy", np.stack([counts_of(rows)] * 2).astype(np.float32))
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.slow
def test_a_trace_of_another_program_needs_no_import_beside_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """run, ladder, compare, sweep and replay give, to the digest, what they give on the file that `trace import` writes."""
    files = written_by_others(tmp_path)
    assert len(files) == 7
    for name, path in files.items():
        known, _ = imported(capsys, path, "--model", MODEL)
        direct = simmoe.run("a100", path, model=MODEL, budget="50%")
        assert direct.workload.trace.expert_ids.tolist() == known.expert_ids.tolist(), name
        assert direct.to_json() == simmoe.run("a100", path.with_name("out.npz"), budget="50%").to_json(), name
        sizes = np.full(LAYERS, 100)
        alone, again = (simmoe.replay(*one, sizes, 1000, model=MODEL) for one in ([path], [path.with_name("out.npz")]))
        assert (alone.hits, alone.misses, alone.bytes) == (again.hits, again.misses, again.bytes)
    csv, out = files["r.csv"], tmp_path / "out.npz"
    imported(capsys, csv, "--model", MODEL)
    words = ("--hw", "a100", "--model", MODEL, "--json")
    for command in (["run"], ["run", "--prompt", "4", "--generate", "5"], ["compare"], ["compare", "--budget", "50%"]):
        direct, known = (json.loads(call(capsys, *command, *words, "--trace", one)[1]) for one in (csv, out))
        for one in (direct, known):
            for row in one.get("rows", []):
                row["trace"] = row["command"] = ""  # they hold its name
        assert direct == known, command
    space = {
        "schema": 1,
        "name": "s",
        "hw": "a100",
        "model": MODEL,
        "budget": ["25%", "50%"],
        "objectives": {"tok_s": "maximize"},
    }
    values = [
        [trial.values for trial in simmoe.sweep({**space, "trace": str(one)}, sampler="grid").trials]
        for one in (csv, out)
    ]
    assert values[0] == values[1] and len(values[0]) == 2
    counting = simmoe.run("a100", out, budget="50%", placement=f"popular=50%:{csv}")  # a placement may count one, too
    assert counting.tok_s == simmoe.run("a100", out, budget="50%", placement=f"popular=50%:{out}").tok_s


def test_a_file_that_two_formats_fit_asks_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "both.npz", routed_experts=ids(), router_logits=np.ones((3, 4, 16), np.float32) / 3)
    code, shown, wrong = call(capsys, "run", "--hw", "a100", "--model", MODEL, "--trace", tmp_path / "both.npz")
    assert (code, shown, wrong.count("\n")) == (2, "", 1)
    assert "may be router_logits or vllm; say which: simmoe trace import" in wrong


def test_a_model_that_is_not_the_one_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text(csv_of(ids()))
    code, _, wrong = call(capsys, "run", "--hw", "a100", "--model", "oracle-moe-4x8", "--trace", tmp_path / "r.csv")
    assert code == 2 and wrong.count("\n") == 1 and re.search(r"top-\d|is not one of 8|layers", wrong), wrong


def _moved(line: str, old: int, new: int) -> str:
    cells = line.split(",")
    return ",".join([*cells[:3], str(new), *cells[4:]]) if len(cells) > 5 and cells[3] == str(old) else line


def test_fault_20_a_run_says_what_a_file_leaves_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text(csv_of(ids()))
    code, _, wrong = call(capsys, "run", "--hw", "a100", "--trace", tmp_path / "r.csv", "--budget", "50%")
    assert (
        code == 2
        and "does not say how many experts a layer has" in wrong
        and "simmoe trace import r.csv --out t.npz" in wrong
    )


# --- refused in one line ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_malformed_files_name_the_line_or_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, lab = csv_of(ids()), [json.dumps(one) for one in cache_lab(ids())]
    text = route_trace(ids())
    answers, last = sglang(ids()), text.splitlines()[99]
    no_base64 = {"meta_info": {**answers["meta_info"], "routed_experts": "!"}}
    texts: dict[str, tuple[str, tuple[str, ...]]] = {
        "line 3: expert is 'x'; it must be a whole number": ("layer,expert\n0,1\n0,x\n", SAID),
        "line 4 has 3 values; the columns are layer,expert": ("layer,expert\n0,1\n0,2\n0,3,4\n", SAID),
        "line 2: layer 0 names 3 experts on end, no multiple of top-2": ("layer,expert\n0,1\n0,2\n0,3\n1,1\n1,2\n", SAID),
        "line 6: the pass that begins here has layers [0]; the file has [0, 1]": ("layer,expert\n0,1\n0,2\n1,1\n1,2\n0,3\n0,4\n", SAID),
        "expert 16 of row 0, layer column 1 is not one of 16": ("0,1\n0,2\n1,3\n1,16\n", SAID),
        "does not say how many experts a layer has": (good, ()),
        "has 4 layers; the model has 32 with experts": (text, ("--model", "mixtral-8x7b")),
        "has 2 experts for each token and layer; you said top-6": (text, ("--top-k", "6")),
        "says 16 experts in a layer; you said 8": (text, ("--experts", "8")),
        "n_expert=x16 in the lines of # must be a whole number": (text.replace("n_expert=16", "n_expert=x16"), ()),
        "line 1: experts_per_token is '2'": ("\n".join([lab[0].replace('token": 2', 'token": "2"'), lab[1]]), ()),
        "'16' experts in a layer cannot be": ("\n".join([lab[0].replace('experts": 16', 'experts": "16"'), lab[1]]), ()),
        "--experts 40000 cannot be; give a whole number from 1 to 32,768": (good, ("--experts", "40000")),
        "column 'slot' is missing in the heading": (text.replace("slot", "place"), ()),
        "line 9: phase is 7; it must be 0 to 1": (text.replace("\n0,0,2,0,0,", "\n0,7,2,0,0,"), ()),
        "line 100: expert is '2.5'": (text.replace(last, last.replace(f",{ids()[11, 3, 1]},", ",2.5,")), ()),
        "line 6: this turn, phase, step, layer and slot stood in line 5 already": (text.replace("0,0,0,0,1,", "0,0,0,0,0,"), ()),
        "line 3: key 'layer' is missing": ("\n".join([*lab[:2], lab[2].replace('"layer"', '"lair"')]), ()),
        "line 2: token_position, layer and selected_experts must be whole numbers": (f"{lab[0]}\n{lab[1]}".replace('r": 0', 'r": "0"'), ()),
        "line 3: token 0 stood in layer 0 already": ("\n".join([lab[0], lab[1], lab[1]]), ()),
        "line 2: phase is 'warm-up'": ("\n".join([lab[0], lab[1].replace('"prompt"', '"warm-up"')]), ()),
        "line 1: format_version must be 1 or 2": ("\n".join([lab[0].replace('"format_version": 1', '"format_version": 9'), lab[1]]), ()),
        "the object: routed_experts is flat and does not say top-k": (json.dumps(answers), SAID),
        "the object: routed_experts has 96 numbers, no multiple of 12 rows × top-3": (json.dumps(answers), (*SAID, "--top-k", "3")),
        "the object: routed_experts is no int32 in base64": (json.dumps(no_base64), SAID),
        "entry 1: routed_experts cannot be read": (json.dumps([{"routed_experts": ids().tolist()}, {"routed_experts": "AAAA"}]), SAID),
        "routed_experts is int64 of shape (2, 3)": (json.dumps({"routed_experts": [[1, 2, 3]] * 2}), SAID),
        "sequence 1 has [layers, top_k] (3, 2), the first one (4, 2)": (
            json.dumps([{"routed_experts": ids().tolist()}, {"routed_experts": ids(layers=3).tolist()}]), SAID),
        "logical_count holds numbers that are no counts": (json.dumps({"logical_count": [[1.5, 2]]}), ("--top-k", "1")),
        "entry 0 counts 3 uses in layer column 0, and at most 4": (json.dumps({"logical_count": [[1, 2], [2, 2]]}), ("--top-k", "1")),
        "entry 0 counts expert 1 3 times in layer column 0, more than once in each of 2 tokens": (
            json.dumps({"logical_count": [[1, 3]]}), ("--top-k", "2")),
        "no format that is known": ("hello\n", SAID),
    }  # fmt: skip
    for number, (line, (content, options)) in enumerate(texts.items()):
        (tmp_path / f"{number}.txt").write_text(content)
        assert line in refused(capsys, tmp_path / f"{number}.txt", *options), line


def test_arrays_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.npz"
    plain = {"expert_ids": ids(), "n_experts": np.int32(16), "seq_start": np.array([0])}
    for line, arrays in (
        ("array 'seq_start' is missing", {"expert_ids": ids(), "n_experts": np.int32(16)}),
        ("seq_start must rise from 0 to below 12", {**plain, "seq_start": np.array([0, 12])}),
        ("weights has shape (3,)", {**plain, "weights": np.ones(3)}),
        ("phase of sequence 0 falls back", {**plain, "phase": np.array([1] * 6 + [0] * 6)}),
        ("array 'routed_experts' holds pickled objects, which are never loaded", {"routed_experts": np.array([{}, None], object)}),
        ("expert 99 of row 3, layer column 2", {**plain, "expert_ids": np.where(np.arange(96).reshape(12, 4, 2) == 28, 99, ids())}),
    ):  # fmt: skip
        np.savez(path, **arrays)
        assert line in refused(capsys, path), line
    bad = np.full((3, 2, 4), -1.0)
    bad[1, 1, 2] = np.nan
    np.save(tmp_path / "r.npy", bad)
    assert "logit of token 1, layer column 1, expert 2 is not finite" in refused(
        capsys, tmp_path / "r.npy", "--top-k", "2"
    )
    (tmp_path / "r.safetensors").write_bytes(
        struct.pack("<Q", 70) + b'{"router_logits":{"dtype":"F32","shape":[9,9,9],"data_offsets":[0,9]}}'
    )
    assert "tensor 'router_logits' cannot be read" in refused(capsys, tmp_path / "r.safetensors", "--top-k", "2")


class Runs:
    """Pickled, it runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_is_unpickled(protocol: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A .pt that would run a command: refused by each command that opens a trace, and the command did not run."""
    struck = tmp_path / "struck"
    with zipfile.ZipFile(tmp_path / "r.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"logical_count": Runs(f"touch {struck}")}, protocol))
    line = refused(capsys, tmp_path / "r.pt", "--top-k", "2")
    assert ("system, which is never imported" if protocol else "opcode DICT is no plain data") in line
    for words in (("trace", "check"), ("run", "--hw", "a100", "--trace"), ("trace", "stats"), ("locality",)):
        code, _, wrong = call(capsys, *words, tmp_path / "r.pt")
        assert code == 2 and "never" in wrong, words
    assert not struck.exists()
    pickle.loads(pickle.dumps(Runs(f"touch {struck}"), protocol))  # it would have
    assert struck.exists()


def test_opcodes_that_build_objects_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams = {
        "INST": b"(S'touch x'\nios\nsystem\n.", "NEWOBJ": b"\x80\x02ctorch\nFloatStorage\n)\x81.", "BUILD": b"\x80\x02}}b.",
        "EXT1": b"\x80\x02\x82\x01.", "OBJ": b"\x80\x02(ctorch\nFloatStorage\no.",
    }  # fmt: skip
    for name, text in streams.items():
        with zipfile.ZipFile(tmp_path / "r.pt", "w") as archive:
            archive.writestr("archive/data.pkl", text)
        line = refused(capsys, tmp_path / "r.pt", "--top-k", "2")
        assert f"opcode {name}" in line or "opcode STRING" in line, line


def test_a_tensor_stays_within_its_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tensor(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
        name = b"ctorch._utils\n_rebuild_tensor_v2\n"
        storage = b"(X\x07\x00\x00\x00storagectorch\nLongStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08tQ"
        numbers = b"".join(b"(" + b"".join(b"J" + struct.pack("<i", n) for n in one) + b"t" for one in (shape, stride))
        return b"\x80\x02" + name + b"(" + storage + b"J" + struct.pack("<i", offset) + numbers + b"\x89}tR."

    for offset, shape, stride, good in (
        (0, (2, 4), (4, 1), True), (0, (2, 4), (1, 2), True), (0, (2, 4), (5, 1), False), (1, (2, 4), (4, 1), False),
        (-1, (2, 3), (3, 1), False), (0, (1000, 1000), (0, 0), False), (0, (2, 4), (-4, 1), False),
    ):  # fmt: skip
        with zipfile.ZipFile(tmp_path / "r.pt", "w") as archive:
            archive.writestr("archive/data.pkl", tensor(offset, shape, stride))
            archive.writestr("archive/data/0", np.array([2, 3, 1, 0, 1, 1, 2, 2], "<i8").tobytes())
        if good:
            trace, _ = imported(capsys, tmp_path / "r.pt", "--top-k", "1")
            wanted = np.lib.stride_tricks.as_strided(np.array([2, 3, 1, 0, 1, 1, 2, 2]), shape, [8 * n for n in stride])
            assert [np.bincount(trace.expert_ids[:, i, 0], minlength=4).tolist() for i in range(2)] == wanted.tolist()
            (tmp_path / "out.npz").unlink()
        else:
            assert (
                "is larger than its storage" in (line := refused(capsys, tmp_path / "r.pt", "--top-k", "1"))
                or "ends behind" in line
            )


def test_an_output_is_not_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text(csv_of(ids()))
    (tmp_path / "out.npz").write_text("old")
    code, _, wrong = call(capsys, "trace", "import", tmp_path / "r.csv", "--out", tmp_path / "out.npz", *SAID)
    assert code == 2 and "exists; choose another name or overwrite it with --force" in wrong
    code, _, wrong = call(capsys, "trace", "import", tmp_path / "r.csv", "--out", tmp_path / "r.csv", *SAID, "--force")
    assert code == 2 and "would overwrite" in wrong and (tmp_path / "r.csv").read_text() == csv_of(ids())


def test_help_starts_without_numpy() -> None:
    text = "import sys; from simmoe.cli.main import parser; parser(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


def test_the_importer_that_the_page_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is wrong in one is a line with its name."""
    page = (Path(__file__).parent.parent / "docs" / "extending" / "importer.md").read_text("utf-8")
    source = page.split("```python\n# mine.py\n")[1].split("```")[0]
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "routing.txt").write_text("3 7|0 4\n1 2|5 6\n0 7|1 4\n\n2 3|4 5\n2 4|4 6\n")
    monkeypatch.chdir(tmp_path)
    words = page.split("```sh\nsimmoe ")[1].split("\n")[0].split()
    assert call(capsys, *words)[0] == 0
    trace = simmoe.load_trace("t.npz")
    wanted = [[[3, 7], [0, 4]], [[1, 2], [5, 6]], [[0, 7], [1, 4]], [[2, 3], [4, 5]], [[2, 4], [4, 6]]]
    assert trace.expert_ids.tolist() == wanted and trace.sequence.tolist() == [0, 0, 0, 1, 1]
    assert (trace.pass_ptr.tolist(), trace.phase.tolist()) == ([0, 2, 3, 5], [0, 1, 0])
    (tmp_path / "routing.txt").write_text("3 7|0 4\n1 x|5 6\n")
    assert "line 2: invalid literal" in call(capsys, *words, "--force")[2]
    for text, line in (
        ("def read(file, stated): return 1 / 0", "importer mine.py: ZeroDivisionError: division by zero"),
        ("def read(file, stated): return 5", "importer mine.py: read() returned int; it must return a Trace"),
        ("import nothing_of_this_name", "importer mine.py: ModuleNotFoundError"),
        ("", "importer mine.py: AttributeError"),
    ):
        (tmp_path / "mine.py").write_text(text)
        code, _, wrong = call(capsys, *words, "--force")
        assert code == 2 and line in wrong and wrong.count("\n") == 1, wrong
    assert (
        "unknown format 'vlm'" in (wrong := refused(capsys, tmp_path / "routing.txt", "--format", "vlm"))
        and "'vllm'" in wrong
    )


@pytest.mark.traces
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_public_recordings_are_read_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the adapter of the tests, which is code of its own; none of them is questioned."""
    path = real_traces.path(name)
    trace, wanted = simmoe.load_trace(path), real_traces.load(name)
    for array in ("expert_ids", "layer_index", "pass_ptr", "phase", "sequence", "position"):
        assert np.array_equal(getattr(trace, array), getattr(wanted, array)), array
    assert call(capsys, "trace", "check", path)[0] == 0
