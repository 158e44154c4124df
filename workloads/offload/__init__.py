"""A small real offload runtime: experts in a slow tier, slots under a byte budget, a copy thread. docs/offload.md tells how to use it.

It exists to hold the simulator against something that moves real bytes: its hits, misses and bytes must equal the
simulator's exactly, its logits those of the model with everything resident, and its wall time is what the simulator
has to predict. Its cache and its eviction policies are therefore its own code; the text of a miss rule alone is shared (missing.py).
"""
