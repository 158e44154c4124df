"""The house: who may import whom, and which folders are packages. What is installed stands in test_install.py."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    name.removeprefix("simmoe").lstrip(".") or "simmoe": path
    for name, path in CONFIG["tool"]["setuptools"]["package-dir"].items()
}
HEAVY = {"torch", "optuna", "numba", "plotly", "tokenizers", "transformers", "scipy"}
FLOORS = (  # a folder (or file) imports from itself and from what stands before it in this list, never from what stands behind
    tuple(f"simulator/{name}.py" for name in ("arrays", "errors", "nearest", "files", "plain", "reading", "version")),
    ("simulator/nouns", "simulator/physics"), ("simulator",), ("simulator/decide",), ("simulator/lower",), ("simulator/time",),
    ("policies", "hardware_profiles", "workloads"),
    ("src/simmoe/play",), ("src/simmoe/explain", "src/simmoe/kit"), ("src/simmoe/show", "src/simmoe/calibrate"), ("src/simmoe/plots",),
    ("sweeps",), ("src/simmoe/cli",), ("src/simmoe",),
)  # fmt: skip
TORCH_FILES = {
    "workloads/oracle_moe/ablation.py",
    "workloads/oracle_moe/noisy_balance.py",
    "workloads/oracle_moe/backbone.py",
    "workloads/oracle_moe/foresight.py",
    "workloads/oracle_moe/make.py",
    "workloads/oracle_moe/oracle_space.py",
    "workloads/oracle_moe/training.py",
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / FOLDERS[folder]).rglob("*.py"))


def imports(path: Path, top_level: bool = False) -> set[str]:
    """Modules that a file imports, anywhere or at module level only."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> dict[str, Path]:
    """Every shipped module by its dotted name."""
    found = {}
    for name, folder in CONFIG["tool"]["setuptools"]["package-dir"].items():
        for path in sources(name.removeprefix("simmoe").lstrip(".") or "simmoe"):
            parts = [name, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows() -> dict[str, set[str]]:
    """module -> modules of simmoe that it imports, wherever the import stands; a package's face hands names on and has none."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted = {one if one in known else one.rpartition(".")[0] for one in imports(path) if one.startswith("simmoe.")}
        found[name] = {one for one in wanted if one in known and one != name}
    found["simmoe"] = set()
    return found


def floor(path: Path) -> int:
    """Where a file's folder stands, counted from the ground: its nearest parent that FLOORS names."""
    mine = path.relative_to(ROOT)
    for parent in (mine, *mine.parents):
        for number, folders in enumerate(FLOORS):
            if parent.as_posix() in folders:
                return number
    raise AssertionError(f"{path} stands on no floor")


@pytest.mark.slow
def test_imports_go_down_only():
    known = modules()
    for name, wanted in arrows().items():
        for one in wanted:
            mine, other = known[name], known[one]
            down = floor(mine) > floor(other) or mine.parent == other.parent or _same_room(mine, other)
            assert down, f"{mine.relative_to(ROOT)} imports {other.relative_to(ROOT)}"


def _same_room(mine: Path, other: Path) -> bool:
    """Folders on one floor may not see each other, but a folder sees its own sub-folders."""
    folders = [folder for number in FLOORS for folder in number]
    near = [
        next(p.as_posix() for p in (one.relative_to(ROOT) / "x").parents if p.as_posix() in folders)
        for one in (mine, other)
    ]
    return near[0] == near[1]


@pytest.mark.slow
def test_no_circle_of_files():
    left = arrows()
    while leaves := {name for name, wanted in left.items() if not wanted & left.keys()}:
        left = {name: wanted for name, wanted in left.items() if name not in leaves}
    assert not left, f"these import each other in a circle, or stand above one: {sorted(left)}"


@pytest.mark.slow
def test_heavy_packages_are_imported_only_where_they_are_needed():
    for folder in FOLDERS:
        for path in sources(folder):
            name = str(path.relative_to(ROOT))
            heavy = {m.split(".")[0] for m in imports(path, top_level=True)} & HEAVY
            if (
                heavy
                and name not in TORCH_FILES
                and not name.startswith(("workloads/oracle_moe/routers/", "workloads/offload/", "sweeps/"))
            ):
                pytest.fail(f"{name} imports {heavy} at module level")


def test_every_sub_package_is_listed_for_installation():
    assert sorted(CONFIG["tool"]["setuptools"]["packages"]) == sorted(
        ".".join([name, *path.parent.relative_to(ROOT / folder).parts])
        for name, folder in CONFIG["tool"]["setuptools"]["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    )
