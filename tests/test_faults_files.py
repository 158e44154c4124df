"""Faults that reports and attacks found in files, caches, limits and versions: each by its number, through commands alone.

No other module of the tests is imported, so that the file can be played on an older release.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from simmoe.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
ONE = ["run", "--hw", "a100", "--trace", "oracle", "--budget", "50%", "--tokens", "64", "--engine", "simpy"]
PROFILE = """\
schema: 1
name: {name}
title: a box
memory: discrete
tiers:
  hbm: {{capacity: {capacity}, bandwidth: {{value: 1000 GB/s, kind: assumed, source: x}}}}
  dram: {{capacity: {{value: 256 GB, kind: assumed, source: x}}, bandwidth: {{value: 100 GB/s, kind: assumed, source: x}}}}
units:
  gpu:
    memory: hbm
    bandwidth: {{value: 900 GB/s, kind: assumed, source: x}}
    launch: {{value: 5 us, kind: assumed, source: x}}
    flops: {{fp16: {{value: 100 TFLOP/s, kind: assumed, source: x}}}}
link: {{from: dram, to: hbm, bandwidth: {{value: 25 GB/s, kind: assumed, source: x}}, latency: {{value: 5 us, kind: assumed, source: x}}}}
devices: [gpu]
reserved: {{value: 1 GB, kind: assumed, source: x}}
"""
CAPACITY = "{value: 80 GB, kind: assumed, source: x}"
SPACE = """\
schema: 1
name: small
hw: [a100]
trace: [oracle]
eviction: [lru]
budget: [50%]
tokens: 64
objectives: {tok_s: maximize}
"""


def profile(name: str = "box", capacity: str = CAPACITY) -> str:
    return PROFILE.format(name=name, capacity=capacity)


def call(*arguments: str, **how) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    how["env"] = {**os.environ, **how.pop("env", {})}
    words = [sys.executable, "-m", "simmoe", *map(str, arguments)]
    return subprocess.run(words, stdout=how.pop("stdout", -1), stderr=-1, text=True, timeout=300, **how)


@pytest.fixture
def refused(capsys):
    """The one line with which a command is refused."""

    def check(*arguments: str, line: str) -> str:
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and len(said.err) < 1000, said
        assert line in said.err, said.err
        return said.err

    return check


def write_trace(path: Path, meta: object = None, **changes) -> Path:
    """Three tokens, two layers, top-2 of 4; `meta` is a text or what is dumped over the usual one."""
    content = {
        "expert_ids": np.array([[[0, 1]] * 2, [[1, 2]] * 2, [[2, 3]] * 2], np.int16),
        "layer_index": np.arange(2, dtype=np.int16), "pass_ptr": np.arange(4), "phase": np.ones(3, np.int8),
        "sequence": np.zeros(3, np.int32), "position": np.arange(3, dtype=np.int32),
    }  # fmt: skip
    usual = {"schema_version": 1, "n_experts": 4, "top_k": 2, "model": "test"}
    text = meta if isinstance(meta, str) else json.dumps({**usual, **(meta or {})})  # type: ignore[dict-item]
    with open(path, "wb") as stream:
        np.savez(stream, **{**content, "meta": np.array(text), **changes})
    return path


# --- 30: what is written -------------------------------------------------------------------------------------------


OPTIONS = ["--per-token", "--perfetto"]


@pytest.mark.parametrize("option", OPTIONS)
def test_fault_30_a_pipe_is_written_through(option, tmp_path, capsys):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    keep = os.open(pipe, os.O_RDWR)  # neither end waits
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main([*ONE, option, str(pipe)]) == 0
    os.close(keep)
    reader.join(10)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert len(got) == 1 and got[0].startswith(("pass,phase", '{"traceEvents"'))


@pytest.mark.parametrize("option", OPTIONS)
def test_fault_30_a_symbolic_link_stays_and_the_mode_too(option, tmp_path, capsys):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "secret.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(Path("far") / "secret.csv")
    assert main([*ONE, option, str(link)]) == 0
    assert link.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text() != "old" and os.listdir(tmp_path / "far") == ["secret.csv"]


def test_fault_30_a_device_stays_a_device(tmp_path, capsys):
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        open(device, "w").close()
    except OSError:
        pytest.skip("this user may not make a device")
    assert main([*ONE, "--per-token", str(device)]) == 0
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.slow
def test_fault_30_new_files_obey_the_umask(tmp_path):
    done = call(*ONE, "--per-token", tmp_path / "new.csv", umask=0o007)
    assert done.returncode == 0 and stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o660


@pytest.mark.parametrize("option", [*OPTIONS, "--save"])
def test_fault_30_an_input_is_no_output(option, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("box.yaml").write_text(profile())
    Path("link.yaml").symlink_to("box.yaml")
    force = ["--force"] if option == "--save" else []
    words = ["run", "--hw", "box.yaml", "--trace", "oracle", "--budget", "50%", "--tokens", "64"]
    for name in ("box.yaml", "link.yaml"):
        refused(*words, option, name, *force, line="box.yaml")
    assert Path("box.yaml").read_text() == profile()


def test_fault_30_the_trace_is_not_overwritten(tmp_path, refused):
    trace = write_trace(tmp_path / "t.npz")
    before = trace.read_bytes()
    refused("run", "--hw", "a100", "--trace", trace, "--budget", "50%", "--per-token", trace, line="t.npz")
    pytest.importorskip("plotly")
    refused("locality", trace, "--html", trace, line="--html")
    assert trace.read_bytes() == before


def test_fault_30_a_model_import_does_not_overwrite_its_source(tmp_path, refused):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(MIXTRAL))
    refused("model", "import", config, "--out", config, "--force", line="--out")
    assert json.loads(config.read_text()) == MIXTRAL


def test_fault_30_two_outputs_are_two_files(tmp_path, refused):
    out = tmp_path / "x"
    refused(*ONE, "--per-token", out, "--perfetto", out, line="name the same file")
    assert not out.exists()


def test_fault_30_a_folder_is_no_file(tmp_path, refused):
    refused(*ONE, "--per-token", tmp_path, line="it is a folder; name a file")
    refused(*ONE, "--per-token", tmp_path / "no" / "x", line="does not exist; create it first")


def test_fault_30_a_circle_of_links(tmp_path, refused):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refused(*ONE, "--per-token", tmp_path / "a", line="symbolic links")


@pytest.mark.slow
def test_fault_30_a_read_only_folder_is_one_line():
    """Root may write everywhere, so it becomes nobody once all is imported; nobody cannot enter the folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        code = f"""
import os, sys
from simmoe.cli.main import main
assert main({ONE}) == 0
os.chmod({str(folder)!r}, 0o555)
if os.geteuid() == 0:
    os.setuid(65534)
sys.exit(main({[*ONE, "--per-token", str(folder / "x.csv")]}))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        folder.chmod(0o755)
    line = f"simmoe: cannot write {folder / 'x.csv'}: the folder {folder} is read-only; name a file in another one\n"
    assert (done.returncode, done.stderr) == (2, line)


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_fault_30_a_full_disk_leaves_the_old_file(option, tmp_path):
    out = tmp_path / "out"
    out.write_text("old")
    done = call(*ONE, option, out, preexec_fn=small_files, env={"SIMMOE_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"cannot write {out}" in done.stderr, done.stderr
    assert out.read_text() == "old" and [one for one in os.listdir(tmp_path) if one != "cache"] == ["out"]


# --- 31: the kernel cache ------------------------------------------------------------------------------------------

COMPILED = [*ONE[:-1], "fast", "--json"]
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache with the kernels of the command, and what the command prints."""
    folder = tmp_path_factory.mktemp("filled")
    done = call(*COMPILED, env={"SIMMOE_CACHE": str(folder)})
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def cache(filled, tmp_path):
    """A copy of it."""
    shutil.copytree(filled[0], tmp_path / "cache")
    return tmp_path / "cache"


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize(  # each compiles anew; every damage to every file of a smaller kernel is a test of test_engines.py
    ("suffix", "damage"), [(".py", "bits"), (".nbi", "cut"), (".nbc", "bits")]
)
def test_fault_31_a_damaged_file_is_made_again(suffix, damage, cache, filled):
    files = list(cache.rglob(f"*{suffix}"))
    assert files
    damaged: dict[Path, bytes] = {}
    for file in files:
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 0xFF
        damaged[file] = bytes({"cut": content[:middle], "bits": content}[damage])
        file.write_bytes(damaged[file])
    done = call(*COMPILED, env={"SIMMOE_CACHE": str(cache)})
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == filled[1]
    assert all(file.read_bytes() != content for file, content in damaged.items())
    assert call(*COMPILED, env={"SIMMOE_CACHE": str(cache)}).stdout == filled[1]


@needs_numba
@pytest.mark.slow
def test_fault_31_other_text_is_not_executed(cache, filled, tmp_path):
    import hashlib

    for file in cache.rglob("kernel.py"):
        text = file.read_text() + f"\nopen({str(tmp_path / 'run')!r}, 'w').close()\n"
        body = text.partition("\n")[2] if text.startswith("# ") else text
        file.write_text(f"# {hashlib.sha256(body.encode()).hexdigest()}\n{body}" if text.startswith("# ") else text)
    done = call(*COMPILED, env={"SIMMOE_CACHE": str(cache)})
    assert done.returncode == 0 and done.stdout == filled[1] and not (tmp_path / "run").exists()


@needs_numba
@pytest.mark.slow
def test_fault_31_an_unwritable_cache_leaves_nothing(tmp_path, filled):
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    where = {"SIMMOE_CACHE": str(tmp_path / "file" / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    done = call(*COMPILED, env=where)
    assert done.returncode == 0 and done.stdout == filled[1] and os.listdir(tmp_path / "tmp") == []


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize(
    "most_bytes", [512, 40_000]
)  # not even the text fits; the text fits and the machine code does not
def test_fault_31_a_full_disk_plays(most_bytes, tmp_path, filled):
    (tmp_path / "tmp").mkdir()
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))}
    where = {"SIMMOE_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    done = call(*COMPILED, env=where, **limit)
    assert done.returncode == 0 and done.stdout == filled[1], done.stderr
    assert os.listdir(tmp_path / "tmp") == []
    if most_bytes > 512:  # what lies there half-written does no harm later
        assert call(*COMPILED, env={"SIMMOE_CACHE": str(tmp_path / "cache")}).stdout == filled[1]


@needs_numba
@pytest.mark.slow
def test_fault_31_processes_share_a_cache(tmp_path, filled):
    words = [sys.executable, "-m", "simmoe", *COMPILED]
    where = {**os.environ, "SIMMOE_CACHE": str(tmp_path)}
    several = [subprocess.Popen(words, env=where, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    assert [one.communicate()[0] for one in several] == [filled[1]] * 2
    assert call(*COMPILED, env={"SIMMOE_CACHE": str(tmp_path)}).stdout == filled[1]


# --- 32: YAML -------------------------------------------------------------------------------------------------------

BOMB = "schema: 1\nname:\n- &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"- &{after} [{','.join([f'*{before}'] * 10)}]\n" for before, after in zip("abcdefgh", "bcdefghi")
)
TWICE = {
    "profile": (profile() + "title: another\n", 17),
    "shape": ("schema: 1\nname: x\nname: y\n", 3),
    "space": (SPACE + "budget: [25%]\n", 9),
    "scenario": ("schema: 1\nhw: a100\nhw: a100\n", 3),
    "case": ("title: a\ntitle: b\n", 2),
}
READS = {
    "profile": ["hw", "check"],
    "shape": ["run", "--hw", "a100", "--trace", "oracle", "--model"],
    "space": ["sweep"],
    "scenario": ["run"],
    "case": ["validate"],
}


def in_time(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that must refuse within 20 s and 1 GB, in one line."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # noqa: E731
    words = [sys.executable, "-m", "simmoe", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, preexec_fn=limit)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and len(done.stderr) < 1000, done.stderr[-2000:]
    return done


@pytest.mark.parametrize("kind", READS)
def test_fault_32_a_key_that_stands_twice(kind, tmp_path, refused):
    text, line = TWICE[kind]
    (tmp_path / "twice.yaml").write_text(text)
    said = refused(*READS[kind], tmp_path / "twice.yaml", line=f"line {line}")
    assert "stands in line" in said  # both lines are named


def test_fault_32_a_key_twice_deep_down(tmp_path, refused):
    text = profile().replace("    memory: hbm\n", "    memory: hbm\n    memory: dram\n")
    (tmp_path / "twice.yaml").write_text(text)
    refused("hw", "check", tmp_path / "twice.yaml", line="line 11: the key 'memory' stands in line 10 too")


@pytest.mark.slow
@pytest.mark.parametrize("kind", READS)
def test_fault_32_aliases_that_unfold_without_end(kind, tmp_path):
    (tmp_path / "bomb.yaml").write_text(BOMB)
    assert "aliases" in in_time(*READS[kind], tmp_path / "bomb.yaml").stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", READS)
def test_fault_32_five_hundred_levels(kind, tmp_path):
    (tmp_path / "deep.yaml").write_text("schema: 1\nname: " + "[" * 500 + "]" * 500 + "\n")
    assert "levels" in in_time(*READS[kind], tmp_path / "deep.yaml").stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["profile", "shape"])
def test_fault_32_a_long_chain_of_extends(kind, tmp_path):
    for number in range(1300):
        head = f"schema: 1\nname: box{number}\ntitle: box {number}\n"
        (tmp_path / f"p{number}.yaml").write_text(f"{head}extends: p{number + 1}.yaml\n")
    (tmp_path / "p1300.yaml").write_text(profile())
    assert "extends" in in_time(*READS[kind], tmp_path / "p0.yaml").stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["profile", "shape"])
def test_fault_32_a_chain_that_is_a_loop(kind, tmp_path):
    for one, other in ("ab", "ba"):
        (tmp_path / f"{one}.yaml").write_text(f"schema: 1\nname: {one}\ntitle: {one}\nextends: {other}.yaml\n")
    assert "loop" in in_time(*READS[kind], tmp_path / "a.yaml").stderr


ODD_YAML = {
    "nan": ("value: .nan", "finite"),
    "inf": ("value: -.inf", "finite"),
    "huge": ("value: " + "9" * 5000, "larger than anything"),
    "hex": ("value: 0x" + "f" * 5000, "larger than anything"),
    "half a character": ('value: "\\ud800"', "lone surrogate"),
    "nul": ('value: "a\\0b"', "NUL"),
    "binary": ("value: !!binary aGk=", "tag"),
    "python": ("value: !!python/object/apply:os.getcwd []", "tag"),
    "itself": ("value: &a [*a]", "stands within"),
    "a list as a key": ("? [1, 2]\n: x", "no key"),
}


@pytest.mark.parametrize("odd", ODD_YAML)
@pytest.mark.parametrize("kind", READS)
def test_fault_33_yaml_that_is_no_plain_data(kind, odd, tmp_path, refused):
    text, line = ODD_YAML[odd]
    (tmp_path / "odd.yaml").write_text(f"schema: 1\nname: x\n{text}\n")
    refused(*READS[kind], tmp_path / "odd.yaml", line=line)


# --- 33: tracebacks and nonsense ------------------------------------------------------------------------------------

MIXTRAL = {
    "model_type": "mixtral", "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 100, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip
METAS = {
    "deep": ("[" * 100_000, "meta is not a plain JSON file: too many levels of lists and objects; write fewer"),
    "a number as model": ({"model": 5}, "meta.model is 5; it must be a text"),
    "a list as model": ({"model": ["a"]}, "meta.model is ['a']; it must be a text"),
    "an object as model": ({"model": {"a": 1}}, "meta.model"),
    "a number as router": ({"router": 1.5}, "meta.router is 1.5; it must be a text"),
    "1e6 experts": ({"n_experts": 10**6}, "meta.n_experts is 1000000; it must be a whole number of experts per layer, from 1 to 32768"),
    "1e9 experts": ({"n_experts": 10**9}, "meta.n_experts"),
    "1e400 experts": ({"n_experts": 10**400}, "401 digits"),
    "1e5000 experts": ('{"n_experts": 1' + "0" * 5000 + "}", "5,001 digits"),
    "experts that are true": ({"n_experts": True}, "meta.n_experts is True"),
    "a version that is true": ({"schema_version": True}, "meta.schema_version is True; this release reads version 1"),
    "a version that is 1.0": ({"schema_version": 1.0}, "meta.schema_version is 1.0"),
    "half a character": ('{"n_experts": 4, "router": "\\ud800"}', "lone surrogate"),
    "NaN": ('{"n_experts": 4, "quality": NaN}', "NaN is no number"),
    "a key twice": ('{"n_experts": 4, "n_experts": 5}', "'n_experts' stands twice"),
    "no object": ("[1]", "meta is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("name", METAS)
def test_fault_33_meta_of_a_trace(name, tmp_path, refused):
    meta, line = METAS[name]
    trace = write_trace(tmp_path / "t.npz", meta)
    for command in (["trace", "check"], ["trace", "info"], ["locality"], ["run", "--hw", "a100", "--trace"]):
        refused(*command, trace, line=line)


def test_fault_33_a_member_that_is_cut(tmp_path, refused):
    whole = write_trace(tmp_path / "t.npz")
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "cut.npz", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:-5] if name == "sequence.npy" else content)
    refused("trace", "check", tmp_path / "cut.npz", line="truncated")


WORDS = {
    "a seed below 0": (("--seed", "-1", "--placement", "random=50%"), "--seed -1 is no seed; give 0 or more"),
    "a raised two": (("--tokens", "²"), "--tokens '²' is no number of tokens"),
    "Arabic digits": (("--tokens", "٣"), "--tokens '٣' is no number of tokens"),
    "20 digits": (("--prefill-chunk", "9" * 20), "give at most 2,147,483,647"),
    "5,000 digits": (("--prefill-chunk", "9" * 5000), "is no number of tokens"),
    "5,000 digits of a size": (("--budget", "9" * 5000 + "GB"), "--budget"),
    "5,000 digits of a memory": (("--memory", "9" * 5000 + "GB"), "--memory"),
    "5,000 digits of a share": (("--budget", "9" * 5000 + "%"), "--budget"),
    "a size that no machine has": (("--budget", "9" * 30 + "GB"), "is more than any machine has"),
    "a figure that no machine has": (("--set", "tiers.hbm.capacity=1" + "0" * 40 + " GB"), "is more than any machine has"),
    "a figure of 5,000 digits": (("--set", "tiers.hbm.capacity=1" + "0" * 5000 + " GB"), "tiers.hbm.capacity"),
    "a name of 5,000 letters": (("--eviction", "a" * 5000), "unknown eviction policy"),
    "a name with NUL": (("--eviction", "a\0b"), "unknown eviction policy"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_fault_33_words_of_a_command(name, refused):
    words, line = WORDS[name]
    refused("run", "--hw", "a100", "--trace", "oracle", *words, line=line)


def test_fault_33_whole_numbers_of_other_commands(refused):
    for word in ("٣", "1_0", "9" * 5000, "1.0"):
        refused("sweep", "experts_on_the_cpu", "--trials", word, line="is no whole number")


CAPACITIES = {"10^400 GB": "1" + "0" * 400 + " GB", "10^40 GB": "1" + "0" * 40 + " GB", "10^12 GB": "1000000000000 GB"}


@pytest.mark.parametrize("name", CAPACITIES)
def test_fault_33_a_capacity_that_cannot_be(name, tmp_path, refused):
    (tmp_path / "box.yaml").write_text(profile(capacity=f"{{value: {CAPACITIES[name]}, kind: assumed, source: x}}"))
    refused("hw", "check", tmp_path / "box.yaml", line="tiers.hbm.capacity.value")


JOURNALS = {
    "a number": "5\n",
    "a list": '[{"op_code": 0}]\n',
    "an unknown code": '{"op_code":99}\n',
    "a code that is no number": '{"op_code":null}\n',
    "a study without a name": '{"op_code":0}\n',
    "a study of the wrong types": '{"op_code":0,"study_name":5,"directions":3,"worker_id":"x"}\n',
    "a number behind the first line": '{"op_code":0,"worker_id":"x","study_name":"small","directions":[2]}\n5\n',
    "half of an entry, and the end of a line": '{"op_code":0,"worker_id":"x","study_name":"small","directions":[2]}\n{"op_co\n',
    "levels without end": '{"op_code":' + "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("name", JOURNALS)
def test_fault_33_json_of_another_kind_in_a_journal(name, tmp_path, refused):
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "study").write_text(JOURNALS[name])
    refused(
        "sweep", tmp_path / "space.yaml", "--study", tmp_path / "study", "--trials", "1", line="name a new --study file"
    )
    assert (tmp_path / "study").read_text() == JOURNALS[name]


CONFIGS = {
    "levels": ("[" * 100_000, "too many levels of lists and objects; write fewer"),
    "a list": ("[1]", "holds a list"),
    "a key twice": ('{"model_type": "mixtral", "model_type": "olmoe"}', "'model_type' stands twice"),
    "a number without end": ('{"model_type": "mixtral", "hidden_size": 1' + "0" * 5000 + "}", "5,001 digits"),
    "experts without end": (json.dumps({**MIXTRAL, "num_local_experts": 10**30}), "num_local_experts is 1000000000000000000000000000000"),
    "layers without end": (json.dumps({**MIXTRAL, "num_hidden_layers": 10**9}), "must be a whole number from 1 to 1024"),
    "NaN": (json.dumps({**MIXTRAL, "rope_theta": float("nan")}), "NaN is no number"),
    "half a character": ('{"model_type": "\\udc00"}', "lone surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_fault_33_config_of_a_model(name, tmp_path, refused):
    text, line = CONFIGS[name]
    (tmp_path / "config.json").write_text(text)
    refused("model", "import", tmp_path / "config.json", "--out", tmp_path / "out.yaml", line=line)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_fault_33_closed_streams_are_a_quiet_exit(closed):
    words = " ".join([sys.executable, "-m", "simmoe", *ONE])
    done = subprocess.run(["bash", "-c", f"{words} {closed}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--version"], ["hw", "list", "--json"], ONE])
def test_fault_33_output_that_cannot_be_written_is_one_line(command):
    with open("/dev/full", "w") as full:
        done = call(*command, stdout=full, env={"PYTHONUNBUFFERED": ""})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr, done.stderr


@pytest.mark.slow
def test_fault_33_a_reader_that_leaves_is_a_quiet_exit():
    words = " ".join([sys.executable, "-m", "simmoe", "hw", "show", "a100"])
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words} | head -c 1"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_fault_33_a_file_name_that_is_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.npz"
    done = subprocess.run([sys.executable, "-m", "simmoe", "trace", "check", name], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "unknown trace" in done.stderr, done.stderr
    os.rename(write_trace(tmp_path / "t.npz"), name)
    done = subprocess.run([sys.executable, "-m", "simmoe", "trace", "check", name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_fault_33_a_terminal_of_few_characters():
    done = call(
        "run",
        "--hw",
        "a100",
        "--trace",
        "oracle",
        "--budget",
        "50%",
        "--tokens",
        "64",
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr


# --- 34: versions ---------------------------------------------------------------------------------------------------


def test_fault_34_optuna_that_can_do_what_is_used():
    """A journal takes a lock file by `grace_period` since 4.3."""
    import re
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    floor = next(re.fullmatch(r"optuna>=(\d+)\.(\d+)", one) for one in wanted if one.startswith("optuna"))
    assert floor and tuple(map(int, floor.groups())) >= (4, 3)


# --- 38: the benchmarks ---------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.slow
def test_fault_38_the_benchmarks_need_no_activated_environment(tmp_path):
    """With an empty PATH, and from a Python that has no `simmoe` beside it."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    here = os.pathsep.join(one for one in (os.environ.get("PYTHONPATH"), *sys.path[1:]) if one)
    where = {
        **os.environ,
        "PATH": "",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{here}",
        "SIMMOE_CACHE": str(tmp_path / "cache"),
    }
    words = [str(python), "-m", "benchmarks", "--only", "start", "--rounds", "1", "--json"]
    done = subprocess.run(words, cwd=ROOT, env=where, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert all(seconds > 0 for seconds in json.loads(done.stdout).values()) and len(json.loads(done.stdout)) == 5


def test_fault_34_the_lowest_versions_are_those_of_pyproject():
    """What CI installs for its leg of the lowest versions: an exact version for every floor, and each package once."""
    import re
    import tomllib

    words = [sys.executable, str(ROOT / ".ci" / "lowest.py"), "fast", "sweep", "test"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [one for extra in ("fast", "sweep", "test") for one in project["optional-dependencies"][extra]]
    floors = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(project["dependencies"] + extras)))
    exact = dict(re.findall(r"([\w-]+)==([\d.]+)", " ".join(lines)))
    assert exact == floors and len(floors) > 12
    names = [re.match(r"[\w-]+", line)[0] for line in lines]  # type: ignore[index]
    assert len(names) == len(set(names)), "a package stands with two floors"


def test_a_member_that_is_no_array_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """numpy gives the bytes of a member that is cut before the head of an array."""
    path = tmp_path / "cut.npz"
    bundled = Path(importlib.import_module("simmoe.workloads.format.trace").BUNDLED)
    with zipfile.ZipFile(bundled / "switch.npz") as whole, zipfile.ZipFile(path, "w") as cut:
        for name in whole.namelist():
            cut.writestr(name, whole.read(name)[: 3 if name == "sequence.npy" else None])
    assert main(["trace", "check", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "sequence is no array" in line
