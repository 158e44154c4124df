"""llama.cpp from the source distribution of its Python binding, and beside it the small program of driver.cpp. Built once, and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "0.3.36"  # of llama-cpp-python
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=ON", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF",
)  # fmt: skip
DRIVER = Path(__file__).with_name("driver.cpp")


def folder() -> Path:
    """Where all of it is kept: SIMMOE_REAL, or a folder in the user's cache."""
    return Path(os.environ.get("SIMMOE_REAL") or Path.home() / ".cache" / "simmoe" / "real")


def source() -> Path:
    """llama.cpp's own folder in the source distribution."""
    return folder() / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"


def driver() -> Path:
    return folder() / "driver"


def missing() -> str:
    """Why llama.cpp cannot be asked anything; empty where it is built."""
    if not driver().exists():
        return f"llama.cpp is not built in {folder()}: python -m tests.real --build, which needs cmake, a C++ compiler and PyPI"
    if driver().stat().st_mtime < DRIVER.stat().st_mtime:
        return "tests/real/driver.cpp is newer than what was built of it: python -m tests.real --build"
    return ""


def build() -> None:
    """Raises an error of what was run where something is missing or goes wrong."""
    folder().mkdir(parents=True, exist_ok=True)
    if not source().exists():
        _download()
    made = folder() / "build"
    options = [f"-D{option}" for option in OPTIONS]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run("cmake", *generator, "-S", source(), "-B", made, *options)
    _run("cmake", "--build", made, "--target", "llama", "-j", os.cpu_count() or 1)
    libraries = made / "bin"
    _run(
        "c++", "-std=c++17", "-O2", f"-I{source()}/include", f"-I{source()}/ggml/include", DRIVER, "-o", driver(),
        f"-L{libraries}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{libraries}",
    )  # fmt: skip


def _download() -> None:
    """The source distribution, unpacked. pip asks its build system for its name, so cmake's Python helper is downloaded too."""
    name = f"llama-cpp-python=={VERSION}"
    _run(
        sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", name, "-d", folder()
    )  # fmt: skip
    with tarfile.open(next(folder().glob(f"llama_cpp_python-{VERSION}.tar.gz"))) as archive:
        archive.extractall(folder(), filter="data")


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)
