"""An idiomatic SimPy model of one machine that plays a routing trace: the timed oracle.

The GPU and the link are Resources, every transfer is a process, memory is a Container, arrivals and ends of launches
are events. Nothing here is fast; everything is meant to be believed. It shares only the nouns of
`simmoe.simulator.nouns.hardware` with the project and takes its decisions from `tests.oracles`.
All times are integer picoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import simpy

from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import Cache, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from tests import oracles

Process = Generator[simpy.Event, Any, None]
PS_PER_S, PS_PER_MS = 10**12, 10**9
WILD = str(Path(__file__).with_name("wild_miss.py"))
CHANGING = ("drop", "substitute", "cache_aware")  # rules that say more than which unit computes


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass
class OracleRun:
    pass_ps: list[int] = field(default_factory=list)  # [passes], passes run back to back
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    substituted: int = 0
    dropped: int = 0
    on_cpu: int = 0
    prefetched: dict[str, tuple[int, int]] = field(default_factory=dict)  # what became of prefetches -> (count, bytes)
    link_bytes: list[int] = field(default_factory=list)  # [passes], bytes of the loads that the pass issued
    link_busy_ps: int = 0  # sum of transfer durations, latency included, also of those that outlive the last pass
    compute_busy_ps: int = 0  # sum of part durations, launch included
    max_occupancy_bytes: int = 0
    pass_hits: list[int] = field(default_factory=list)  # [passes]
    pass_misses: list[int] = field(default_factory=list)  # [passes]
    pass_evictions: list[int] = field(default_factory=list)  # [passes]


class Transfer:
    """One load, decided but perhaps not issued yet."""

    def __init__(self, env: simpy.Environment, load: oracles.Load, meant_for: int = -1) -> None:
        self.load = load
        self.arrived = env.event()
        self.number = -1  # its place in the issue order of the run
        self.meant_for = (
            meant_for  # a prefetch: the next event of its layer, behind the one at whose end it was decided
        )
        self.issued_in = -1  # pass
        self.moves: simpy.Process | None = None
        self.started = self.withdrawn = self.hit = self.late = False


class MoEEvent:
    """What the launches and the issuer of one (pass, layer) tell each other."""

    def __init__(
        self,
        env: simpy.Environment,
        index: int,
        layers: int,
        decision: oracles.Decision,
        hits: dict[int, Transfer],
        n_experts: int,
    ) -> None:
        self.index = index
        self.on_cpu = decision.on_cpu
        self.hits = hits  # object -> the load that filled the slot it is hit in
        self.loads = [Transfer(env, load) for load in decision.loads]
        self.prefetches = [
            Transfer(
                env, load, next(e for e in range(index + 1, index + 1 + layers) if e % layers == load.obj // n_experts)
            )
            for load in decision.prefetches
        ]
        self.hits_done = env.event()  # (c), (d) and the late hits have ended
        self.beside, self.stands, self.dropped = decision.beside, dict(decision.stands), decision.dropped
        # The expert's launch has ended:
        self.launched = {obj: env.event() for obj in (*decision.request, *decision.beside)}


@dataclass(frozen=True)
class Pass:
    index: int
    tokens: int
    positions: list[list[int]]  # of the tokens of each of its sequences


class Machine:
    def __init__(
        self,
        hw: Hardware,
        model: ModelShape,
        trace: Trace,
        cache: oracles.ExpertCache,
        timeline: str,
        write_back: bool,
        cancel: bool,
    ) -> None:
        self.hw, self.model, self.trace, self.cache = hw, model, trace, cache
        self.overlap = timeline != "serial"
        self.host_wait_ps = hw.device.host_wait_ps if timeline == "sync" else 0
        self.write_back, self.cancel = write_back, cancel
        self.env = simpy.Environment()
        self.gpu = simpy.Resource(self.env, capacity=1)
        self.link = simpy.Resource(self.env, capacity=1)
        self.store = simpy.Resource(self.env, capacity=1)  # the hop before the link
        self.memory = [simpy.Container(self.env, capacity=group.capacity_bytes or 0.5) for group in cache.groups]
        self.slots: dict[int, Transfer] = {}  # object -> the load that filled its slot, or is about to
        self.buffers: dict[int, Transfer] = {}  # object -> the prefetch that brought it beside the cache
        self.n_issued = 0
        self.early: list[Transfer] = []  # prefetches, in the order of their issue
        self.gate: dict[int, int] = {}  # object -> its gate weight, in parts of 65536
        self.link_active = False  # a transfer holds the link
        self.leaving = 0  # transfers whose bytes leave the memory before the link
        self.under_way = 0  # transfers that have been issued and not ended
        self.cpu_rate = 0  # at which the CPU reads unified memory
        self.left_to_cpu: set[int] = set()  # objects that the CPU computes if they are missing
        self.miss = "fetch"
        self.rate_changed = self.env.event()
        self.column_of = {layer: column for column, layer in enumerate(trace.layer_index.tolist())}
        self.played = {(e.pass_index, e.column): e.occurrences for e in oracles.played_events(trace)}
        self.log = OracleRun()

    @property
    def now_ps(self) -> int:
        now = self.env.now
        assert isinstance(now, int), "a float or a NumPy scalar has leaked into the clock"
        return now

    # --- memory ---

    def reserve(self, load: oracles.Load) -> None:
        """The victims leave and the load takes their place, at one instant and without ever waiting for room."""
        for victim in load.victims:
            self.container(victim).get(self.cache.size(victim))
            del self.slots[victim]  # a load still in flight goes on; nobody waits for its arrival any more
        if not load.fits:
            return
        taken = self.container(load.obj).put(self.cache.size(load.obj))
        assert taken.triggered, "the decisions exceed the budget"
        occupancy = sum(int(container.level) for container in self.memory)
        self.log.max_occupancy_bytes = max(self.log.max_occupancy_bytes, occupancy)

    def container(self, obj: int) -> simpy.Container:
        return self.memory[self.cache.groups.index(self.cache.group_of(obj))]

    def empty(self) -> None:
        self.cache.clear()
        self.slots.clear()
        for container in self.memory:
            if container.level:
                container.get(container.level)

    # --- link ---

    def issue(self, transfer: Transfer, buffered: bool = False) -> None:
        if not buffered:
            self.reserve(transfer.load)
        (self.buffers if buffered else self.slots)[transfer.load.obj] = transfer
        transfer.number = self.n_issued
        self.n_issued += 1
        transfer.issued_in = len(self.log.link_bytes) - 1
        if transfer.meant_for >= 0:
            self.early.append(transfer)
        self.send(transfer)

    def send(self, transfer: Transfer) -> None:
        """It queues; its bytes count in the pass that decided it, also where it is sent later after all."""
        transfer.withdrawn = False
        self.log.link_bytes[transfer.issued_in] += self.cache.size(transfer.load.obj)
        transfer.moves = self.env.process(self.transfer(transfer))

    def withdraw(self, event: MoEEvent) -> Process:
        """What waits in the queue and this event makes useless leaves it; what left it earlier and this event hits queues again."""
        yield from self.let_transfers_end()  # what starts at this very picosecond has started
        hits = [transfer for transfer in event.hits.values() if transfer.meant_for >= 0]
        for transfer in self.early:
            if not (transfer.started or transfer.withdrawn or transfer in hits) and transfer.meant_for <= event.index:
                assert transfer.moves is not None
                transfer.moves.interrupt()
                transfer.withdrawn = True
                self.log.link_bytes[transfer.issued_in] -= self.cache.size(transfer.load.obj)
        for transfer in sorted(hits, key=lambda transfer: transfer.number):
            if transfer.withdrawn:
                self.send(transfer)

    def transfer(self, transfer: Transfer) -> Process:
        size = self.cache.size(transfer.load.obj)
        duration_ps = self.one_way_ps(size, self.link_bytes_per_s)
        back = sum(self.cache.size(victim) for victim in transfer.load.victims) if self.write_back else 0
        if back:  # the victims leave over the same link, which is free for the next load when both ways are done
            back_rate = self.hw.link.write_bytes_per_s or self.hw.link.bytes_per_s
            if not self.hw.unified:
                back_rate = min(back_rate, self.hw.tiers[self.hw.link.src].bytes_per_s)
            back_ps = self.one_way_ps(back, back_rate)
            duration_ps = max(duration_ps, back_ps) if self.hw.link.duplex == "full" else duration_ps + back_ps
        self.under_way += 1
        first = (self.store if self.hw.link.upstream is not None else self.link).request()
        try:
            yield first
        except simpy.Interrupt:
            first.cancel()
            self.under_way -= 1
            return
        transfer.started = True
        if self.hw.link.upstream is not None:
            came = self.env.event()  # its first bytes, or all of them
            first_hop = self.env.process(self.store_to_memory(first, size, came))
            yield came
        with self.link.request() if self.hw.link.upstream is not None else first as turn:
            yield turn
            began_ps = self.now_ps
            self.set_link_active(True)
            if not self.hw.unified:
                self.env.process(self.leave_memory(size))
            yield self.env.timeout(duration_ps)
            if self.hw.link.upstream is not None and self.hw.link.upstream.pipelined:
                last_byte_ps = yield first_hop
                if (rest := last_byte_ps + self.hw.link.latency_ps - self.now_ps) > 0:
                    yield self.env.timeout(rest)
            self.set_link_active(False)
            self.log.link_busy_ps += self.now_ps - began_ps
        self.under_way -= 1
        transfer.arrived.succeed()

    def store_to_memory(self, turn: Any, size: int, came: simpy.Event) -> Generator[simpy.Event, Any, int]:
        """The hop before the link, whose turn has come; when its last byte has left the store."""
        up = self.hw.link.upstream
        assert up is not None
        with turn:
            yield self.env.timeout(up.latency_ps)
            if up.pipelined:
                came.succeed()
            yield self.env.timeout(ceil_div(size * PS_PER_S, up.bytes_per_s))
        if not up.pipelined:
            came.succeed()
        return self.now_ps

    def let_transfers_end(self) -> Process:
        """Whatever ends at this very picosecond; a second hop may hear of the end of the first."""
        for _ in range(4):
            yield self.env.timeout(0)

    def leave_memory(self, size: int) -> Process:
        """Behind the latency, the bytes leave the memory before the link as fast as the link can carry them."""
        yield self.env.timeout(self.hw.link.latency_ps)
        self.leaving += 1
        self.replan()
        yield self.env.timeout(ceil_div(size * PS_PER_S, self.link_bytes_per_s))
        self.leaving -= 1
        self.replan()

    def one_way_ps(self, n_bytes: int, rate: int) -> int:
        return self.hw.link.latency_ps + ceil_div(n_bytes * PS_PER_S, rate)

    def set_link_active(self, active: bool) -> None:
        self.link_active = active
        self.replan()

    def replan(self) -> None:
        changed, self.rate_changed = self.rate_changed, self.env.event()
        changed.succeed()

    # --- compute ---

    def rate_bytes_per_ms(self, loading: bool, cpu_rate: int) -> int:
        """What is left to the GPU while a load runs and the CPU reads at `cpu_rate` (0 = it does not)."""
        own, left = self.hw.device.bytes_per_s // 1000, self.hw.device_memory.bytes_per_s // 1000
        if not self.hw.unified or not (loading or cpu_rate):
            return own
        if loading:
            left -= self.hw.dram_bytes_per_loaded_byte * (self.link_bytes_per_s // 1000)
        return max(min(own, left - cpu_rate), 1)  # next to nothing: it waits for the CPU

    @property
    def link_bytes_per_s(self) -> int:
        """A discrete link runs no faster than the memory that it reads."""
        link = self.hw.link
        return link.bytes_per_s if self.hw.unified else min(link.bytes_per_s, self.hw.tiers[link.src].bytes_per_s)

    def cpu_bytes_per_ms(self, beside_a_load: bool) -> int:
        """Discrete: what the load leaves of the CPU's memory. Unified: what loads leave, but half of what it reaches alone."""
        cpu = self.hw.units["cpu"]
        memory, own = self.hw.tiers[cpu.memory].bytes_per_s, cpu.bytes_per_s
        if not beside_a_load:
            return own // 1000
        if self.hw.unified:
            return max(min(own, memory - self.link_bytes_per_s * self.hw.dram_bytes_per_loaded_byte), own // 2) // 1000
        left = min(own, memory - self.link_bytes_per_s) if self.hw.link.src == cpu.memory else own
        return max(left // 1000, 1)  # next to nothing: it waits

    def compute_on_cpu(self, layer: Layer, event: MoEEvent, experts: Sequence[int], routed: Sequence[int]) -> Process:
        """Its own rate while the link rests; else, unified: one rate for the whole piece, as decided when the event is."""
        cpu, (work, flop_ps) = self.hw.units["cpu"], self.cpu_piece(layer, experts, routed)
        if self.hw.unified:
            yield from self.let_transfers_end()  # then it is no longer under way
            rate = self.cpu_bytes_per_ms(bool(event.loads or event.prefetches or self.under_way))
            self.cpu_rate = rate
            self.replan()
            yield self.env.timeout(cpu.launch_ps + max(ceil_div(work, rate), flop_ps))
            self.cpu_rate = 0
            self.replan()
        else:
            yield self.env.timeout(cpu.launch_ps)
            reading = self.env.process(self.read(work, lambda: self.cpu_bytes_per_ms(self.leaving > 0)))
            yield reading & self.env.timeout(flop_ps)

    def cpu_piece(self, layer: Layer, experts: Sequence[int], routed: Sequence[int]) -> tuple[int, int]:
        """What it reads, and the time of its FLOPs."""
        cpu, token_slots = self.hw.units["cpu"], sum(routed.count(obj) for obj in experts)
        flop_ps = ceil_div(token_slots * layer.expert.flops_per_token * PS_PER_S, cpu.flops_per_s[self.model.compute])
        return len(experts) * layer.expert.bytes * PS_PER_MS, flop_ps

    def cpu_ps(self, layer: Layer, experts: Sequence[int], routed: Sequence[int]) -> int:
        """Of a piece while the link rests."""
        work, flop_ps = self.cpu_piece(layer, experts, routed)
        alone_ps = self.hw.units["cpu"].launch_ps + max(ceil_div(work, self.cpu_bytes_per_ms(False)), flop_ps)
        return alone_ps if experts else 0

    def alone_ps(self, size: int) -> int:
        """Of a load while nothing else moves."""
        link, up, last = self.hw.link, self.hw.link.upstream, self.one_way_ps(size, self.link_bytes_per_s)
        if up is None:
            return last
        first = up.latency_ps + ceil_div(size * PS_PER_S, up.bytes_per_s)
        longer = max(first - up.latency_ps, last - link.latency_ps)
        return up.latency_ps + link.latency_ps + longer if up.pipelined else first + last

    def sent_to_cpu(self, layer: Layer, routed: Sequence[int], missing: list[int], left: list[int]) -> set[int]:
        """What the miss rule sends to the CPU of what is `missing`, beside what is `left` to it. Every split is tried."""
        load_ps = {obj: self.alone_ps(self.cache.size(obj)) for obj in missing}
        if self.miss in ("fetch", WILD) or self.miss.partition("=")[0] in CHANGING:
            return set()
        if self.miss == "cpu":
            return set(missing)
        if self.miss == "idle_cheaper":
            return {obj for obj in missing if self.cpu_ps(layer, [obj], routed) < load_ps[obj]}
        assert self.miss == "balanced"
        order = sorted(missing, key=routed.count, reverse=True)  # stable: ties stay in request order

        def longer_ps(loaded: int) -> int:
            return max(sum(load_ps[obj] for obj in order[:loaded]), self.cpu_ps(layer, left + order[loaded:], routed))

        loaded = min(range(len(order) + 1), key=lambda loaded: (longer_ps(loaded), -loaded))
        return set(order[loaded:])

    def weigh(self, index: int, column: int) -> None:
        """What the tokens of this event give each expert that they choose, of all that each of them gives: the mean over them."""
        trace, gave = self.trace, dict[int, list[Fraction]]()
        for row in range(int(trace.pass_ptr[index]), int(trace.pass_ptr[index + 1])):
            chosen = {s: e for s, e in enumerate(trace.expert_ids[row, column].tolist()) if e >= 0}
            gates = trace.gate_weights
            weight = {s: Fraction(1) if gates is None else Fraction(float(gates[row, column, s])) for s in chosen}
            for s, expert in chosen.items():
                of_all = weight[s] / sum(weight.values()) if any(weight.values()) else Fraction(1, len(chosen))
                gave.setdefault(column * trace.n_experts + expert, []).append(of_all)
        self.gate |= {obj: round(sum(shares) * 65536 / len(shares)) for obj, shares in gave.items()}

    def answer(self, routed: Sequence[int], missing: list[int], here: list[int]) -> dict[int, int | None]:
        """What a rule that changes the output says of what is missing: nobody computes it (None), or a resident does."""
        name, _, number = self.miss.partition("=")
        share, gate = (
            Fraction(int(number.removesuffix("%") or 0), 100),
            {obj: self.gate.get(obj, 0) for obj in (*missing, *here)},
        )
        said: dict[int, int | None] = {}
        best_first = sorted(here, key=lambda obj: (-gate[obj], obj))
        beside = [obj for obj in best_first if obj not in routed]
        asked = [obj for obj in dict.fromkeys(routed) if obj in here] + missing  # of equal weights a hit comes first
        top = max(asked, key=gate.__getitem__)
        for obj in missing:
            if name == "drop" and gate[obj] < share * 65536:
                said[obj] = None
            elif name == "substitute" and here:
                said[obj] = beside.pop(0) if beside else best_first[0]
            elif name == "cache_aware" and obj != top and beside and gate[beside[0]] >= gate[obj] * (1 - share):
                said[obj] = beside.pop(0)
        return said

    def wild(self, missing: list[int], here: list[int]) -> dict[int, int | None]:
        """What tests/wild_miss.py answers."""
        said: dict[int, int | None] = {}
        for k, obj in enumerate(missing):
            expert = obj % self.trace.n_experts
            draw = (7 * expert + 3 * k + 5 * len(here) + len(missing)) % 5
            if draw == 2:
                said[obj] = None
            elif draw > 2 and here:
                said[obj] = here[(expert + 3 * len(here) + k) % len(here)]
        return said

    def read_memory(self, n_bytes: int) -> Process:
        yield from self.read(n_bytes * PS_PER_MS, lambda: self.rate_bytes_per_ms(self.link_active, self.cpu_rate))

    def read(self, work: int, rate_now: Callable[[], int]) -> Process:
        """Re-plan whenever a transfer starts or ends; whole rates times whole picoseconds leave nothing to round."""
        while work > 0:
            rate, began_ps = rate_now(), self.now_ps
            yield self.env.timeout(ceil_div(work, rate)) | self.rate_changed
            work -= rate * (self.now_ps - began_ps)

    def compute(self, n_bytes: int, flops: int) -> Process:
        with self.gpu.request() as turn:
            yield turn
            began_ps = self.now_ps
            yield self.env.timeout(self.hw.device.launch_ps)
            flop_ps = ceil_div(flops * PS_PER_S, self.hw.device.flops_per_s[self.model.compute])
            yield self.env.process(self.read_memory(n_bytes)) & self.env.timeout(flop_ps)  # a hard maximum
            self.log.compute_busy_ps += self.now_ps - began_ps

    def compute_part(self, part: Part, tokens: int) -> Process:
        yield from self.compute(part.bytes, tokens * part.flops_per_token)

    def compute_experts(self, layer: Layer, event: MoEEvent, experts: Sequence[int], routed: Sequence[int]) -> Process:
        token_slots = sum(routed.count(obj) for obj in experts)
        yield from self.compute(len(experts) * layer.expert.bytes, token_slots * layer.expert.flops_per_token)
        for obj in experts:
            event.launched[obj].succeed()

    # --- one MoE layer behind its attention ---

    def moe(self, layer: Layer, step: Pass, column: int, candidates: Sequence[int]) -> Process:
        if self.host_wait_ps:
            yield self.env.timeout(self.host_wait_ps)  # the host reads what the router chose; loads on their way go on
        routed = self.played[step.index, column]
        self.weigh(step.index, column)
        event = self.decide(step.index * self.trace.n_layers + column, layer, routed, candidates)
        if self.cancel:
            yield from self.withdraw(event)
        self.env.process(self.issuer(event))
        on_cpu = event.on_cpu
        beside = self.env.process(self.compute_on_cpu(layer, event, on_cpu, routed)) if on_cpu else None
        if layer.shared.bytes > 0:
            yield from self.compute_part(layer.shared, step.tokens)
        yield from self.let_transfers_end()  # equal counts as arrived
        routed = [event.stands.get(obj, obj) for obj in routed if obj not in event.dropped]
        ready = [obj for obj, transfer in event.hits.items() if transfer.arrived.triggered]
        if ready or event.beside:
            yield from self.compute_experts(layer, event, [*ready, *event.beside], routed)
        late = [transfer for obj, transfer in event.hits.items() if obj not in ready]
        for transfer in sorted(late, key=lambda transfer: transfer.number):
            transfer.late = True
            yield transfer.arrived
            yield from self.compute_experts(layer, event, [transfer.load.obj], routed)
        event.hits_done.succeed()
        for transfer in event.loads:
            yield transfer.arrived
            yield from self.compute_experts(layer, event, [transfer.load.obj], routed)
        if beside is not None:
            yield beside

    def decide(self, index: int, layer: Layer, routed: list[int], candidates: Sequence[int]) -> MoEEvent:
        rule = partial(self.sent_to_cpu, layer, routed)
        changes = self.miss.partition("=")[0] in CHANGING
        answer = self.wild if self.miss == WILD else partial(self.answer, routed) if changes else None
        decision = self.cache.play(index, routed, candidates, self.left_to_cpu, rule, answer)
        self.log.substituted += len(decision.stands)
        self.log.dropped += len(decision.dropped)
        self.log.on_cpu += len(decision.on_cpu)
        for load in decision.promoted:
            self.reserve(load)
            if load.fits:
                self.slots[load.obj] = self.buffers.pop(load.obj)
        self.log.pass_hits[-1] += len(decision.hits)
        self.log.pass_misses[-1] += len(decision.loads)
        self.log.pass_evictions[-1] += len(decision.evictions)
        # The slots as they are now: a prefetch may bring an own-event victim back in another transfer.
        hits = {obj: self.slots[obj] for obj in decision.hits}
        for transfer in hits.values():
            transfer.hit = True
        return MoEEvent(self.env, index, self.trace.n_layers, decision, hits, self.trace.n_experts)

    def issuer(self, event: MoEEvent) -> Process:
        """Issue in order; whoever has to wait holds up those behind. All is issued before the layer ends."""
        launch_before = event.hits_done
        for transfer in event.loads:
            reasons = [event.launched[victim] for victim in transfer.load.own_victims]
            if not self.overlap:
                reasons.append(launch_before)
                launch_before = event.launched[transfer.load.obj]
            if reasons:
                yield self.env.all_of(reasons)
            self.issue(transfer)
        for transfer in event.prefetches:
            self.issue(transfer, self.cache.buffered)

    # --- passes ---

    def forward(self, step: Pass, prefetch: Sequence[Sequence[int]] | None) -> Process:
        for index, layer in enumerate(self.model.layers):
            count_bytes = layer.attention.bytes + 2 * layer.state_bytes * len(step.positions)
            flops = layer.attention.flops_per_token * step.tokens
            for cache in layer.caches:
                seen = [[attends(cache, position) for position in tokens] for tokens in step.positions]
                pairs = [sum(min(len(one), cache.read or len(one)) for one in tokens) for tokens in seen]
                read = [min(len(set().union(*tokens)), most) for tokens, most in zip(seen, pairs)]
                count_bytes += cache.bytes_per_position * sum(read)
                flops += cache.flops_per_position * sum(pairs)
            yield from self.compute(count_bytes, flops)
            if not layer.n_experts:
                if layer.ffn.bytes > 0:
                    yield from self.compute_part(layer.ffn, step.tokens)
                continue
            column = self.column_of[index]
            candidates = prefetch[step.index * self.trace.n_layers + column] if prefetch is not None else ()
            yield from self.moe(layer, step, column, candidates)
        yield from self.compute_part(self.model.head, len(step.positions))

    def run(self, cold: set[int], prefetch: Sequence[Sequence[int]] | None) -> Process:
        for step in passes(self.trace):
            for per_pass in (self.log.pass_hits, self.log.pass_misses, self.log.pass_evictions, self.log.link_bytes):
                per_pass.append(0)
            if step.index in cold:
                self.empty()
            began_ps = self.now_ps
            yield from self.forward(step, prefetch)
            self.log.pass_ps.append(self.now_ps - began_ps)


def attends(cache: Cache, position: int) -> set[int]:
    """Positions out of which a token attends."""
    if cache.chunked:
        return {one for one in range(position + 1) if one // cache.kept == position // cache.kept}
    return {one for one in range(position + 1) if not cache.kept or position - one < cache.kept}


def passes(trace: Trace) -> list[Pass]:
    steps = []
    ptr, sequence, position = trace.pass_ptr.tolist(), trace.sequence.tolist(), trace.position.tolist()
    for index, (start, stop) in enumerate(pairwise(ptr)):
        positions: dict[int, list[int]] = {}
        for row in range(start, stop):
            positions.setdefault(sequence[row], []).append(position[row])
        steps.append(Pass(index, stop - start, list(positions.values())))
    return steps


def simulate(
    hw: Hardware,
    model: ModelShape,
    trace: Trace,
    *,
    budget_bytes: int,
    eviction: str,
    scope: str = "global",
    timeline: str = "overlapped",
    cold_per_sequence: bool = False,
    prefetch: Sequence[Sequence[int]] | None = None,  # candidates of each event, event = pass * moe_layers + column
    seed: int = 0,
    write_back: bool = False,
    buffered: bool = False,
    cancel: bool = False,
    miss: str = "fetch",
    left_to_cpu: Collection[int] = (),  # objects that the CPU computes if they are missing
) -> OracleRun:
    """Play the trace. Decisions from `oracles.ExpertCache`, event by event, time from SimPy."""
    sizes = [model.layers[layer].expert.bytes for layer in trace.layer_index.tolist()]
    future = oracles.next_events(oracles.played_events(trace))
    cache = oracles.ExpertCache(
        sizes, trace.n_experts, budget_bytes, eviction, scope, seed, future, buffered, left_to_cpu
    )
    machine = Machine(hw, model, trace, cache, timeline, write_back, cancel)
    machine.left_to_cpu, machine.miss = set(left_to_cpu), miss
    cold = oracles.cold_starts(trace) if cold_per_sequence else set()
    taken = hw.dram_bytes_per_loaded_byte * (hw.link.bytes_per_s // 1000)
    if hw.unified and hw.device_memory.bytes_per_s // 1000 <= taken:
        raise ValueError("loads leave the compute unit no memory bandwidth")
    machine.env.process(machine.run(cold, prefetch))
    machine.env.run()  # the last prefetches may end after the last pass
    log = machine.log
    for what, mine in {
        "useful": [one for one in machine.early if one.hit],
        "late": [one for one in machine.early if one.late],
        "wasted": [one for one in machine.early if not (one.hit or one.withdrawn)],
        "cancelled": [one for one in machine.early if one.withdrawn],
    }.items():
        log.prefetched[what] = len(mine), sum(cache.size(one.load.obj) for one in mine)
    log.hits, log.misses, log.evictions = sum(log.pass_hits), sum(log.pass_misses), sum(log.pass_evictions)
    return log
