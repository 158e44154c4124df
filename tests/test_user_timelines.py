"""A user's timeline: played like a bundled one, and every error of it is one line that names the file, in every engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import simmoe
from simmoe import policies
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled

SERIAL = policies.find("timeline", "serial").read_text("utf-8")
OVERLAPPED = policies.find("timeline", "overlapped").read_text("utf-8")
ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
RUN = {
    "hw": "rtx_4090",
    "trace": "switch",
    "tokens": 200,
    "budget": "25%",
    "prefetch": "next_layer",
    "placement": "popular=75%",
}


def played(file: Path, engine: str) -> simmoe.Run:
    return simmoe.run(**RUN, timeline=str(file), engine=engine)


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [name if name == "plain" else pytest.param(name, marks=pytest.mark.slow) for name in ENGINES]
)
def test_a_copy_of_a_bundled_timeline_plays_alike(engine, tmp_path):
    mine = tmp_path / "mine.py"
    for name, text in (("serial", SERIAL), ("overlapped", OVERLAPPED)):
        mine.write_text(text, "utf-8")
        assert played(mine, engine).clocks == simmoe.run(**RUN, timeline=name, engine=engine).clocks


def changed(old: str, new: str) -> str:
    """The bundled serial timeline with one piece of text replaced."""
    assert old in SERIAL, "the example no longer changes anything"
    return SERIAL.replace(old, new)


BEHIND = "now = cpu_behind(unit, event, decided, beside, now, f, t, w, s, e)"
FIRST = "    first, last"  # line of lower_layer in front of which something is put
BROKEN = {
    "no lower_layer": ("x = 1\n", r"defines no lower_layer\(event, number, size, column, now, f, t, w, s, e\)"),
    "other parameters": (
        "def lower_layer(now, e):\n    return now\n",
        r"defines lower_layer\(now, e\); it must take \(event, ",
    ),
    "a machine's name": (
        SERIAL + "\n\ndef launch(x):\n    return x\n",
        r"defines launch, a name of the machine; rename it",
    ),
    "syntax": ("def lower_layer(:\n", r"timeline policy mine.py cannot be loaded: SyntaxError"),
    "an exception": (changed(FIRST, f"    first = now // 0\n{FIRST}"), r"lower_layer\(\) failed at line \d+ in pass 0"),
    "None": (
        changed("    return now", "    return None"),
        r"pass 0: an operation follows None, which no operation before it",
    ),
    "a made-up handle": (
        changed("    return now", "    return now + 10**6"),
        r"an operation follows \d+, which no operation before",
    ),
    "no end": (changed(FIRST, f"    while True:\n        now += 0\n{FIRST}"), r"a loop turned more than"),
    "no loads": (
        changed("arrives = op_move(link, n, now, f, t, w, s, e)", "arrives = now"),
        r"pass 0: each load must move once",
    ),
    "loads twice": (
        changed("        arrives = op_move", "        op_move(link, n, now, f, t, w, s, e)\n        arrives = op_move"),
        r"pass 0: each load must move once and in order, \d+ in all; \d+ move",
    ),
    "no prefetches": (
        changed("prefetch(now, event, link, f, t, w, s, e)", "pass"),
        r"pass \d+: each guess must move once",
    ),
    "hits forgotten": (
        changed("    if hits > 0:", "    if hits < 0:"),
        r"pass \d+: layer column \d+: .* computed where|needs one LATE",
    ),
    "late hits forgotten": (
        changed("for j in range(late):", "for j in range(0):"),
        r"a hit that READY may find late needs one LATE",
    ),
    "the CPU forgotten": (
        changed(BEHIND, "pass"),
        r"the CPU's experts must be started once and waited",
    ),
    "the CPU before the transfers": (
        changed("        arrives = op_move(", f"        {BEHIND}\n        arrives = op_move(").replace(
            f"    {BEHIND}\n    return", "    return"
        ),
        r"the CPU's experts must be started by cpu_at_once\(\) and cpu_behind\(\) .* around all else of an event",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", BROKEN)
def test_a_timeline_that_errs_is_one_line(what, engine, tmp_path, monkeypatch):
    from simmoe.simulator.decide import guard

    monkeypatch.setattr(guard, "MOST_TURNS", 10**5)
    mine = tmp_path / "mine.py"
    text, line = BROKEN[what]
    mine.write_text(text, "utf-8")
    with pytest.raises(UserError, match=line) as caught:
        played(mine, engine)
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_host_is_waited_for_before_anything_else_of_an_event(engine, tmp_path):
    mine = tmp_path / "mine.py"
    text = policies.find("timeline", "sync").read_text("utf-8")
    wait, rest = "op_host(t.unit[column], event, now, f,", "load_beside(event, number, size, column, now, f,"
    assert wait in text and rest in text
    mine.write_text(text.replace(wait, "(here)").replace(rest, wait).replace("(here)", rest), "utf-8")
    with pytest.raises(
        UserError, match=r"timeline mine.py: pass 0: the host must be waited for once in an event, before all"
    ):
        simmoe.run(**RUN, timeline=str(mine), engine=engine, set=["units.gpu.host_wait=30us"])


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="numba is not installed: pip install 'simmoe[fast]'")
def test_a_timeline_that_numba_cannot_compile_is_one_line(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        SERIAL.replace("    first, last", "    names = {'a': 1, 'b': now}\n    now = names['b']\n    first, last"),
        "utf-8",
    )
    assert played(mine, "plain").tok_s
    with pytest.raises(UserError, match=r"timeline mine.py cannot be compiled: .*; --engine plain plays it"):
        played(mine, "fast")
