"""SwapMoE's resident set (Kong et al., ACL 2024): experts of the most importance stay, the least important one leaves.

The importance of an expert is the gate mass that tokens have given it, of which each part counts half as much after every half-life of
forward passes; ties go to the oldest stamp. It is kept across evictions, and a prefetch adds nothing. The paper scores by the gate and
the norm of the expert's output, which no trace holds; a trace without gate weights gives each token slot 1/k.

SwapMoE loads between passes and lets resident experts stand in for missing ones. That is a miss rule; with --miss fetch this file says
only which experts stay.
"""

import numpy as np

from simmoe.policies.buckets import top_bit
from simmoe.policies.decay import NOTHING, UNIT, added, log_of, tables
from simmoe.policies.heap import FIELDS, KEY, file, heap, least_free, rank, unfile

NEEDS = ("argument", "gate", "layer")
ARGUMENTS = {"passes": (64, 1, 1_000_000_000)}
COUNTED, PLUS, PART, EVENTS = FIELDS, FIELDS + 1, FIELDS + 2, FIELDS + 3
LARGEST = (1 << 32) - 1


def init(n_objects, capacity_bytes, x):
    """A heap by the logarithm of the importance; the last event counted; the tables of policies/decay.py; events of a half-life."""
    made = heap(n_objects)
    made[KEY][:] = NOTHING
    layers = int(x.layer.max()) - int(x.layer.min()) + 1
    return (*made, np.full(n_objects, -1), *tables(), np.array([int(x.argument[0]) * layers]))


def insert(s, o, event, x):
    rank(s, o, s[KEY][o])
    file(s, o)


def use(s, o, event, x):
    key = s[KEY][o]
    mass = min(max(x.gate[o], 1), LARGEST)
    if s[COUNTED][o] != event:
        s[COUNTED][o] = event
        log = log_of(mass, s[PART], top_bit(mass))
        key = added(key, log + event * UNIT // s[EVENTS][0], s[PLUS])
    rank(s, o, key)


def victim(s, free, event, x):
    return least_free(s, free)


def remove(s, o, event, x):
    unfile(s, o)
