"""Belady's MIN where a missing expert need not be kept: after each event any of what was resident and of what it requested may stay.

What is next requested soonest stays, up to the budget in slots of the smallest expert, so with experts of equal size no policy, with or
without look-ahead, loads fewer. A bound, no policy: nothing can use an expert that takes no slot. L. A. Belady, "A study of replacement
algorithms for a virtual-storage computer", IBM Systems Journal 5 (2), 1966; with bypass: S. McFarling, "Cache replacement with dynamic
exclusion", ISCA 1992. simulator/decide/bypass.py decides it; the hooks are those of MIN without bypass.
"""

from simmoe.policies.eviction.belady import init, insert, remove, use, victim  # noqa: F401  (the machine finds them here)

NEEDS = ("next_use",)
BYPASS = True
