"""The least memory for experts that reaches 90 % of the best speed: the same ladder, read from Python."""

import simmoe

for trace in ("oracle", "switch"):
    ladder = simmoe.ladder("jetson_orin", trace, tokens=512)
    best = max(run.tok_s for run in ladder.runs)
    enough = next(rung for rung in ladder.rungs if rung.run and rung.run.tok_s >= 0.9 * best)
    print(f"{trace}: {enough.label} gives {enough.run.tok_s:.1f} of at most {best:.1f} tok/s")
