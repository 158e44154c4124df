"""A user's policy file: what it gets wrong is one line that names file, function and event, the same in both engines."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from simmoe import policies
from simmoe.cli.main import main
from simmoe.simulator import binding
from simmoe.simulator.decide import guard, names
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import FIRST_EVENTS, Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import emitter, layer
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import rates, serve
from simmoe.simulator.time.recurrence import CompiledPlayer
from tests.conftest import one_layer

ENGINES = [Player()] if compiled.missing() else [Player(), CompiledPlayer()]
COMPILES = pytest.mark.skipif(
    compiled.missing() or bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled here"
)
ROWS = [[0, 1], [2, 3], [0, 4], [5, 1], [2, 0], [3, 5]] * 8
LRU = """
import numpy as np
from simmoe.policies.lists import drop, oldest_free, push, rings
NEEDS = ()
def init(n, room, x):
    return rings(n, 1)
def insert(s, o, event, x):
    push(s[0], s[1], len(s[0]) - 1, o)
def use(s, o, event, x):
    drop(s[0], s[1], o)
    push(s[0], s[1], len(s[0]) - 1, o)
def victim(s, free, event, x):
    return oldest_free(s[1], len(s[1]) - 1, free)
def remove(s, o, event, x):
    drop(s[0], s[1], o)
"""


def with_(head: str, text: str) -> str:
    """LRU with the function that starts with `head`, or the line, replaced."""
    start = LRU.index(head)
    end = LRU.find("\ndef ", start + 1)
    return LRU[:start] + textwrap.dedent(text).strip() + LRU[end if end > 0 else len(LRU) :]


def victim(*body: str) -> str:
    return with_("def victim", "\n    ".join(["def victim(s, free, event, x):", *body]))


def play(file: Path, player: Player, guesses: Guesses | None = None, rows=ROWS, room: int = 3) -> Decisions:
    requests = requests_of(one_layer(rows, 6))
    return decide(requests, np.array([1]), policies.load("eviction", file), room, guesses=guesses, player=player)


@pytest.fixture(params=["interpreted", pytest.param("both", marks=pytest.mark.slow)])
def engines(request) -> list[Player]:
    """Who plays a policy's text: compiling one takes some seconds, so that both engines do it in `make test` alone."""
    return ENGINES if request.param == "both" else ENGINES[:1]


def line_of(tmp_path: Path, text: str, engines=ENGINES, **changes) -> str:
    """The line with which all these engines refuse this policy."""
    file = tmp_path / "mine.py"
    file.write_text(text)
    lines = set()
    for player in engines:
        with pytest.raises(UserError) as refusal:
            play(file, player, **changes)
        lines.add(str(refusal.value))
    (line,) = lines
    assert "\n" not in line
    return line


RULE = "; return an object o with free[o] true, or -1 if there is none"
VICTIMS = {  # event 0 is [0, 1], event 1 is [2, 3]: with room for three, 3 takes the place of 0 or 1
    "not resident": (["return 5"], "returned 5 in event 1, an expert that is not resident"),
    "pinned": (["return 2"], "returned 2 in event 1, an expert that the event pins"),
    "too large": (["return 10**6"], "returned 1000000 in event 1, which is no object: objects are numbered from 0 to 5"),
    "one too large": (["return len(free)"], "returned 6 in event 1, which is no object: objects are numbered from 0 to 5"),
    "below -1": (["return -2"], "returned -2 in event 1, which is no object: objects are numbered from 0 to 5"),
    "-1 without need": (["return -1 if event > 2 else oldest_free(s[1], len(s[1]) - 1, free)"],
                        "returned -1 in event 3, although free[0] is true"),
    "None": (["return None"], "returned None in event 1, which is no whole number"),
    "nothing": (["pass"], "returned None in event 1, which is no whole number"),
    "nothing sometimes": (["if event < 4:", "    return oldest_free(s[1], len(s[1]) - 1, free)"],
                          "returned None in event 4, which is no whole number"),
    "a fraction": (["return .5"], "returned 0.5 in event 1, which is no whole number"),
    "True": (["return True"], "returned True in event 1, which is no whole number"),
    "True sometimes": (["if event == 1:", "    return free[1] > 0", "return oldest_free(s[1], len(s[1]) - 1, free)"],
                       "returned True in event 1, which is no whole number"),  # 1 itself would be legal
}  # fmt: skip


@pytest.mark.parametrize("name", VICTIMS)
def test_a_bad_victim(name, engines, tmp_path):
    body, line = VICTIMS[name]
    assert line_of(tmp_path, victim(*body), engines) == f"policy mine.py: victim() {line}{RULE}"


@pytest.mark.parametrize("buffered", [False, True])
def test_a_bad_victim_of_a_prefetch(buffered, engines, tmp_path):
    """At the end of event 1 the prefetch of 2 needs room; in a buffer it needs it in event 2, when it moves into the cache."""
    guesses = Guesses(np.array([0, 0, 1, 1]), np.array([2]), buffered)
    for out, wrong in ((2, ", an expert that is not resident"), (-1, ", although free[0] is true")):
        found = line_of(tmp_path, victim(f"return {out}"), engines, guesses=guesses, rows=[[0], [1], [2]], room=2)
        assert found == f"policy mine.py: victim() returned {out} in event {1 + buffered}{wrong}{RULE}"


@pytest.mark.parametrize(
    "text", [victim("return 5"), with_("def remove", "def remove(s, o, event, x):\n    1 // s[0][o] - 9 // 0")]
)
def test_a_file_in_the_folder_of_policies(text, engines, tmp_path, monkeypatch):
    """It counts as part of simmoe, but its errors are the policy's all the same."""
    file = tmp_path / "eviction" / "mine.py"
    file.parent.mkdir()
    file.write_text(text)
    module = types.ModuleType("simmoe.policies.eviction.mine")
    module.__file__ = str(file)
    exec(compile(text, str(file), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(policies, "FOLDER", tmp_path)
    lines = set()
    for player in engines:
        with pytest.raises(UserError, match=r"^policy mine\.py: (victim|remove)\(\) ") as refusal:
            play(Path("mine"), player)
        lines.add(str(refusal.value))
    assert len(lines) == 1


def test_minus_one_is_right_when_the_event_pins_everything(engines, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LRU)
    for player in engines:
        made = play(file, player, rows=[[0, 1, 2, 3], [4, 5, 0]], room=2)
        assert made.evicted.tolist() == [0, 1, 2, 3, 4]


ERRORS = {
    "an index": (("def use", """
        def use(s, o, event, x):
            if event == 5:
                s[0][o + 50] = 1
        """), "use() failed in event 5 at line 11: IndexError: list assignment index out of range"),
    "an index that is only read": (("def use", """
        def use(s, o, event, x):
            if event == 5:
                s[0][0] += 0 * x.size_bytes[o + 50]
        """), "use() failed in event 5 at line 11: IndexError: list index out of range"),
    "an index below the first": (("def victim", """
        def victim(s, free, event, x):
            return free[0 - 7 - event]
        """), "victim() failed in event 1 at line 13: IndexError: list index out of range"),
    "a ring that is damaged": (("def remove", """
        def remove(s, o, event, x):
            s[1][o] = 2**31
            drop(s[0], s[1], o)
        """), "remove() failed in event 1 at line 16: IndexError: list assignment index out of range"),
    "a division": (("def insert", """
        def insert(s, o, event, x):
            push(s[0], s[1], len(s[0]) - 1, o // (event - 1))
        """), "insert() failed in event 1 at line 8: ZeroDivisionError: integer division or modulo by zero"),
    "an overflow": (("def insert", """
        def insert(s, o, event, x):
            s[0][o] = int(10.0 ** (1000 * event))
        """), "insert() failed in event 1 at line 8: OverflowError: "),
    "NumPy": (("def insert", """
        def insert(s, o, event, x):
            np.zeros(-1)
        """), "insert() failed in event 0 at line 8: ValueError: negative dimensions are not allowed"),
    "its own raise": (("def remove", """
        def remove(s, o, event, x):
            raise KeyError("o")
        """), "remove() failed in event 1 at line 15: KeyError: 'o'"),
    "the end of Python": (("def remove", """
        def remove(s, o, event, x):
            raise SystemExit
        """), "remove() failed in event 1 at line 15: SystemExit"),
    "init": (("def init", """
        def init(n, room, x):
            return np.zeros(n // (n - 6))
        """), "init() failed at line 6: ZeroDivisionError: integer division or modulo by zero"),
    "init returns a list": (("def init", """
        def init(n, room, x):
            return [np.zeros(n, np.int64)]
        """), "init() returned [array([0, 0, 0, 0, 0, 0])]; it must return a tuple of flat integer arrays"),
    "init returns nothing": (("def init", """
        def init(n, room, x):
            pass
        """), "init() returned None; it must return a tuple of flat integer arrays"),
    "init returns fractions": (("def init", """
        def init(n, room, x):
            return *rings(n, 1), np.zeros(n), 3
        """), "init() returned (uint16 array of shape (7,), uint16 array of shape (7,), float64 array of shape (6,), 3)"),
    "init returns a table": (("def init", """
        def init(n, room, x):
            return np.zeros((n, 2), int),
        """), "init() returned (int64 array of shape (6, 2))"),
    "init without a return of what is needed": (("def init", """
        def init(n, room, x):
            return ()
        """), "insert() failed in event 0 at line 8: IndexError: tuple index out of range"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_a_hook(name, engines, tmp_path):
    change, line = ERRORS[name]
    found = line_of(tmp_path, with_(*change), engines)
    assert found.startswith(f"policy mine.py: {line}"), found


ENDLESS = {
    "while": (("def victim", """
        def victim(s, free, event, x):
            o = 0
            while o < 99:
                o -= o
            return o
        """), "victim() failed in event 1 at line 14"),
    "in a helper of its own": (("def use", """
        def spin(s):
            while True:
                s[0][0] += 0
        def use(s, o, event, x):
            if event == 2:
                spin(s)
        """), "use() failed in event 2 at line 10"),
    "in a bundled helper": (("def insert", """
        def insert(s, o, event, x):
            s[1][o] = o
            s[1][len(s[0]) - 1] = o
        """), "victim() failed in event 1 at line 14"),
    "init": (("def init", """
        def init(n, room, x):
            while n:
                room += 1
            return rings(n, 1)
        """), "init() failed at line 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_a_loop_without_end(name, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_TURNS", 12_345)
    policies._twin.cache_clear()
    change, line = ENDLESS[name]
    found = line_of(tmp_path, with_(*change), engines)
    policies._twin.cache_clear()
    assert found == f"policy mine.py: {line}: TimeoutError: a loop turned more than 12,345 times"


def test_a_loop_is_stopped_but_not_before_its_bound(engines, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_TURNS", 1000)
    for turns in (1000, 1001):
        file = tmp_path / f"turns{turns}.py"
        file.write_text(with_("def remove", f"""
            def remove(s, o, event, x):
                for i in range({turns}):
                    s[0][0] += 0
                drop(s[0], s[1], o)
            """))  # fmt: skip
        for player in engines:
            if turns == 1000:
                assert len(play(file, player).evicted) > 20
            else:
                with pytest.raises(UserError, match=r"turns1001.py: remove\(\) failed in event 1"):
                    play(file, player)


LOADED = "eviction policy mine.py cannot be loaded:"
FILES = {
    "a syntax error": (("def use", "def use(s, o, event, x)"), f"{LOADED} SyntaxError: "),
    "an error while it is loaded": (("NEEDS", "NEEDS = 1 / 0"), f"{LOADED} ZeroDivisionError: division by zero"),
    "an exit": (("NEEDS", "raise SystemExit(0)"), f"{LOADED} SystemExit: 0"),
    "NEEDS a string": (("NEEDS", 'NEEDS = "next_use"'), "policy mine.py has NEEDS = 'next_use'; it must be a tuple"),
    "NEEDS the unknown": (("NEEDS", 'NEEDS = ("future",)'),
                          "policy mine.py has NEEDS = ('future',); it must be a tuple that names none or some of next_use, ahead, "),
    "NEEDS a number": (("NEEDS", "NEEDS = 5"), "policy mine.py has NEEDS = 5; it must be a tuple"),
    "NEEDS without what is read": (("NEEDS", "def miss(s, o, event, x):\n    x.next_use[o]"),
                                   'policy mine.py line 5 reads x.next_use but NEEDS does not name it; write NEEDS = ("next_use",)'),
    "a field that x lacks": (("NEEDS", "def miss(s, o, event, x):\n    x.sizes[o]"),
                             "policy mine.py line 5 reads x.sizes; x has size_bytes, events, next_use, random_high, random_low, "),
    "too few arguments": (("def use", "def use(s, o):\n    pass"),
                          "policy mine.py line 9 defines use(s, o); the machine calls use(s, o, event, x)"),
    "arguments by star": (("def use", "def use(*a):\n    pass"),
                          "policy mine.py line 9 defines use(*a); the machine calls use(s, o, event, x)"),
    "another name for a hook": (("def remove", "remove = use"), "policy mine.py has a remove that is no function defined with def"),
    "a number for a hook": (("def remove", "remove = 3"), "policy mine.py has a remove that is no function defined with def"),
    "no victim": (("def victim", ""), "policy mine.py defines no victim(s, free, event, x), which says what leaves"),
    "a name of the machine": (("NEEDS", "def computed(s, o):\n    pass"),
                              "policy mine.py defines computed, a name of the machine; rename it (reserved: DROP, DROPPED, EVICTIONS, "),
    "a constant of the machine": (("NEEDS", "USED = 7"), "policy mine.py defines USED, a name of the machine; rename it"),
    "a name of a helper": (("NEEDS", "def move(s, o):\n    pass"),
                           "policy mine.py defines move, as simmoe.policies.lists does, from which it imports; rename it"),
    "recursion": (("NEEDS", "def f(o):\n    return g(o) if o else 0\ndef g(o):\n    return f(o)"),
                  "policy mine.py line 4 defines f(), which calls itself; write a loop"),
    "a write to free": (("def use", "def use(s, o, event, x):\n    pass\ndef miss(s, free, event, x):\n    free[0] = 1"),
                        "policy mine.py line 12 writes to free[0], which belongs to the machine"),
    "a write to x": (("def use", "def use(s, o, event, x):\n    x.size_bytes[o] += 1"),
                     "policy mine.py line 10 writes to x.size_bytes[o], which belongs to the machine"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_breaks_a_rule(name, tmp_path):
    change, line = FILES[name]
    found = line_of(tmp_path, with_(*change))
    assert found.startswith(line), found


def test_a_helper_in_the_package_that_bears_a_name_of_the_machine(tmp_path, monkeypatch):
    """A module that somebody added beside policies/lists.py."""
    path = tmp_path / "extra.py"
    path.write_text("def promote(o):\n    return o\n")
    module = types.ModuleType("simmoe.policies.extra")
    module.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "simmoe.policies.extra", module)
    found = line_of(tmp_path, with_("NEEDS", "from simmoe.policies.extra import promote"))
    assert found.startswith(
        "policy mine.py imports simmoe.policies.extra, which defines promote, a name of the machine; rename it"
    )


def test_what_is_reserved_is_what_the_machine_defines():
    """By the text of the file, not by the module that `reserved` reads."""
    import ast

    tree = ast.parse(Path(machine.__file__).read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    constants = [
        n.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for n in ast.walk(node.targets[0])
        if isinstance(n, ast.Name)
    ]
    assert sorted(names.reserved()) == sorted(
        [*functions, *constants, "DROP", "LOAD", "LOW", "SUBSTITUTE", "VERSION", "serve"]
    )
    assert {"play", "computed", "not_placed", "not_ruled", "judge", "serve", "USED"} <= set(names.reserved())
    clock = {name for module in (layer, emitter, rates, serve) for name in binding.functions(module)}
    assert set().union(*compiled.UNCALLED.values()) <= clock


def test_the_page_on_policies_says_where_the_reserved_names_stand():
    page = (Path(__file__).parent.parent / "docs" / "extending" / "README.md").read_text()
    assert "`simulator/decide/residency.py`" in page
    assert not [name for name in names.reserved() if f"`{name}`" in page], "a list goes stale; name the file"
    assert f"{guard.MOST_TURNS:,} times" in page and f"first {FIRST_EVENTS:,} events" in page


@COMPILES
@pytest.mark.slow
def test_what_cannot_be_compiled_is_named_and_plays_interpreted(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(victim("return min(o for o, may in enumerate(list(free)) if may)"))
    assert len(play(file, Player()).evicted) > 20
    with pytest.raises(
        UserError, match=r"^policy mine\.py cannot be compiled: .*; --engine simpy plays it, docs/extending/README"
    ):
        play(file, CompiledPlayer())


@COMPILES
@pytest.mark.slow
def test_what_fails_only_compiled_is_named(tmp_path):
    """A number that outgrows 64 bits becomes 0 in compiled text and is then divided by."""
    file = tmp_path / "mine.py"
    file.write_text(with_("def use", """
        def use(s, o, event, x):
            half = 4294967296 + s[0][0] * 0
            s[0][0] += 5 // (half * half)
        """))  # fmt: skip
    with pytest.raises(
        UserError, match=r"^policy mine\.py fails only when it is compiled: .*zero.*; --engine simpy plays it"
    ):
        play(file, CompiledPlayer())


NAMED = LRU.replace("import numpy as np", "from typing import NamedTuple\nimport numpy as np").replace(
    "NEEDS = ()", "class State(NamedTuple):\n    older: np.ndarray\n    newer: np.ndarray\n    tally: np.ndarray\n"
).replace("return rings(n, 1)", "zeros = np.zeros(n, np.int8)\n    return State(*rings(n, 1), zeros)").replace(
    "    drop(s[0], s[1], o)\n    push", "    s.tally[o] += 100\n    drop(s[0], s[1], o)\n    push"
).replace("return oldest", "return -1 if s.tally[0] > 9999 else oldest")  # fmt: skip


def test_a_named_state_counts_alike_in_both_engines(engines, tmp_path):
    """Beyond its 8 bits too: interpreted numbers have no size."""
    file, other = tmp_path / "named.py", tmp_path / "lru.py"
    file.write_text(NAMED)
    other.write_text(LRU)
    for player in engines:
        assert play(file, player).evicted.tolist() == play(other, player).evicted.tolist()
        rows = [[0]] * 101 + [[1, 2, 3, 4]]
        with pytest.raises(
            UserError, match=r"named.py: victim\(\) returned -1 in event 101, although free\[0\] is true"
        ):
            play(file, player, rows=rows)


def test_a_changed_file_is_loaded_again(engines, tmp_path):
    """In one process, as in a notebook."""
    file, found = tmp_path / "mine.py", []
    for text in (LRU, LRU.replace("    drop(s[0], s[1], o)\n    push(s[0], s[1], len(s[0]) - 1, o)", "    pass")):
        file.write_text(text)
        found.append([play(file, player).evicted.tolist() for player in engines])
    assert found[0] != found[1] == [play(Path("fifo"), player).evicted.tolist() for player in engines]


def test_a_file_of_the_users_wins_over_a_bundled_policy_that_was_loaded_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundled = policies.load("eviction", "lru")
    assert policies.load("eviction", "lru") is bundled
    (tmp_path / "lru").write_text(LRU)
    assert policies.load("eviction", "lru").__file__ == str(tmp_path / "lru")
    (tmp_path / "lru").unlink()
    assert policies.load("eviction", "lru") is bundled


@COMPILES
@pytest.mark.slow
def test_a_named_state_is_found_in_the_kernel_cache(tmp_path):
    """The second process compiles nothing: numba counts a hit in its cache."""
    (tmp_path / "named.py").write_text(NAMED)
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from simmoe import policies
        from simmoe.simulator.decide.absent import absent
        from simmoe.simulator.time import compile as compiled
        from simmoe.simulator.time.recurrence import CompiledPlayer
        from tests.test_user_policies import play
        play(Path(sys.argv[1]), CompiledPlayer())
        lacks = absent((), prefetching=False, placed=False, rule=None)
        kernel = compiled.kernels(policies.load("eviction", sys.argv[1]), lacks, None).play
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
    """)
    environment = {**os.environ, "SIMMOE_CACHE": str(tmp_path / "cache")}
    found = [
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "named.py")], env=environment, text=True, check=True,
                       stdout=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    assert [one.stdout.split() for one in found] == [["0", "1"], ["1", "0"]]


def test_hooks_that_were_not_imported_stay_empty(engines, tmp_path):
    """FIFO by LRU's hooks without its `use`: the compiled text must not take that one along."""
    file = tmp_path / "mine.py"
    file.write_text("from simmoe.policies.eviction.lru import init, insert, remove, victim\n")
    for player in engines:
        assert play(file, player).evicted.tolist() == play(Path("fifo"), player).evicted.tolist()
        assert play(file, player).evicted.tolist() != play(Path("lru"), player).evicted.tolist()


def test_arrays_that_share_memory_are_two_in_both_engines(engines, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        with_("def init", "def init(n, room, x):\n    a = np.zeros(n, np.int64)\n    return *rings(n, 1), a, a")
        .replace("    drop(s[0], s[1], o)\n    push", "    s[2][o] = 1\n    drop(s[0], s[1], o)\n    push")
        .replace("return oldest", "return -2 if s[3][0] else oldest")
    )
    for player in engines:
        assert len(play(file, player).evicted) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", ["simpy", pytest.param("fast", marks=pytest.mark.skipif(compiled.missing(), reason="no numba"))]
)
def test_the_command_prints_one_line(engine, tmp_path, capsys):
    (tmp_path / "cheat.py").write_text(victim("return 3"))
    arguments = ["run", "--hw", "a100", "--trace", "oracle", "--budget", "25%", "--tokens", "200", "--engine", engine]
    assert main([*arguments, "--eviction", str(tmp_path / "cheat.py")]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and "policy cheat.py: victim() returned 3 in event" in out.err
