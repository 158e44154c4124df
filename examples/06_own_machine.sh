# A machine of your own: one file that changes one figure of a bundled machine; the result as JSON, read by a script.
for machine in rtx_4090 ./06_my_box.yaml; do
  simmoe run --hw $machine --trace switch --budget 25% --tokens 512 --json | python3 -c '
import json, sys
run = json.load(sys.stdin)
waiting = run["decode_time_ps"]["waiting for experts"] / sum(run["decode_time_ps"].values())
print(run["scenario"]["hardware"]["name"], round(run["tok_s"], 1), "tok/s,", format(waiting, ".0%"), "of the time waits for experts")
'
done
