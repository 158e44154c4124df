"""What an engine's own flags say of a scenario: each becomes the option that means the same, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from simmoe.play.passes import clock_driven
from simmoe.play.room import takes
from simmoe.policies.flags import blocks
from simmoe.simulator.errors import UserError

if TYPE_CHECKING:
    from simmoe.policies.flags import Flags
    from simmoe.simulator.nouns.hardware import Hardware
    from simmoe.simulator.nouns.model import Layer, ModelShape
    from simmoe.simulator.nouns.runtime import Runtime

SAME = (
    "model",
    "context",
    "microbatch",
    "threads",
    "batch_threads",
    "op_offload",
    "gpu_layers",
    "prompt",
    "generate",
    "depth",
)  # by one name in both
DEVICES = ("split_mode", "tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel")
NOTHING = (  # of what the line says: no part of a simulated time or memory
    "engine", "batch", "mlock", "repack", "host_buffer", "flash_attention", "graphs", "thread_pools",
    "only_active_experts", "gpu_memory_share", "gpu_memory_bytes", "cpu_memory_bytes", "ignored", "overrides_before_cpu_moe",
)  # fmt: skip
LLAMA_CPP = ("llama.cpp", "ik_llama.cpp")
MICROBATCH = 512  # their own -ub
UNQUANTISED = ("f32", "f16", "bf16")
AS_BY_ITSELF = (  # field, a value that says what holds without it, the option, and the word there that says the same
    ("cpu_moe_blocks", 0, "placement", "n_cpu_moe=0"), ("parallel", 1, "batch", 1), ("kv_on_cpu", False, "kv_offload", True),
    ("mmap", True, "mmap", True),
)  # fmt: skip
HONOURED = (*SAME, "mmap", "cpu_moe_blocks", "k_format", "v_format", "parallel", "kv_on_cpu", "tensor_split")


def options_of(flags: Flags, schedule: str = "recorded", max_batch: int | None = None) -> dict[str, Any]:
    """Options of a scenario by name, which has that schedule, and says so many sequences itself. Raises UserError for what no option says
    yet."""
    said = {name: value for name, value in vars(flags).items() if value is not None and value != ()}
    said = {name: value for name, value in said.items() if value is not False or name == "op_offload"}
    if (tokens := pass_tokens(flags)) is not None:
        said["microbatch"] = tokens
    if devices := [name for name in DEVICES if said.get(name) not in (None, 1, "none", "layer")]:
        name = devices[0].replace("_", " ")
        raise UserError(
            f"--flags: {name} {said[devices[0]]} splits each layer over several devices, which is not simulated under a runtime; with -sm "
            "layer llama.cpp deals whole layers to them, and the ideal runtime has --timeline tensor_parallel and expert_parallel"
        )
    for name in said:
        if name not in (*HONOURED, *NOTHING, *DEVICES):
            raise UserError(f"--flags: {name.replace('_', ' ')} is not simulated under this runtime; leave it out")
    found = {name: said[name] for name in SAME if said.get(name) is not None}
    found |= _of_caches(flags)
    if flags.mmap is False:
        found["mmap"] = False
    if flags.cpu_moe_blocks:
        found["placement"] = f"n_cpu_moe={flags.cpu_moe_blocks}"
    if flags.tensor_split:
        found["tensor_split"] = "/".join(f"{share:.15g}" for share in flags.tensor_split)
    if (module := clock_driven(schedule)) is not None:
        return _where_requests_arrive(found, flags, module, max_batch)
    if flags.parallel not in (None, 1):
        found["batch"] = flags.parallel
    return found


def _where_requests_arrive(
    found: dict[str, Any], flags: Flags, module: ModuleType, max_batch: int | None
) -> dict[str, Any]:
    """There the sequences are those that may run together, and what an engine takes at once are the rows of a pass."""
    if flags.parallel is not None:
        found["max_batch"] = flags.parallel
    elif (
        flags.context is not None and flags.engine in LLAMA_CPP and "microbatch" in takes(module)
    ):  # slots, of which -c is
        found["context"] = max(flags.context // (max_batch or module.usual(0, "")[0]), 1)
    if "max_tokens" in takes(module):
        rows = flags.batch if flags.engine in LLAMA_CPP else found.pop("microbatch", None)
        found |= {} if rows is None else {"max_tokens": rows}
    return found


def refuse_one_of_several(flags: Flags, hw: Callable[[], Hardware]) -> None:
    """Raises UserError where the flags take one card of a machine of several; `hw` is asked only where they may."""
    if flags.split_mode == "none" and len((machine := hw()).devices) > 1:
        raise UserError(
            f"--flags: split mode none uses one card, and {machine.name} has several: name the one that it uses"
        )


def of_layers(flags: Flags, engine: Runtime, model: Callable[[], ModelShape]) -> tuple[Flags, dict[str, Any]]:
    """The flags without what depends on the model's layers, and options that say that; `model` is asked only where it does."""
    if flags.cpu_offload_bytes and engine.only_stores:
        flags = stored(flags, model())
    if flags.tensor_overrides:
        flags = blocks.without_overrides(flags, model().layers)
    return (flags, {}) if flags.gpu_experts is None else placed_experts(flags, model())


def stored(flags: Flags, model: ModelShape) -> Flags:
    """The flags of an engine that keeps so many bytes of the first layers in host memory, with the layers that are left to the GPU, the
    output as one more. vLLM counts parameter by parameter; here it is the nearest number of whole layers."""
    gone, number = 0, 0
    for layer in model.layers:
        size = layer_bytes(layer)
        if gone + size / 2 > (flags.cpu_offload_bytes or 0):
            break
        gone, number = gone + size, number + 1
    return replace(flags, cpu_offload_bytes=None, gpu_layers=len(model.layers) + 1 - number)


def layer_bytes(layer: Layer) -> int:
    return layer.attention.bytes + layer.ffn.bytes + layer.shared.bytes + layer.expert_bytes


def placed_experts(flags: Flags, model: ModelShape) -> tuple[Flags, dict[str, Any]]:
    """The flags of an engine that keeps so many experts of each layer on the GPU, and the placement that says so."""
    every, kept = max(layer.n_experts for layer in model.layers), flags.gpu_experts
    bare = replace(flags, gpu_experts=None)
    return bare, {} if kept is None or kept >= every else {"placement": f"random={100 * kept / every:.15g}%"}


def pass_tokens(flags: Flags) -> int | None:
    """The most tokens of a pass; None: as the engine says. llama.cpp makes no pass larger than what it is handed at once (-b)."""
    if flags.engine in LLAMA_CPP and flags.batch is not None and flags.batch < (flags.microbatch or MICROBATCH):
        return flags.batch
    return flags.microbatch


def _of_caches(flags: Flags) -> dict[str, Any]:
    """Format, place and length of the KV cache. Raises UserError for what is not simulated, or what llama.cpp refuses."""
    found: dict[str, Any] = {}
    keys, values = (one or "f16" for one in flags.kv_formats)
    if keys != values:
        raise UserError(f"--flags: keys in {keys} and values in {values} are not simulated; give both one format")
    if values not in UNQUANTISED and flags.flash_attention is False:
        raise UserError(f"--flags: values in {values} need flash attention; leave -fa off out, or -ctk and -ctv")
    if flags.k_format is not None or flags.v_format is not None:
        found["kv_format"] = keys
    if flags.kv_on_cpu:
        found["kv_offload"] = False
    if flags.context is not None and flags.engine in LLAMA_CPP:  # -c is of all sequences together
        found["context"] = max(flags.context // (flags.parallel or 1), 1)
    return found


def merged(
    options: Mapping[str, Any], defaults: Mapping[str, Any], flags: Flags, of_model: Mapping[str, Any]
) -> dict[str, Any]:
    """The options with what the flags say. of_model: options that the flags say of this model. Raises UserError where both say something,
    and not the same."""
    found = dict(options)
    for field, said, name, same in AS_BY_ITSELF:
        if getattr(flags, field) == said and options[name] not in (defaults[name], same):
            raise UserError(
                f"--flags say the opposite of --{name.replace('_', '-')} {options[name] or 'none'}; say it once"
            )
    for name, value in {**options_of(flags, options["schedule"], options["max_batch"]), **of_model}.items():
        if name == "model" and options[name] is not None:
            continue  # a file or a repository of that model, in the engine's words
        if options[name] not in (defaults[name], value):
            raise UserError(
                f"--flags say {name.replace('_', '-')} {value}, and --{name.replace('_', '-')} {options[name]}; say it once"
            )
        found[name] = value
    return found
