"""Where experts live, one file each: `unit_of(use, amount, seed, cpu) -> int8 [layers, experts]`, the unit that each is left to.

Units are numbered: the devices first, in the order of Hardware.devices, then the others. 0 is the device, `cpu` the number
of the CPU. `use` int64 [layers, experts] counts the tokens that each expert serves, of the trace that is played or of what stands
behind a colon (src/simmoe/play/popularity.py); `amount` is the number given behind the name on the command line (`n_cpu_moe=4`,
`popular=50%`), `UNIT` says what it counts; of "devices" it is how many there are. A file with NEEDS = ("text",) is given the counted text
as a fifth argument, its expert_ids [rows, layers, k], -1 where a slot is unused.
"""
