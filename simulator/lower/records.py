"""What lowering reads and keeps: costs as tables, what was asked and decided, and its own notes; flat arrays for the compiler."""

from __future__ import annotations

from typing import Any, NamedTuple

LOADED, FRESH = 0, 1  # fields of Notes.at


class Fixed(NamedTuple):
    """Whole numbers that hold for the run."""

    launch_ps: int
    rate: int  # bytes per ms
    slow_rate: int  # while a transfer is active, contended only
    rate_beside_cpu: int  # while the CPU reads the same memory as slowly as beside a transfer, contended only
    slow_beside_cpu: int  # and a transfer is active
    rate_beside_fast_cpu: int  # while the CPU reads the same memory at its own rate, contended only
    contended: int  # 1 = transfers slow the unit's memory down
    layers: int
    devices: int
    shares: int  # among how many devices the rows of a pass are divided
    places: int  # (MoE layer, device) pairs, numbered layer * devices + device
    gap_kinds: int
    columns: int  # of a row of piece_work
    read_stride: int  # of a row of read_ps
    flop_stride: int  # of a row of flop_ps
    cpu: int  # number of the CPU among the resources
    cpu_launch_ps: int  # this and the next two: discrete machines with experts on the CPU only
    cpu_rate: int  # bytes per ms
    cpu_slow_rate: int  # while bytes leave its memory over the link
    upstream: int  # number of the hop before the link among the resources
    pipelined: int  # 1 = the link sends on what has come over that hop, 0 = whole experts only
    first_bytes_ps: int  # from the start of that hop until its first bytes come
    fabric: int  # number of the fabric between devices; one more is its way back, then both of each further device
    latency_ps: int  # from the start of a transfer over the link until bytes leave the memory that it reads
    host_wait_ps: int  # the host waits that long for the router's result, where the timeline says so
    latest: int  # a pass that starts later could end behind what 64 bits count


class Tables(NamedTuple):
    """Costs as arrays; a size is a distinct PassSize, a piece one launch, a gap the launches between two decisions."""

    size: Any  # [passes] size of each pass; where each device has rows of its own, [passes * devices] of its share
    law: Any  # [sizes] what a launch over routed experts costs in such a pass: number of its law * places
    unit: Any  # [layers + 1] resource that runs the gap before each MoE layer; last, the gap behind the last layer
    at: Any  # [places] resource that computes the experts of each place
    link: Any  # [places] resource that brings them
    on_path: Any  # [places] 1 = that resource also runs the gap before the layer, so that its launches make up the pass
    gap_kind: Any  # [(layers + 1) * devices] kind of gap before each MoE layer on each device, and behind the last
    gap_ps: Any  # [sizes * gap kinds] uncontended time
    piece_ptr: Any  # [gap kinds + 1] into piece
    piece: Any  # [pieces of all gap kinds] column of piece_work
    piece_ps: Any  # [sizes * columns] uncontended time, launch included
    piece_work: Any  # [sizes * columns] bytes * 10**9
    piece_flop_ps: Any  # [sizes * columns]
    hand_ps: Any  # [sizes] time to hand the hidden states of a pass to another device
    sum_ps: Any  # [sizes * (layers + 2)] of devices that divide every layer: time to add up before each gap, last, behind the last one, to
    #              gather the logits; empty where they do not
    shared_work: Any  # [sizes * places], 0 = no shared experts
    shared_flop_ps: Any  # [sizes * places]
    shared_ps: Any  # [sizes * places] uncontended time, launch included
    launch_ps: Any  # [rows] of a launch over routed experts; rows: places, then places where low copies are read, if there are any
    extra_ps: Any  # [places] its fixed cost beyond that, which read_ps and flop_ps contain
    read_work: Any  # [laws * places * (widest + 1)] to read n experts
    read_ps: Any  # [laws * places * (widest + 1)] uncontended time of it
    each_ps: Any  # [laws * places * (widest + 1)] uncontended time of a launch over n experts that one token slot each is routed to
    flop_at: Any  # [laws * places] where the row of a place begins in flop_ps: layers of one shape share one
    flop_ps: Any  # [rows * (most token slots + 1)]
    soft_at: Any  # [places] into soft_shares
    soft_shares: Any  # [devices * 1025] of a fused launch, by ratio; empty = the larger of memory and compute


class Work(NamedTuple):
    """What was asked and decided (see decide.gather.Requests and nouns.decisions.Decisions)."""

    ptr: Any  # [events + 1] into obj
    obj: Any  # [requests]
    tokens: Any  # [requests] of a hit with those of the experts that it stands in for
    slot_ptr: Any  # [events + 1] token slots of earlier events
    loads: Any  # [loads] into obj
    load_ps: Any  # [loads] time on the link
    load_reads_ps: Any  # [loads] of it, how long bytes leave the memory before the link; empty without a CPU
    load_up_ps: Any  # [loads] on the hop before the link, 0 = not; empty where there is no such hop
    wait: Any  # [requests]
    hit: Any  # [requests]
    cpu_count: Any  # [events] experts that the CPU computes; this and the next seven are empty when there are none
    cpu_slots: Any  # [events] their token slots
    cpu_ps: Any  # [events] how long it takes while no transfer slows it
    cpu_slow_ps: Any  # [events] beside transfers, contended only
    cpu_moves: Any  # [events] 1 = the event issues transfers
    cpu_work: Any  # [events] bytes that it reads * 10**9
    cpu_flop_ps: Any  # [events] time of its FLOPs alone
    carry_ps: Any  # [events] time on the link of what the device computes in its place, 0 = nothing; empty where that never happens
    guess_ptr: Any  # [events + 1]
    guess_obj: Any  # [guesses]
    issued: Any  # [guesses]
    guess_for: Any  # [guesses] event that each is for, at which its transfer is withdrawn; empty where none is
    send_ps: Any  # [events] of several devices: time to send a device the tokens of the event, 0 = none; empty with one device
    guess_ps: Any  # [guesses] time on the link
    guess_reads_ps: Any  # [guesses] as load_reads_ps
    guess_up_ps: Any  # [guesses] as load_up_ps
    fresh: Any  # [fresh] requests that hit what a guess brought, for the first time
    fresh_by: Any  # [fresh] that guess
    gone: Any  # [events] of the experts requested, how many fewer READY reads, because another stands in, nobody computes them or a low
    #            copy does; empty where that never happens
    gone_slots: Any  # [events] token slots that it does not compute
    low: Any  # [loads] 1 = a low copy, of the row of costs `places` further on; this and the next two are empty where there are none
    low_hits: Any  # [events] low copies that were in their pool; `gone` holds them, too
    low_slots: Any  # [events] their token slots


class Notes(NamedTuple):
    """What lowering keeps for itself. A handle is what an emitter returned for an operation; it is never looked into."""

    at: Any  # [2] loads and fresh hits of earlier events
    due: Any  # [widest] handle of each load of the event
    back: Any  # [devices] handle of what each other device sends back
    late: Any  # [widest] hits of the event that may still be on their way, in order of their transfers' issue
    by: Any  # [widest] guess that brings each of them
    rank: Any  # [widest] how many hits stand before each of them
