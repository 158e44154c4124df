"""simmoe: how fast will this Mixture-of-Experts model run on that machine, and what should I change?

The public names are `replay` (cache behaviour of a trace alone), `run` (with time, on a machine), `ladder` (over
budgets), `compare` (machines), `compare_policies` (policies beside their bounds), `sweep` (a space), `sensitivity` (to
every figure), `plan` (the fastest command lines of an engine), `serve_curve` (requests under load), `locality` (of a
trace's routing), `Scenario` (all options of a run), `load_scenario`, `load_trace`, `load_hardware`, `load_model`,
`report` (a page of a result), `plots` (its figures one by one) and the types they take and return. They are imported
on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from simmoe.simulator.version import VERSION as __version__

_HOME = {
    "replay": "simmoe.play.replay", "Replay": "simmoe.play.replay",
    "run": "simmoe.play.run", "Run": "simmoe.play.result", "Workload": "simmoe.play.workload", "Plan": "simmoe.play.plan",
    "Scenario": "simmoe.play.scenario", "load_scenario": "simmoe.play.calling",
    "sweep": "simmoe.sweeps.search", "Sweep": "simmoe.sweeps.swept",
    "compare": "simmoe.sweeps.compare", "Comparison": "simmoe.sweeps.comparison",
    "require": "simmoe.sweeps.require", "Boxes": "simmoe.sweeps.require", "Least": "simmoe.sweeps.least",
    "sensitivity": "simmoe.sweeps.sensitivity", "Sensitivity": "simmoe.sweeps.elasticity",
    "locality": "simmoe.workloads.locality",
    "compare_policies": "simmoe.play.policy_table", "PolicyTable": "simmoe.play.policy_table",
    "serve_curve": "simmoe.sweeps.serve_curve", "ServeCurve": "simmoe.sweeps.serve_curve_result",
    "curve": "simmoe.play.curve", "CurveResult": "simmoe.play.curve_result",
    "ladder": "simmoe.play.ladder", "Ladder": "simmoe.play.ladder",
    "plan": "simmoe.play.planning", "CommandLines": "simmoe.play.planning",
    "report": "simmoe.sweeps.reports.written",
    "Counts": "simmoe.simulator.nouns.run", "Trace": "simmoe.simulator.nouns.trace", "Hardware": "simmoe.simulator.nouns.hardware",
    "ModelShape": "simmoe.simulator.nouns.model", "UserError": "simmoe.simulator.errors",
}  # fmt: skip
_RENAMED = {
    "load_trace": ("simmoe.workloads.format.trace", "load"), "save_trace": ("simmoe.workloads.format.trace", "save"),
    "load_hardware": ("simmoe.hardware_profiles", "load"), "load_model": ("simmoe.workloads.models", "load"),
}  # fmt: skip
_PACKAGES = ("plots",)
__all__ = ["__version__", *_HOME, *_RENAMED, *_PACKAGES]

if TYPE_CHECKING:
    from simmoe import plots
    from simmoe.hardware_profiles import load as load_hardware
    from simmoe.play.calling import load_scenario
    from simmoe.play.curve import curve
    from simmoe.play.curve_result import CurveResult
    from simmoe.play.ladder import Ladder, ladder
    from simmoe.play.plan import Plan
    from simmoe.play.planning import CommandLines, plan
    from simmoe.play.policy_table import PolicyTable, compare_policies
    from simmoe.play.replay import Replay, replay
    from simmoe.play.result import Run
    from simmoe.play.run import run
    from simmoe.play.scenario import Scenario
    from simmoe.play.workload import Workload
    from simmoe.simulator.errors import UserError
    from simmoe.simulator.nouns.hardware import Hardware
    from simmoe.simulator.nouns.model import ModelShape
    from simmoe.simulator.nouns.run import Counts
    from simmoe.simulator.nouns.trace import Trace
    from simmoe.sweeps.compare import compare
    from simmoe.sweeps.comparison import Comparison
    from simmoe.sweeps.elasticity import Sensitivity
    from simmoe.sweeps.least import Least
    from simmoe.sweeps.reports.written import report
    from simmoe.sweeps.require import Boxes, require
    from simmoe.sweeps.search import sweep
    from simmoe.sweeps.sensitivity import sensitivity
    from simmoe.sweeps.serve_curve import serve_curve
    from simmoe.sweeps.serve_curve_result import ServeCurve
    from simmoe.sweeps.swept import Sweep
    from simmoe.workloads.format.trace import load as load_trace
    from simmoe.workloads.format.trace import save as save_trace
    from simmoe.workloads.locality import locality
    from simmoe.workloads.models import load as load_model


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return import_module(f"simmoe.{name}")
    home, attribute = _RENAMED.get(name) or (_HOME.get(name), name)
    if home is None:
        raise AttributeError(f"module 'simmoe' has no attribute {name!r}")
    return getattr(import_module(home), attribute)


def __dir__() -> list[str]:
    return __all__
