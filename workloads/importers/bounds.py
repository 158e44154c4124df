"""Which values a field of a config.json may have: what is outside is one line, since any number would make some model."""

from __future__ import annotations

MOST_LAYERS = 1_024  # the deepest published model has 126; each layer is described apart
MOST = 2**20  # of a width, of heads, of a stride; the largest published width is 53,248
MOST_WORDS = 2**24  # of a vocabulary; the largest published one is 262,144 with all languages
MOST_POSITIONS = 2**32 - 1
NONE_OF_IT = {  # fields in which 0 means that the model has none of it; in every other 0 is no size that a model can have
    "attn_layer_offset", "expert_layer_offset", "first_k_dense_replace", "hidden_size_per_layer_input", "kv_lora_rank", "max_window_layers",
    "moe_latent_size", "moe_layer_end_index", "moe_layer_start_index", "moe_num_shared_experts", "n_shared_experts", "num_hash_layers",
    "num_nextn_predict_layers", "num_shared_expert", "num_sparse_decoder_layers", "num_sparse_encoder_layers", "q_lora_rank",
    "qk_rope_head_dim",
    "shared_expert_intermediate_size", "shared_intermediate_size", "sliding_window", "sliding_window_size",
}  # fmt: skip
POSITIONS = {"attention_chunk_size", "index_topk", "index_top_k", "sliding_window", "sliding_window_size"}
LAYERS = {"num_hidden_layers", "num_layers", "num_decoder_layers"}
WORDS = {"vocab_size", "vocab_size_per_layer_input"}


def bounds(name: str) -> tuple[int, int]:
    """The smallest and the largest value."""
    most = {
        **dict.fromkeys(POSITIONS, MOST_POSITIONS),
        **dict.fromkeys(WORDS, MOST_WORDS),
        **dict.fromkeys(LAYERS, MOST_LAYERS),
    }
    return int(name not in NONE_OF_IT), most.get(name, MOST)
