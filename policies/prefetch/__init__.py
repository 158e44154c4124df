"""What is loaded before it is asked for, one file each: `wanted(trace) -> (event, object)`, int64 [guesses] each.

`event` is the one at whose end the guess is decided (events are numbered pass-major, layer-minor), in rising order and in
order of preference within one; `object` is layer * experts + expert.
"""
