"""Which rows run in which pass, one file each (docs/extending/schedule.md).

A schedule that knows its passes before the clock starts defines `regrouped(trace, sequences) -> Trace`. One that forms them while time goes
on defines `next_pass(now_ps, requests, max_batch)`: it is the one policy that reads the clock, and only between passes.
"""
