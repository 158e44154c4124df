"""What loads and pieces on the CPU take on an idle machine: the tables that a miss rule reads, where its NEEDS names them."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.missing import Rule
from simmoe.simulator.errors import LATEST_PS, too_long


def cpu_number(costs: Costs) -> int:
    """Number of the CPU among the units, which count the devices first. Raises UserError where the machine states no CPU."""
    return len(costs.hw.devices) if costs.cpu else 0


NO_ARGUMENT = np.zeros(0, np.int64)


def priced(module: ModuleType, costs: Costs, requests: Requests, argument: Ints = NO_ARGUMENT) -> Rule:
    """The rule with what it NEEDS. Raises UserError where the machine states no CPU though the rule needs one.

    argument: what stands behind its name.
    """
    return of_these(priced_for(module, costs, requests.widest, requests.most_slots, argument), requests)


def of_these(rule: Rule, requests: Requests) -> Rule:
    """The rule as it is asked about these requests."""
    gate = requests.gate if rule.needs("gate") else rule.gate
    return rule._replace(tokens=requests.tokens, gate=gate)


def priced_for(module: ModuleType, costs: Costs, widest: int, most_slots: int, argument: Ints = NO_ARGUMENT) -> Rule:
    """The same for events of at most so many experts and token slots, which are not known yet."""
    needs, none = getattr(module, "NEEDS", ()), np.zeros(0, np.int64)
    kinds, layers = list(dict.fromkeys(costs.moe_layers)), costs.trace.n_layers
    layer = np.repeat(np.arange(layers), costs.trace.n_experts)  # of each object
    shape = np.array([kinds.index(one) for one in costs.moe_layers])[layer]
    load_ps = _whole(costs.transfer_ps, widest)[layer] if "load" in needs else none
    asked, experts = (module, widest, none, load_ps), costs.trace.n_experts
    told = argument if "argument" in needs else none
    if "cpu" not in needs:
        return Rule(
            *asked, np.zeros(1, np.int64), none, *(np.zeros((len(kinds), 0), np.int64),) * 2, shape, told, none, experts
        )
    columns, launch_ps = [costs.moe_layers.index(kind) for kind in kinds], costs.cpu_ps(0, 0, 0)
    read_ps = [[costs.cpu_ps(one, n, 0) - launch_ps for n in range(widest + 1)] for one in columns]
    flop_ps = [[costs.cpu_ps(one, 0, n) - launch_ps for n in range(most_slots + 1)] for one in columns]
    tables = _whole(read_ps, 1), _whole(flop_ps, 1)
    return Rule(*asked, np.array([cpu_number(costs)]), _whole([launch_ps], 1), *tables, shape, told, none, experts)


def _whole(values: object, times: int) -> Ints:
    """int64; `times` of the largest, and a launch beside it, must be a time that the clock counts."""
    table = np.array(values, object)
    if int(table.max(initial=0)) * times > LATEST_PS // 2:
        raise too_long()
    return table.astype(np.int64)
