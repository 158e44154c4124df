"""A missing expert to which its tokens gave less than a share of their gate weight is left out. It changes the output.

After AdapMoE's adaptive gating (Zhong et al., "AdapMoE: Adaptive Sensitivity-based Expert Gating and Management for Efficient MoE
Inference", ICCAD 2024), which leaves out what matters little; here only what is missing, and by gate weight alone.
"""

from simmoe.policies.answers import DROP

NEEDS = ("argument", "gate")
ARGUMENTS = {"share": (0.1, 0.0, 1.0)}  # below it a missing expert is dropped


def serve(n, resident, event, m):
    for k in range(n):
        if m.gate[m.obj[k]] * 1000000 < m.argument[0] * 65536:
            m.unit[k] = DROP
