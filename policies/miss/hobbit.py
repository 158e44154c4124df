"""A missing expert that matters less is read in low precision, and one that matters least is left out. It changes the output.

After HOBBIT (Tang et al., "HOBBIT: A Mixed Precision Expert Offloading System for Fast MoE Inference", arXiv 2411.01433, 2024, section
3.2), which has two thresholds: above the first the low copy of a missing expert is loaded, above the second it is skipped. There the
score of an expert is what the token gave the experts before it, and the first is always loaded; here an expert is weighed by what its
tokens gave it. That is the same for one token with two experts, where the score of the second is one minus its weight: the thresholds .6
and .9, which the paper sets for Mixtral-8x7B, are hobbit=40%,skip=10%.
"""

from simmoe.policies.answers import DROP, LOW, VERSION

NEEDS = ("argument", "gate")
ARGUMENTS = {
    "share": (0.5, 0.0, 1.0),
    "skip": (0.0, 0.0, 1.0),
}  # of its tokens' gate weight: below it a low copy serves, nobody does


def serve(n, resident, event, m):
    for k in range(n):
        given = m.gate[m.obj[k]] * 1000000
        if given < m.argument[1] * 65536:
            m.unit[k] = DROP
        elif given < m.argument[0] * 65536:
            m.unit[k] = VERSION + LOW
