"""Flags of vLLM that change nothing in the simulation: serving, logging, sampling, the storage of weights (the model says it).

Source: as in vllm.py; some of older versions.
"""

SWITCHES = """
    --aggregate-engine-logging --allow-credentials --allow-deprecated-quantization --append-result --async-engine
    --async-scheduling --calculate-kv-scales --cohere-is-reasoning-model --cudagraph-metrics
    --data-parallel-external-lb --data-parallel-hybrid-lb --data-parallel-multi-port-external-lb --dcp-q-replicate
    --disable-async-output-proc --disable-cascade-attn --disable-chunked-mm-input --disable-custom-all-reduce
    --disable-detokenize --disable-fastapi-docs --disable-hybrid-kv-cache-manager --disable-log-requests
    --disable-log-stats --disable-nccl-for-dp-synchronization --disable-tqdm --disable-uvicorn-access-log
    --enable-auto-tool-choice --enable-batch-sharded-sampling --enable-chunked-prefill --enable-cumem-allocator
    --enable-dbo --enable-elastic-ep --enable-ep-weight-filter --enable-fault-tolerance
    --enable-flash-late-interaction --enable-flashinfer-autotune --enable-force-include-usage --enable-hc-sp
    --enable-layerwise-nvtx-tracing --enable-log-deltas --enable-log-outputs --enable-log-requests
    --enable-logging-iteration-details --enable-mamba-cache-stochastic-rounding
    --enable-mamba-shared-prefix-checkpoint --enable-mfu-metrics --enable-mixed-moe-lora-format --enable-mm-embeds
    --enable-moe-shared-loras --enable-multimodal-chat --enable-nccl-comm-suspend --enable-offline-docs
    --enable-per-request-metrics --enable-prefix-caching --enable-prompt-embeds --enable-prompt-tokens-details
    --enable-reasoning --enable-request-id-headers --enable-return-routed-experts --enable-scale-out
    --enable-server-load-tracking --enable-shm-tensor-arena --enable-sleep-mode --enable-ssl-refresh
    --enable-tokenizer-info-endpoint --enable-tower-connector-lora --enable-trace-replay
    --exclude-tools-when-tool-choice-none --fail-on-environ-validation --fully-sharded-loras --grpc --headless
    --hf-enable-torch-compile --ignore-eos --insecure --interleave-mm-strings --jit-monitor-verbose
    --kv-cache-metrics --kv-sharing-fast-prefill --language-model-only --log-error-stack
    --long-prefill-token-threshold-adaptive --mm-device-do-normalize --mm-encoder-only --monokernel
    --multi-step-stream-outputs --no-oversample --numa-bind --plot-dataset-stats --plot-timeline --prequeue-requests
    --profile --ray-workers-use-nsight --return-sampling-mask --return-tokens-as-token-ids --save-detailed
    --save-result --scheduler-reserve-full-isl --self-timed --skip-mm-profiling --skip-tokenizer-init
    --sleep-mode-offload-cudagraph --specialize-active-lora --swa-bounded-replay --tokens-only --trust-remote-code
    --trust-request-chat-template --trust-request-mm-kwargs --use-beam-search --use-fp64-gumbel --use-replayssm
    --use-tqdm-on-load --use-v2-block-manager -O1 -O2 -O3 -dpe -dph -dpm
"""
VALUES = """
    --additional-config --all2all-backend --allowed-headers --allowed-local-media-path --allowed-methods
    --allowed-origins --anthropic-disabled-thinking-effort --api-server-count --asr-max-audio-len-sec
    --asr-min-audio-len-sec --attention-backend --attention-config --aux-output-config --backend --base-url
    --block-size --chat-template --chat-template-content-format --chat-template-kwargs --code-revision
    --cohere-format --compilation-config --config-format --cp-kv-cache-interleave-size
    --cpu-distributed-timeout-seconds --custom-output-len --data-parallel-address --data-parallel-backend
    --data-parallel-rank --data-parallel-rpc-port --data-parallel-size-local --data-parallel-start-rank
    --data-parallel-supervisor-port --dataset-name --dataset-path --dbo-decode-token-threshold
    --dbo-prefill-token-threshold --dcp-comm-backend --dcp-kv-cache-interleave-size --default-chat-template-kwargs
    --device --disable-access-log-for-endpoints --distributed-executor-backend --distributed-timeout-seconds
    --download-dir --dp-supervisor-probe-failure-threshold --dp-supervisor-probe-interval-s
    --dp-supervisor-probe-timeout-s --dp-sync-interval --dtype --ec-manager-config --ec-transfer-config
    --elastic-ep-max-dp-size --endpoint --engram-config --eplb-config --expert-placement-strategy --extra-body
    --fault-tolerance-config --fingerprint-mode --fingerprint-value --frequency-penalty --gdn-prefill-backend
    --generation-config --grpc-port --guided-decoding-backend --h11-max-header-count --h11-max-incomplete-event-size
    --hf-config-path --hf-max-batch-size --hf-name --hf-split --hf-subset --hf-token --host --io-processor-plugin
    --ir-op-priority --jit-monitor-mode --kda-decode-backend --kda-prefill-backend --kernel-config
    --kv-cache-metrics-sample --kv-events-config --label --limit-mm-per-prompt --linear-backend --load-format
    --log-config-file --log-level --logging-config --logprobs --logprobs-mode --long-prefill-token-threshold
    --lora-assignment --lora-dtype --mamba-backend --mamba-block-size --mamba-cache-dtype --mamba-cache-mode
    --mamba-cache-philox-rounds --mamba-ssm-cache-dtype --mamba-ssu-algorithm --master-addr --master-port
    --max-cpu-loras --max-cudagraph-capture-size --max-log-len --max-logprobs --max-lora-cls-labels --max-lora-rank
    --max-loras --max-num-active-seqs --max-num-queued-reqs --max-num-queued-tokens --max-num-scheduled-tokens
    --max-parallel-loading-workers --max-seq-len-to-capture --media-io-kwargs --metric-percentiles --min-p
    --mm-encoder-attn-backend --mm-encoder-attn-dtype --mm-encoder-fp8-scale-path --mm-encoder-fp8-scale-save-margin
    --mm-encoder-fp8-scale-save-path --mm-encoder-tp-mode --mm-hasher-algorithm --mm-ipc-gpu-memory-gb
    --mm-processor-cache-gb --mm-processor-cache-type --mm-processor-device --mm-processor-kwargs
    --mm-shm-cache-max-object-size-mb --mm-tensor-ipc --model-class-overrides --model-impl
    --model-loader-extra-config --moe-backend --n --nnodes --node-rank --num-iters --num-iters-warmup --num-prompts
    --num-scheduler-steps --num-warmups --otlp-traces-endpoint --output-json --override-generation-config
    --per-request-spec-decode-metrics --percentile-metrics --performance-mode --port --preemption-mode
    --prefill-schedule-interval --prefix-cache-retention-interval --prefix-caching-hash-algo --prefix-len
    --prefix-match-unit --prefix-repetition-num-prefixes --prefix-repetition-output-len
    --prefix-repetition-prefix-len --prefix-repetition-suffix-len --presence-penalty --probe-request-rate
    --profiler-config --pt-load-map-location --quantization --quantization-config --random-prefix-len
    --random-range-ratio --ready-check-timeout-sec --reasoning-config --reasoning-effort-map --reasoning-parser
    --reasoning-parser-plugin --renderer-num-workers --repetition-penalty --replayssm-buffer-len --request-id-prefix
    --response-role --result-dir --result-filename --revision --root-path --rope-scaling --rope-theta --runner
    --safetensors-load-strategy --safetensors-prefetch-block-size --safetensors-prefetch-num-threads --scheduler-cls
    --scheduler-delay-factor --scheduling-policy --seed --sharegpt-output-len --show-hidden-metrics-for-version
    --shutdown-timeout --sleep-mode-backend --sparse-indexer-topk-backend --sse-keep-alive-interval --ssl-ca-certs
    --ssl-cert-reqs --ssl-certfile --ssl-ciphers --ssl-keyfile --stream-interval --structured-outputs-config
    --swap-space --task --temperature --timeline-itl-thresholds --tokenizer --tokenizer-mode --tokenizer-revision
    --tool-call-parser --tool-parser-plugin --tool-server --tool-strict-level --top-k --top-p --ubatch-size --uds
    --uvicorn-log-level --video-pruning-method --video-pruning-rate --watchdog-config --watermark --watermark-config
    --weight-transfer-config --worker-cls --worker-extension-cls -ac -asc -cc -dpa -dpb -dpl -dpn -dpp -dpr -n -q -r
"""
MANY = """
    --allowed-media-domains --api-key --collect-detailed-traces --cudagraph-capture-sizes --custom-histogram-buckets
    --device-ids --goodput --header --ignore-patterns --kv-cache-dtype-skip-layers --logits-processors
    --lora-target-modules --metadata --middleware --numa-bind-cpus --numa-bind-nodes --served-model-name
    --sleep-preserve-parameter-names
"""
