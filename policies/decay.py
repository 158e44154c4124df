"""Sums whose parts lose half of their weight in each half-life, as whole numbers: the logarithm of each sum, as of event 0.

Time takes the same factor from all sums, so it changes no order and a sum is touched only when something is added to it. A logarithm
is a whole number of 1/1024, which orders sums that differ by more than .07 %. Kernels read two tables: log2(1 + 2**-d), log2(1 + f).
"""

import numpy as np

UNIT = 1024  # of a logarithm
NOTHING = -(1 << 40)  # logarithm of an empty sum
FAR = 16 * UNIT  # from which distance on the lesser of two numbers adds nothing to the greater


def tables():
    """log2(1 + 2**-d) for distances d in 1/UNIT, log2(1 + f) for fractions f in 1/UNIT."""
    distance, fraction = np.arange(FAR) / UNIT, np.arange(UNIT) / UNIT
    plus = np.log2(1 + 2.0**-distance), np.log2(1 + fraction)
    return tuple(np.rint(one * UNIT).astype(np.int64) for one in plus)


def added(sum_log, log, plus):
    """The logarithm of a sum after a number is added; `plus` is the first of the tables."""
    far = abs(sum_log - log)
    return max(sum_log, log) + (plus[far] if far < FAR else 0)


def log_of(number, part, top):
    """The logarithm of a whole number > 0, whose highest bit is number `top`; `part` is the second of the tables."""
    return top * UNIT + part[((number << 10) >> top) - UNIT]
