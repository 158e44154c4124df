"""Physics: how long a piece of work takes on a part of a machine, one law per file, each with its source.

Plain functions of numbers, with units in their names. Times are whole picoseconds, rounded up; rates bytes or FLOPs per
second. `simulator/costs.py` is where they meet a machine, a model and a trace.
"""

PS_PER_S = 10**12
