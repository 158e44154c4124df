"""ik_llama.cpp, a fork of llama.cpp: its flags are llama.cpp's of 2024 with its own added (llama-sweep-bench is one of its programs)."""

from __future__ import annotations

from simmoe.policies.flags import llama_cpp, llama_cpp_ignored
from simmoe.policies.flags.gguf import CACHE_FORMATS, metadata, pair
from simmoe.policies.flags.table import DRAFT, MAYBE, NOTHING, Aside, Setting, Table
from simmoe.policies.flags.values import on_off, only, said, truth, truth_or_auto, untruth, word
from simmoe.simulator.errors import UserError

SOURCE = (
    "llama-server --help, ikawrakow/ik_llama.cpp 8337e4cd (common/common.cpp, examples/llama-bench/llama-bench.cpp)"
)
CACHES = (*CACHE_FORMATS, "q6_0", "q8_KV")
OWN = (
    "-ctk",
    "-ctv",
    "-lm",
    "--no-mmap",
    "--mlock",
    "-sm",
    "-fit",
    "-ncffn",
    "--repack",
    "-nr",
    "-fa",
    "--mmap",
    "-mmp",
)  # spelled otherwise here


def _latent(text: str) -> str:
    """-mla 1 to 3 keep the latent cache, as the model's shape says; 0 keeps whole keys and values."""
    if text in ("1", "2", "3"):
        raise Aside
    raise UserError("0 keeps whole keys and values of a latent attention, which is not simulated: use 1, 2 or 3")


OLDER = tuple(
    one for one in (*llama_cpp.WHERE, *llama_cpp.MEMORY, *llama_cpp.PASSES) if one.names.split(" ")[0] not in OWN
)
SETTINGS = (
    *OLDER,
    Setting("-sm --split-mode", "split_mode", word(*llama_cpp.SPLITS, "attn", "graph"), said),
    Setting("-ctk --cache-type-k", "k_format", word(*CACHES), said),
    Setting("-ctv --cache-type-v", "v_format", word(*CACHES), said),
    Setting("--no-mmap", "mmap", untruth, only(False), NOTHING),
    Setting("-mmp --mmap", "mmap", truth, only(True), MAYBE),
    Setting("--mlock", "mlock", truth, only(True), NOTHING),
    Setting("-rtr --run-time-repack", "repack", truth, only(True), MAYBE),
    Setting("-fa --flash-attn", "flash_attention", truth_or_auto, on_off, MAYBE),
    Setting("-no-fa --no-flash-attn", "flash_attention", untruth, takes=NOTHING),
    Setting("-no-ooae --no-offload-only-active-experts", "only_active_experts", untruth, only(False), MAYBE),
    Setting("-tgb --threads-gen-batch", "threads batch_threads", pair),
    Setting("-gp", "depth generate", pair),
    Setting("-mla --mla-use", "k_format", _latent),
    Setting("-okv", "model", metadata),
)
REFUSED = {
    **{reason: names for reason, names in llama_cpp.REFUSED.items() if "-fitt" not in names},
    "drops experts of a token, and how many depends on the text": "-ser --smart-expert-reduction",
    "ik_llama.cpp would choose what is on the CPU itself, and its choice is not known here: give what it chose as -ot, or let "
    "`simmoe plan` search": "--fit --fit-margin -gfm --gpu-fit-margin",
    "which operations are computed where is not simulated operation by operation": "-op --offload-policy",
    "formats that differ between layers of the cache are not simulated": "-ctk-first --cache-type-k-first -ctk-last --cache-type-k-last "
    "-ctv-first --cache-type-v-first -ctv-last --cache-type-v-last",
    "the indexer is simulated as the model's shape says": "-dsa --dsa -dsatk --dsa-top-k -ictk --indexer-cache-type-k",
    f"several tokens predicted at once are a draft: {DRAFT}": "-mtp --multi-token-prediction "
    "--spec-stage --spec-autotune --spec-replace --suffix-corpus --suffix-max-depth --suffix-pattern-len",
}
SWITCHES = """
    --adaptive-updt-w-cur --defer-experts --dry-run --dump-kv-cache --fused-indexer-topk --k-cache-hadamard
    --minilog --no-fused-mul-multiadd --no-graph-reuse --no-multi-token-prediction --parallel-tool-calls --peg
    --prefetch-experts --recurrent-ckpt-mode --send-done --split-mode-f16 --split-mode-f32 --swa-compress
    --sweep-memory --v-cache-hadamard --validate-quants --warmup-batch -dkvc -fidx -khad -no-gr -no-mmad -no-mtp
    -ptcall -smf16 -smf32 -vhad -vq -wb
"""
VALUES = """
    --allowlist-keyword --allowlist-keyword-delay --allowlist-pieces --allowlist-unicode-rule --attention-max-batch
    --attn-max-batch --banned-n --banned-string-file --cache-ram-n-min --cache-ram-similarity --cfg-negative-prompt
    --cfg-negative-prompt-file --cfg-scale --ctx-checkpoints-eviction --ctx-checkpoints-interval
    --ctx-checkpoints-tolerance --cuda-params --draft-params --expiring-logit-bias-file --fused-delta-net
    --graph-attn-precision --graph-reduce-type --log-format --logdir --max-extra-alloc --max-gpu --mtmd-kq-type
    --mtp-requantize-output-tensor --n-repetitions --output-format --p-split --prefetch-experts-threads
    --reasoning-tokens --spec-ckpt-mode --sql-save-file --sqlite-zstd-ext-file --sweep-stride --tfs --threads-mtmd
    --worst-graph-tokens -amb -cram-n-min -crs -ctx-ckpt -ctx-ckpt-e -ctx-ckpt-i -ctx-ckpt-t -cuda -draft
    -fdn -gap -grt -ld -mea -mtprot -nrep -ps -spf -tm -webui -wgt
"""
MAYBE_MORE = """
    --context-shift --warmup
    --fused-moe --graph-reuse --grouped-expert-routing --merge-qkv --merge-up-gate-experts
    --merge-up-gate-exps --no-fused-moe --no-fused-up-gate --print-overrides --rope-cache --scheduler-async
    --split-mode-graph-scheduling --transparent-huge-pages -fmoe -ger -gr -mqkv -muge -no-fmoe -no-fug
    -rcache -sas -smgs -thp -w
"""
TABLE = Table(
    "ik_llama.cpp",
    SOURCE,
    {**llama_cpp.PROGRAMS, "llama-sweep-bench": frozenset()},
    SETTINGS,
    REFUSED,
    " ".join(one for one in llama_cpp_ignored.SWITCHES.split() if one not in MAYBE_MORE.split()) + SWITCHES,
    llama_cpp_ignored.VALUES + VALUES,
    maybe=MAYBE_MORE,
)
