"""What a machine must state so that an engine's constants stand on something."""

from __future__ import annotations

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.runtime import Runtime

CPU = "cpu"  # name of a device that is no GPU
EXAMPLES = {
    "processors": "processors: {value: 128, kind: nominal, source: data sheet}",
    "clock": "clock: {value: 2.52 GHz, kind: nominal, source: data sheet}",
}


def check_figures(hw: Hardware, runtime: Runtime) -> None:
    """Raises UserError for a machine of which something is not known that the engine's constants multiply."""
    unit = hw.device
    _check_device(hw, runtime)
    stated = {"processors": unit.processors, "clock": unit.clock_hz}
    asked = [
        path for path in ("decode.kernel", "decode.per_clock", "prompt.flops_per_clock") if runtime.of(path) is not None
    ]
    for name, figure in stated.items() if asked else ():
        may_lack = name == "clock" and runtime.device == CPU  # whose FLOP rate then is the profile's
        if figure is None and not may_lack:
            raise UserError(
                f"--runtime {runtime.name}: {hw.name} states no units.{unit.name}.{name}, which {asked[0]} counts by; add it to the "
                f"profile, such as {EXAMPLES[name]}"
            )
    measured = runtime.device == CPU and unit.quantised_bytes_per_s is not None  # no share of the peak is asked for
    if hw.device_memory.peak_bytes_per_s is None and not measured:
        raise UserError(
            f"--runtime {runtime.name}: {hw.name} states no peak.memory_bandwidth, of which decode.memory is a share; add it to the profile"
        )


def _check_device(hw: Hardware, runtime: Runtime) -> None:
    """Raises UserError where the engine computes on a CPU alone and the machine has a GPU, or the other way round."""
    name = hw.device.name
    if runtime.device == CPU and name != CPU:
        raise UserError(
            f"--runtime {runtime.name} computes on the CPU alone, and {hw.name} computes on its {name}: name a box without GPU, such as "
            "--host NAME without --gpu"
        )
    if runtime.device != CPU and name == CPU:
        raise UserError(
            f"--runtime {runtime.name} computes on a GPU, and {hw.name} has none: choose llama_cpp_cpu, or add --gpu NAME"
        )
