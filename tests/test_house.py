"""The house: who may import whom, what the wheel holds, what stands in no file."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    name.removeprefix("simmoe").lstrip(".") or "simmoe": path
    for name, path in CONFIG["tool"]["setuptools"]["package-dir"].items()
}
HEAVY = {"torch", "optuna", "numba", "plotly", "tokenizers", "transformers", "scipy"}
MAY_IMPORT = {  # folder -> simmoe sub-packages it may import
    "simulator": {"simulator"},
    "policies": {"policies", "simulator"},
    "hardware_profiles": {"hardware_profiles", "simulator"},
    "workloads": {"workloads", "simulator"},
    "sweeps": {"sweeps", "simmoe", "simulator", "policies", "hardware_profiles", "workloads"},
}
TORCH_FILES = {
    "workloads/ablation.py",
    "workloads/noisy_balance.py",
    "workloads/backbone.py",
    "workloads/foresight.py",
    "workloads/make.py",
    "workloads/oracle_space.py",
    "workloads/training.py",
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


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_who_imports_whom(folder):
    for path in sources(folder):
        for name in imports(path):
            if name.split(".")[0] == "simmoe":
                parts = name.split(".")
                part = parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "simmoe"
                assert part in MAY_IMPORT[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_heavy_packages_are_imported_only_where_they_are_needed():
    for folder in FOLDERS:
        for path in sources(folder):
            name = str(path.relative_to(ROOT))
            heavy = {m.split(".")[0] for m in imports(path, top_level=True)} & HEAVY
            if (
                heavy
                and name not in TORCH_FILES
                and not name.startswith(("workloads/routers/", "workloads/offload/", "sweeps/"))
            ):
                pytest.fail(f"{name} imports {heavy} at module level")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"git {arguments[0]} does not work here: {done.stderr.strip()}")
    return done.stdout


def test_the_wheel_holds_the_tracked_files_of_the_mapped_folders(tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("no git history here")
    subprocess.run(["tar", "-x", "-C", str(copy)], input=archive.stdout, check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-build-isolation",
            "--no-deps",
            "-w",
            str(tmp_path),
            str(copy),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = set()
    for name, folder in CONFIG["tool"]["setuptools"]["package-dir"].items():
        for file in git("ls-tree", "-r", "--name-only", "HEAD", folder).splitlines():
            tracked.add(f"{name.replace('.', '/')}/{Path(file).relative_to(folder)}")
    assert held == tracked
