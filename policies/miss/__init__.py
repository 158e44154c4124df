"""What happens to a missing expert, one file each: `on_cpu(load_ps, cpu_ps) -> bool [requests]`, true to compute it on the CPU.

Both int64 [requests]: how long loading the expert takes on an idle link, and how long the CPU computes it for the tokens
that ask for it. Known before the run and independent of any clock, so decisions stay independent of time.
"""
