"""simmoe: how fast will this Mixture-of-Experts model run on that machine, and what should I change?

The public names are `replay` (cache behaviour of a trace alone), `run` (with time, on a machine), `ladder` (over budgets),
`compare` (machines), `sweep` (a space), `locality` (of a trace's routing), `load_trace`, `load_hardware`, `load_model` and
the types they take and return. They are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "replay": "simmoe.replaying", "Replay": "simmoe.replaying",
    "run": "simmoe.running", "Run": "simmoe.result", "Workload": "simmoe.workload", "Plan": "simmoe.planning",
    "sweep": "simmoe.sweeping", "Sweep": "simmoe.sweeping",
    "compare": "simmoe.comparing", "Comparison": "simmoe.comparing",
    "locality": "simmoe.workloads.locality",
    "ladder": "simmoe.laddering", "Ladder": "simmoe.laddering",
    "Counts": "simmoe.simulator.runlog", "Trace": "simmoe.simulator.types", "Hardware": "simmoe.simulator.types",
    "ModelShape": "simmoe.simulator.types", "UserError": "simmoe.simulator.errors",
}  # fmt: skip
_RENAMED = {
    "load_trace": ("simmoe.workloads.trace", "load"), "save_trace": ("simmoe.workloads.trace", "save"),
    "load_hardware": ("simmoe.hardware_profiles", "load"), "load_model": ("simmoe.workloads.models", "load"),
}  # fmt: skip
__all__ = ["__version__", *_HOME, *_RENAMED]

if TYPE_CHECKING:
    from simmoe.comparing import Comparison, compare
    from simmoe.hardware_profiles import load as load_hardware
    from simmoe.laddering import Ladder, ladder
    from simmoe.planning import Plan
    from simmoe.replaying import Replay, replay
    from simmoe.result import Run
    from simmoe.running import run
    from simmoe.simulator.errors import UserError
    from simmoe.simulator.runlog import Counts
    from simmoe.simulator.types import Hardware, ModelShape, Trace
    from simmoe.sweeping import Sweep, sweep
    from simmoe.workload import Workload
    from simmoe.workloads.locality import locality
    from simmoe.workloads.models import load as load_model
    from simmoe.workloads.trace import load as load_trace
    from simmoe.workloads.trace import save as save_trace


def __getattr__(name: str) -> object:
    home, attribute = _RENAMED.get(name) or (_HOME.get(name), name)
    if home is None:
        raise AttributeError(f"module 'simmoe' has no attribute {name!r}")
    return getattr(import_module(home), attribute)
