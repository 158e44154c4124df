"""A miss rule for tests: load, low copy, drop and stand-in in turns, by numbers that mean nothing."""

from simmoe.policies.answers import DROP, LOW, SUBSTITUTE, VERSION

NEEDS = ("resident",)


def serve(n, resident, event, m):
    for k in range(n):
        turn = (5 * m.obj[k] + 3 * m.tokens[k] + n) % 7
        if turn < 3:
            m.unit[k] = VERSION + LOW
        elif turn == 3:
            m.unit[k] = DROP
        elif turn == 4 and m.n_here[0] > 0:
            m.unit[k] = SUBSTITUTE + m.here[m.obj[k] % m.n_here[0]]
