"""Kinds of measured rows, and what usually is behind those that are slower or faster than on other machines of the engine."""

from __future__ import annotations

RESIDENT_DECODE, CPU_DECODE = "decode, experts on the device", "decode, experts on the CPU"
RESIDENT_PROMPT, CARRIED = "prompts, experts on the device", "prompts, the CPU's experts copied over the link"
CPU_PROMPT = "prompts, the CPU's experts computed there"
ALONE_DECODE, ALONE_PROMPT = "decode, all on the CPU", "prompts, all on the CPU"
INSTEAD = {  # what else it may be where the fitted number cannot be
    CARRIED: "not all experts of a layer are copied, or the text asks for few of them: the simulated routing may ask for more",
    CPU_DECODE: "fewer experts on the CPU than was said, a text that asks for experts which its caches hold, or memory that is faster than "
    "the profile says",
    RESIDENT_PROMPT: "weights or products in another format, or another model than was said",
    ALONE_DECODE: "memory that is faster than the profile says, or another model or format than was said",
}
SLOWER = {  # what usually is behind rows that are slower than on other machines of the engine
    RESIDENT_DECODE: "no CUDA graphs (an override of tensors or several sequences switch them off), a power limit or a low clock, another "
    "process on the card, or memory that spilled to the host",
    CPU_DECODE: "fewer memory channels filled than the profile says, threads on hyperthreads or efficiency cores, NUMA without "
    "interleaving, or weights that the disk still delivers",
    RESIDENT_PROMPT: "a small -ub, flash attention off, a power limit, or weights in a format whose kernels are slow (2 and 3 bits)",
    CARRIED: "weights that are memory-mapped, so that copies are pageable (-lm none, older: --no-mmap), or a slot with fewer lanes",
    CPU_PROMPT: "few threads, or a small -ub",
    ALONE_DECODE: "fewer memory channels filled than the profile says, threads on hyperthreads or efficiency cores or more of them than "
    "cores (-t), two sockets without --numa distribute, or weights that the disk still delivers",
    ALONE_PROMPT: "few threads (-t, -tb), a build without the instructions of this CPU (AVX-512, AMX), weights in a format that is not "
    "repacked, a small -ub, or a clock that falls under load",
}
FASTER = {
    RESIDENT_DECODE: "a newer build with more kernels fused",
    CPU_DECODE: "memory that is faster than the profile says",
    RESIDENT_PROMPT: "a newer build, or tensor cores that the constants were not fitted on",
    CARRIED: "pinned memory (-lm none) where the flags do not say it, or experts that no token asked for and that were not copied",
    CPU_PROMPT: "matrix units of the CPU that the constants do not know",
    ALONE_DECODE: "memory that is faster than the profile says, or more threads than was said",
    ALONE_PROMPT: "more threads than was said, a newer build whose weights are repacked, or matrix units of the CPU (AMX) that the "
    "constants do not know",
}
