"""Flags of llama.cpp that change nothing in the simulation: sampling, chat, logging, serving, drafts without a draft model, CPU masks.

Source: as in llama_cpp.py.
"""

SWITCHES = """
    --agent --backend-sampling --cache-idle-slots --cache-prompt --check-tensors --cont-batching --context-shift
    --conversation --cors-credentials --cpu-moe-draft --display-prompt --escape --ignore-eos --in-prefix-bos --instruct
    --interactive --interactive-first --jinja --kv-unified --log-append --log-disable --log-enable --log-jsonl --log-new
    --log-prefix --log-timestamps --log-verbose --lora-init-without-apply --metrics --mmproj-auto --mmproj-offload
    --models-autoload --multiline-input --no-agent --no-cache-idle-slots --no-cache-prompt --no-cont-batching
    --no-context-shift --no-conversation --no-cors-credentials --no-display-prompt --no-escape --no-jinja --no-kv-unified
    --no-log-jsonl --no-log-prefix --no-log-timestamps --no-mmproj --no-mmproj-auto --no-mmproj-offload
    --no-models-autoload --no-penalize-nl --no-perf --no-prefill-assistant --no-reasoning-preserve --no-show-timings
    --no-skip-chat-parsing --no-slots --no-spec-draft-backend-sampling --no-ui --no-ui-mcp-proxy --no-warmup --no-webui
    --no-webui-mcp-proxy --offline --penalize-nl --perf --prefill-assistant --progress --prompt-cache-all
    --prompt-cache-ro --props --reasoning-preserve --reuse-port --show-timings --simple-io --single-turn
    --skip-chat-parsing --slots --spec-draft-backend-sampling --spec-draft-cpu-moe --special --spm-infill --ui
    --ui-mcp-proxy --verbose --verbose-prompt --warmup --webui --webui-mcp-proxy -ag -bs -cb -cmoed -cnv -e -i -if -ins
    -kvu -mli -no-ag -no-cnv -no-kvu -nocb -pps -sp -st -tgs -v
"""
VALUES = """
    --adaptive-decay --adaptive-target --alias --api-key --api-key-file --api-prefix --attention --audio --binary-file
    --cache-ram --cache-reuse --cache-type-k-draft --cache-type-v-draft --chat-template --chat-template-file
    --chat-template-kwargs --checkpoint-min-step --color --cors-headers --cors-methods --cors-origins --cpu-mask
    --cpu-mask-batch --cpu-mask-batch-draft --cpu-mask-draft --cpu-range --cpu-range-batch --cpu-range-batch-draft
    --cpu-range-draft --cpu-strict --cpu-strict-batch --cpu-strict-batch-draft --cpu-strict-draft --ctx-checkpoints
    --ctx-size-draft --defrag-thold --delay --device-draft --draft --draft-max --draft-min --draft-n --draft-n-min
    --draft-p-min --draft-p-split --dry-allowed-length --dry-base --dry-multiplier --dry-penalty-last-n
    --dry-sequence-breaker --dynatemp-exp --dynatemp-range --file --frequency-penalty --gpu-layers-draft --grammar
    --grammar-file --grp-attn-n --grp-attn-w --hf-file --hf-token --host --image --image-max-tokens --image-min-tokens
    --in-prefix --in-suffix --json-schema --json-schema-file --keep --kv-unified-per-slot --lazy-mode --log-colors
    --log-file --log-prompts-dir --log-verbosity --logit-bias --main-gpu --mcp-servers-config --mcp-servers-json
    --media-path --min-p --mirostat --mirostat-ent --mirostat-lr --mmproj --mmproj-url --models-max
    --mtmd-batch-max-tokens --n-cpu-moe-draft --n-gpu-layers-draft --numa --output --output-err --output-file
    --override-tensor-draft --path --poll --poll-batch --poll-batch-draft --poll-draft --pooling --port --presence-penalty
    --print-token-count --prio --prio-batch --prio-batch-draft --prio-draft --prompt-cache --reasoning --reasoning-budget
    --reasoning-budget-message --reasoning-effort --reasoning-format --repeat-last-n --repeat-penalty --repetitions
    --reverse-prompt --rope-freq-base --rope-freq-scale --rope-scale --rope-scaling --sampler-seq --samplers
    --sampling-seq --seed --sequences --sleep-idle-seconds --slot-prompt-similarity --slot-save-path --spec-draft-cpu-mask
    --spec-draft-cpu-mask-batch --spec-draft-cpu-range --spec-draft-cpu-range-batch --spec-draft-cpu-strict
    --spec-draft-cpu-strict-batch --spec-draft-device --spec-draft-n-cpu-moe --spec-draft-n-max --spec-draft-n-min
    --spec-draft-ncmoe --spec-draft-ngl --spec-draft-override-tensor --spec-draft-p-min --spec-draft-p-split
    --spec-draft-poll --spec-draft-poll-batch --spec-draft-prio --spec-draft-prio-batch --spec-draft-threads
    --spec-draft-threads-batch --spec-draft-type-k --spec-draft-type-v --spec-ngram-map-k-min-hits
    --spec-ngram-map-k-size-m --spec-ngram-map-k-size-n --spec-ngram-map-k4v-min-hits --spec-ngram-map-k4v-size-m
    --spec-ngram-map-k4v-size-n --spec-ngram-min-hits --spec-ngram-mod-n-match --spec-ngram-mod-n-max
    --spec-ngram-mod-n-min --spec-ngram-simple-min-hits --spec-ngram-simple-size-m --spec-ngram-simple-size-n
    --spec-ngram-size-m --spec-ngram-size-n --spec-synth-len --spec-synth-rates --sse-ping-interval --ssl-cert-file
    --ssl-key-file --swa-checkpoints --system-prompt --system-prompt-file --tags --temp --temperature
    --threads-batch-draft --threads-draft --threads-http --timeout --tools --tools-runtime --top-k --top-n-sigma
    --top-nsigma --top-p --typical --typical-p --ui-config --ui-config-file --verbosity --video --video-ffmpeg-dir
    --video-fps --video-timestamp-interval --webui-config --webui-config-file --xtc-probability --xtc-threshold
    --yarn-attn-factor --yarn-beta-fast --yarn-beta-slow --yarn-ext-factor --yarn-orig-ctx -C -Cb -Cbd -Cd -Cr -Crb -Crbd
    -Crd -a -bf -cd -cms -co -cram -ctkd -ctvd -ctxcp -devd -dt -f -gan -gaw -hff -hft -j -jf -l -lv -lzm -mg -mm -mmu
    -ncmoed -ngld -ns -o -oe -otd -ptc -r -rea -s -sps -sys -sysf -tbd -td -to
"""
