"""Where experts live, one file each: `on_cpu(use, amount, seed) -> bool [layers, experts]`, true for those left to the CPU.

`use` int64 [layers, experts] counts the tokens of the trace that each expert serves; `amount` is the number given behind
the name on the command line (`n_cpu_moe=4`, `popular=50%`), `UNIT` says what it counts.
"""
