"""What a reader must know of an engine: whose devices its constants are of, and which files it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simmoe.play.engine_files import opened_by
from simmoe.play.usual_runtime import maker, usual_runtime
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.workloads.models.formats import FORMATS, GGUF, SAFETENSORS, files_of

if TYPE_CHECKING:
    from simmoe.play.workload import Workload

NAMES = {GGUF: "GGUF", SAFETENSORS: "safetensors"}
# format of safetensors -> that of a GGUF with about as many bits
AS_GGUF = {
    "mxfp4": "MXFP4_MOE", "fp8": "Q8_0", "fp8_block": "Q8_0", "int8": "Q8_0", "nvfp4": "NVFP4_GGUF", "awq": "Q4_K_M", "gptq": "Q4_K_M",
    "int4": "Q4_0",
}  # fmt: skip


def of_engine(workload: Workload) -> list[str]:
    """One sentence each."""
    return (
        []
        if workload.runtime is None
        else [*_of_another_maker(workload, workload.runtime), *_opens_none(workload, workload.runtime)]
    )


def _of_another_maker(workload: Workload, runtime: Runtime) -> list[str]:
    """Whether the constants of the engine are those of other devices."""
    made = maker(workload.hw)
    if "any" in (runtime.maker, made) or runtime.maker == made:
        return []
    said = f"{runtime.name} has the constants of {runtime.maker} devices, and this one is of {made}"
    return [f"{said}: {usual_runtime(workload.hw)} is usual there"]


def _opens_none(workload: Workload, runtime: Runtime) -> list[str]:
    """Whether the weights are in a format that no file of the engine has."""
    format = workload.model.format
    if format not in FORMATS or set(files_of(format)) & set(opened_by(runtime)):
        return []
    said = f"{runtime.engine} opens {NAMES[opened_by(runtime)[0]]} files, and {format} is a format of {NAMES[files_of(format)[0]]}"
    return [f"{said}: --format {near} has about as many bits" if (near := _near(format)) else said]


def _near(format: str) -> str:
    """The format of the other kind of file with about as many bits; empty where none is known."""
    return AS_GGUF.get(format) or next((other for other, gguf in AS_GGUF.items() if gguf.lower() == format.lower()), "")
