"""Every combination of two traces, two policies and four budgets on one machine: which ones does no other beat?"""

import simmoe

space = {
    "schema": 1,
    "name": "small",
    "hw": "jetson_orin",
    "trace": ["oracle", "switch"],
    "eviction": ["lru", "lfu"],
    "budget": ["5%", "10%", "25%", "50%"],
    "tokens": 512,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}
found = simmoe.sweep(space, sampler="grid")
for trial in sorted(found.front_on("jetson_orin"), key=lambda trial: trial.user_attrs["tok_s"]):
    print(f"{trial.user_attrs['tok_s']:6.1f} tok/s  {trial.user_attrs['command']}")
