"""A missing expert to which its tokens gave less than a share of their gate weight is computed from a coarse copy. It changes the output.

After HOBBIT (Tang et al., arXiv 2411.01433, 2024), which loads low-precision versions of the missing experts that matter least. There such
copies are cached; here a copy takes no slot and is forgotten with its event. The simulator plays one format per expert, so this rule is the
runtime's own.
"""

from simmoe.simulator.decide.missing import VERSION

NEEDS = ("argument", "gate")
ARGUMENTS = {"share": (0.5, 0.0, 1.0)}  # below it a copy does


def serve(n, resident, event, m):
    for k in range(n):
        if m.gate[m.obj[k]] * 1000000 < m.argument[0] * 65536:
            m.unit[k] = VERSION + 1
