"""A miss rule for tests: every answer that the device can give, by numbers that an implementation of one's own can follow."""

from simmoe.policies.answers import DROP, SUBSTITUTE

NEEDS = ("resident",)


def serve(n, resident, event, m):
    here = m.n_here[0]
    for k in range(n):
        expert = m.obj[k] % m.experts[0]
        draw = (7 * expert + 3 * k + 5 * here + n) % 5
        if draw == 2:
            m.unit[k] = DROP
        elif draw > 2 and here > 0:
            m.unit[k] = SUBSTITUTE + m.here[(expert + 3 * here + k) % here]
