"""The geometries of the models that llama.cpp is timed on: public ones, with fewer layers and smaller matrices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """One geometry. arch is llama.cpp's name of the graph, format that of all matrices but router and norms."""

    arch: str
    format: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    experts: int
    top_k: int
    expert_width: int
    vocabulary: int = 32000

    @property
    def norms(self) -> dict[str, int]:
        """Norms of queries and keys: OLMoE's are over all heads, Qwen3's over each."""
        if self.arch == "olmoe":
            return {"attn_q_norm": self.heads * self.head, "attn_k_norm": self.kv_heads * self.head}
        return {"attn_q_norm": self.head, "attn_k_norm": self.head} if self.arch == "qwen3moe" else {}


SHAPES = {
    "qwen3": Shape("qwen3moe", "Q4_0", 12, 1024, 16, 4, 128, 128, 8, 384),
    "mixtral": Shape("llama", "Q4_0", 6, 2048, 32, 8, 64, 8, 2, 3584),
    "olmoe": Shape("olmoe", "Q4_0", 5, 2048, 16, 16, 128, 64, 8, 512),
}
