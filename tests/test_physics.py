"""Each law of simulator/physics: closed forms, published tables, and monotonicity where physics demands it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles
from simmoe.simulator.costs import Costs
from simmoe.simulator.link_time import link_bytes_per_s, load_ps
from simmoe.simulator.nouns.hardware import Upstream
from simmoe.simulator.physics import (
    PS_PER_S,
    attention,
    cpu,
    energy,
    gemm,
    gemv,
    grouped,
    launch,
    link,
    storage,
    streaming,
    thermal,
    unified,
)
from simmoe.simulator.time import rates as clock_laws
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces

GB = 10**9
US = 10**6  # picoseconds
sizes = st.integers(1, 10**10)
rates = st.integers(10**6, 10**13)


# --- kernels ---------------------------------------------------------------------------------------------------------


@given(sizes, rates, st.integers(0, 10**8))
def test_gemv_is_launch_plus_bytes_over_bandwidth(count, rate, t0):
    exact = t0 + count * PS_PER_S / rate
    assert exact <= gemv.gemv_ps(count, rate, t0) < exact + 1 + exact * 1e-12


@given(sizes, sizes, rates, rates)
def test_gemv_is_monotone(a, b, fast, slow):
    a, b, slow, fast = *sorted((a, b)), *sorted((fast, slow))
    assert gemv.gemv_ps(a, fast, 0) <= gemv.gemv_ps(b, fast, 0) <= gemv.gemv_ps(b, slow, 0)


MOE_LAYER = {16: 131.1, 32: 229.7, 64: 424.1, 128: 817.6}  # distinct experts: us, 16 tokens; LLMServingSim moe.csv


@pytest.mark.parametrize("distinct", MOE_LAYER)
def test_fused_layer_of_qwen3_on_rtx_pro_6000(distinct):
    """33 us + 6.13 us an expert of 9.437 MB."""
    predicted = grouped.grouped_ps(distinct, 9_437_184, int(9_437_184 / 6.13e-6), 33 * US) / US
    assert predicted == pytest.approx(MOE_LAYER[distinct], rel=0.02)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(1, 20))
def test_soft_maximum_lies_between_the_larger_and_the_sum(memory, compute, p):
    total = gemm.gemm_ps(memory, compute, p, 0)
    assert max(memory, compute) <= total <= memory + compute + 1
    assert total <= max(memory, compute) * 2 ** (1 / p) + 1
    assert gemm.gemm_ps(memory, compute, None, 0) == max(memory, compute)


def test_soft_maximum_of_equals_is_a_root_of_two():
    assert gemm.gemm_ps(10**9, 10**9, 2.0, 0) == round(2**0.5 * 10**9)
    assert gemm.gemm_ps(10**9, 10**9, 1.0, 5) == 2 * 10**9 + 5


A100 = {1: 116, 16: 111, 64: 116, 128: 157, 256: 229, 512: 402, 1024: 877, 2048: 1694, 4096: 3366}  # tokens: us


def test_the_soft_maximum_mends_the_corner_that_a_hard_one_cuts():
    """Gate and up projection of Llama-2-7B, 4096 x 22016 in bf16 (microsoft/vidur medians): 1660 GB/s, 70 % of 312 TFLOP/s."""

    def errors(p):
        found = []
        for tokens, us in A100.items():
            memory = gemv.read_ps(4096 * 22016 * 2, 1660 * GB)
            compute = gemm.flops_ps(2 * 4096 * 22016 * tokens, int(0.72 * 312e12))
            found.append(abs(gemm.gemm_ps(memory, compute, p, 5 * US) / US / us - 1))
        return found

    assert max(errors(2.5)) < 0.17 < 0.25 < max(errors(None))


def test_attention_reads_weights_once_and_every_position():
    assert attention.attention_bytes(100, [(7, 3)]) == 121
    assert attention.attention_bytes(100, [(7, 3), (2, 5)], state_bytes=4) == 139  # a state is read and written
    assert attention.attention_flops(2, 10, [(7, 5)]) == 55


@pytest.mark.parametrize(
    ("kept", "read", "chunked", "each", "reached"),  # of tokens at 0 … 7, and of a pass with those at 5, 6 and 7
    [
        (0, 0, False, [1, 2, 3, 4, 5, 6, 7, 8], 8),
        (3, 0, False, [1, 2, 3, 3, 3, 3, 3, 3], 5),  # 3 … 7
        (3, 3, False, [1, 2, 3, 3, 3, 3, 3, 3], 5),
        (4, 0, True, [1, 2, 3, 4, 1, 2, 3, 4], 4),  # 4 … 7
        (3, 0, True, [1, 2, 3, 1, 2, 3, 1, 2], 5),  # 3 … 7: the chunk of 5, and that of 6 and 7
        (0, 2, False, [1, 2, 2, 2, 2, 2, 2, 2], 6),  # two for each of the three tokens
        (0, 4, False, [1, 2, 3, 4, 4, 4, 4, 4], 8),  # more than there are
        (99, 0, False, [1, 2, 3, 4, 5, 6, 7, 8], 8),
    ],
)
def test_positions_that_a_token_and_a_pass_attend_to(kept, read, chunked, each, reached):
    positions = np.arange(8)
    found = attention.attended(positions, kept, read, chunked)
    assert found.tolist() == each
    one = attention.reached(positions, positions, found, kept, chunked)
    assert one.tolist() == each  # a pass of one token
    assert attention.reached(np.array([5]), np.array([7]), found[5:].sum(keepdims=True), kept, chunked) == [reached]


def test_launches_gain_from_graphs_only_with_a_figure():
    assert launch.launch_ps(2620, 1320, True) == 1320
    assert launch.launch_ps(2620, 1320, False) == launch.launch_ps(2620, None, True) == 2620


# --- links and stores ------------------------------------------------------------------------------------------------


def test_pcie_carries_what_its_packets_leave():
    raw = {3: 15.75, 4: 31.5, 5: 63.0}
    for generation, gt in ((3, 8), (4, 16), (5, 32)):
        assert link.pcie_bytes_per_s(gt, 16, overhead=0) / GB == pytest.approx(raw[generation], rel=0.001)
        assert 0.90 < link.pcie_bytes_per_s(gt, 16) / link.pcie_bytes_per_s(gt, 16, overhead=0) < 0.92


CURVE = ((10**6, 0.7), (10**7, 0.9), (10**8, 0.95))


def test_efficiency_is_linear_in_the_logarithm_of_the_size():
    assert link.efficiency(5, ()) == 1.0
    assert [link.efficiency(n, CURVE) for n in (1, 10**6, 10**7, 10**8, 10**12)] == [0.7, 0.7, 0.9, 0.95, 0.95]
    assert link.efficiency(int(10**6.5), CURVE) == pytest.approx(0.8, abs=1e-6)


@given(sizes, sizes)
def test_a_larger_transfer_never_takes_less_time(a, b):
    a, b = sorted((a, b))
    ps = [link.transfer_ps(n, 25 * GB, 7 * US, link.efficiency(n, CURVE)) for n in (a, b)]
    assert ps[0] <= ps[1] + 1


def test_two_hops_in_turn_add_up_and_pipelined_ones_take_the_slower():
    assert link.two_hops_ps(100, 40, 10, 5, False) == 140
    assert link.two_hops_ps(100, 40, 10, 5, True) == 105
    assert link.both_ways_ps(30, 20, "full") == 30 and link.both_ways_ps(30, 20, "half") == 50


def test_a_second_hop_enters_every_load():
    hw = hardware_profiles.load("a100")
    nvme = Upstream("host_dram", 5 * GB, 100 * US, False)
    slow = replace(hw, link=replace(hw.link, upstream=nvme))
    assert load_ps(10**7, slow) == load_ps(10**7, hw) + link.transfer_ps(10**7, 5 * GB, 100 * US)


PHONE = {1: 1810, 2: 2460, 4: 2458, 8: 2420, 16: 2244, 32: 2255}  # requests in flight: MiB/s


def test_flash_rate_follows_its_curve_over_requests_in_flight():
    points = [(depth, rate / 2460) for depth, rate in PHONE.items()]
    for depth, rate in PHONE.items():
        assert storage.queued_bytes_per_s(2460 * 2**20, depth, points) == pytest.approx(rate * 2**20, rel=1e-6)
    assert storage.queued_bytes_per_s(7, 3, ()) == 7


def test_few_reads_in_flight_slow_every_load_of_a_run():
    hw = hardware_profiles.load("phone_ufs4")
    few = hardware_profiles.load("phone_ufs4", {"link.queue_depth": "1"})
    assert link_bytes_per_s(few) / link_bytes_per_s(hw) == pytest.approx(0.736, rel=1e-3)
    size = 3 * 2**20
    assert load_ps(size, few) - few.link.latency_ps > 1.3 * (load_ps(size, hw) - hw.link.latency_ps)
    assert load_ps(size, hardware_profiles.load("phone_ufs4", {"link.queue_depth": "2"})) == load_ps(size, hw)


def test_few_reads_in_flight_slow_the_first_of_two_hops_only():
    hw = hardware_profiles.load("rtx_4090_nvme")
    few = hardware_profiles.load("rtx_4090_nvme", {"link.queue_depth": "1"})
    assert link_bytes_per_s(few) == link_bytes_per_s(hw)
    assert load_ps(10**8, few, cached=True) == load_ps(10**8, hw, cached=True)
    assert load_ps(10**8, few) > load_ps(10**8, hw)


# --- one memory for all ----------------------------------------------------------------------------------------------


@given(st.integers(0, 3), st.integers(0, 10**8), st.integers(0, 10**8))
def test_doubling_the_flash_traffic_takes_its_share_of_the_memory(w, load, own):
    memory = 10**9
    before, after = (unified.contended_rate(own, memory, n * load, w) for n in (1, 2))
    assert after <= before
    if after < own and before < own:
        assert before - after == w * load  # R = B - w r


def test_doubling_the_flash_traffic_of_a_profile_lowers_the_rate_of_the_gpu_as_the_closed_form_says():
    hw = hardware_profiles.load("jetson_orin")
    hw = replace(hw, dram_bytes_per_loaded_byte=3, units={"gpu": replace(hw.device, bytes_per_s=180 * GB)})
    trace = traces.load("switch")
    model = models.load("oracle-moe-9x24")
    memory = hw.device_memory.bytes_per_s
    seen = []
    for rate in (4 * GB, 8 * GB):
        costs = Costs(replace(hw, link=replace(hw.link, bytes_per_s=rate)), model, trace)
        seen.append(costs.slow_rate * 1000)
        assert seen[-1] == memory - 3 * rate
    assert seen[0] - seen[1] == 3 * 4 * GB


def test_faults_cost_by_the_page():
    assert link.managed_ps(2**20, 2**16, 20 * US, 10**12) == 16 * 20 * US + 2**20


def test_pageable_and_managed_host_memory_slow_every_load():
    pinned, pageable, managed = (
        hardware_profiles.load("rtx_4090", {"link.host_memory": kind}) for kind in ("pinned", "pageable", "managed")
    )
    size, m = 34 * 2**20, managed.link.managed
    assert pageable.link.pageable_bytes_per_s is not None and m is not None
    assert load_ps(size, pageable) == link.transfer_ps(size, pageable.link.pageable_bytes_per_s, 7 * US)
    assert load_ps(size, managed) == 7 * US + link.managed_ps(size, m.page_bytes, m.fault_ps, m.bytes_per_s)
    assert load_ps(size, pinned) < load_ps(size, managed) and load_ps(size, pinned) < load_ps(size, pageable)


TIMES = st.one_of(st.integers(0, 5000), st.integers(0, 10**12))


@given(TIMES, TIMES, st.one_of(st.integers(0, 3), st.integers(0, 10**9)), st.sampled_from((1.0, 1.58, 6.5, 64.0)))
def test_a_looked_up_soft_maximum_is_monotone_near_the_curve_and_the_same_in_the_recurrence(memory, compute, more, p):
    shares = grouped.soft_shares(p)
    took, longer = (max(m, compute) + grouped.looked_up_ps(m, compute, shares) for m in (memory, memory + more))
    assert took <= longer
    assert grouped.looked_up_ps(memory, compute, shares) == grouped.looked_up_ps(compute, memory, shares)
    assert clock_laws.soft_excess(memory, compute, shares, 0) == grouped.looked_up_ps(memory, compute, shares)
    if memory and compute:
        high, low = max(memory, compute), min(memory, compute)
        assert took == pytest.approx(high * (1 + (low / high) ** p) ** (1 / p), rel=3e-4, abs=1)


def test_the_fixed_time_of_a_fused_launch_is_no_part_of_its_soft_maximum():
    """The engine's launch is the law of physics/grouped.py."""
    hw = hardware_profiles.load("rtx_pro_6000")
    unit, model = hw.device, models.load("oracle-moe-9x24")
    assert unit.grouped_launch_ps > unit.launch_ps and unit.grouped_softness is not None
    costs = Costs(hw, model, traces.load("switch"))
    for count, slots in ((1, 1), (4, 8), (8, 3000)):
        part = costs.moe_layers[0].expert
        rate, flops = unit.grouped_bytes_per_s or unit.bytes_per_s, unit.flops_per_s[model.compute]
        want = grouped.grouped_ps(
            count, part.bytes, rate, unit.grouped_launch_ps, slots * part.flops_per_token, flops, unit.grouped_softness
        )
        assert costs.experts(0, count, slots).ps == pytest.approx(want, abs=2)


# --- the CPU ---------------------------------------------------------------------------------------------------------


def test_the_cpu_reads_what_the_link_leaves_and_waits_where_that_is_nothing():
    assert cpu.left_bytes_per_s(60, 100, 25) == 60
    assert cpu.left_bytes_per_s(90, 100, 25) == 75
    assert cpu.left_bytes_per_s(90, 100, 80) == 20
    assert cpu.left_bytes_per_s(90, 100, 100) == 0


def test_beside_loads_into_unified_memory_the_cpu_keeps_half():
    assert cpu.shared_bytes_per_s(60, 100, 25) == 60
    assert cpu.shared_bytes_per_s(90, 100, 25) == 75
    assert cpu.shared_bytes_per_s(90, 100, 80) == 45


def test_experts_on_the_cpu_take_the_longer_of_reading_and_computing():
    assert cpu.experts_ps(3, 100, 3, 10, PS_PER_S, PS_PER_S, 5) == 305
    assert cpu.experts_ps(3, 100, 99, 10, PS_PER_S, PS_PER_S, 5) == 995


# --- energy and heat -------------------------------------------------------------------------------------------------


def test_two_terms_meet_both_measured_points_of_an_l40():
    """845 GB/s alone draws 199 W, with 15.4 TFLOP/s beside it 282 W."""
    power = energy.Power(60.0, (199 - 60) / 845e9, 0.0, 83 / 15.4e12)
    assert energy.joules(1, 845e9, 0, 0, power) == pytest.approx(199)
    assert energy.joules(1, 845e9, 0, 15.4e12, power) == pytest.approx(282)


def test_what_an_orin_nx_held_for_45_minutes_is_what_its_resistance_allows():
    assert thermal.sustained_w(92, 25, 2.31) == pytest.approx(29, rel=0.01)
    assert thermal.clock_share(29, 5, 30) == 1.0
    assert thermal.clock_share(53, 5, 29) == pytest.approx(0.5)


# --- prefill ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 100), st.integers(0, 100))
def test_equal_layers_stream_in_the_closed_form(n, copy, compute):
    assert streaming.streamed_ps([copy] * n, [compute] * n) == copy + (n - 1) * max(copy, compute) + compute


# --- through the engine ----------------------------------------------------------------------------------------------


def tok_s(**kwargs):
    return simmoe.run("rtx_4090", "switch", budget="25%", tokens=300, engine="simpy", **kwargs).tok_s


def test_everything_on_the_cpu_is_the_cpu_alone():
    run = simmoe.run("rtx_4090", "switch", budget="25%", tokens=300, engine="simpy", placement="popular=0%")
    assert run.hits == run.misses == run.bytes == 0 and run.counts.on_cpu == run.counts.requests
    costs = run.workload.costs
    one = costs.cpu_ps(0, 1, 1)
    decode = run.decode.requests
    assert run.where_ps()["waiting for the CPU"] == decode * one  # no shared experts: nothing hides it


def test_placements_share_the_work_out():
    counts = [
        simmoe.run("rtx_4090", "switch", budget="100%", tokens=300, engine="simpy", placement=f"n_cpu_moe={n}").counts
        for n in (0, 8, 99)  # experts in the blocks 1, 4, 7, 9, 12, 15, 17, 20 and 23
    ]
    assert counts[0].on_cpu == 0 < counts[1].on_cpu < counts[2].on_cpu == counts[2].requests


@pytest.mark.slow
def test_a_miss_goes_the_cheaper_way():
    """A CPU that reads at 68 GB/s beats a link of 25.6 for one token; one that reads at 1 GB/s never does."""
    for rate, same_as in (("68 GB/s", "cpu"), ("1 GB/s", "fetch")):
        hw = hardware_profiles.load("rtx_4090", {"units.cpu.bandwidth": rate})
        cheaper, other = (
            simmoe.run(hw, "switch", budget="25%", tokens=300, engine="simpy", miss=miss)
            for miss in ("idle_cheaper", same_as)
        )
        assert cheaper.counts == other.counts and cheaper.pass_ps.tolist() == other.pass_ps.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["units.gpu.bandwidth", "link.bandwidth", "units.gpu.flops.fp16"])
def test_a_faster_part_never_slows_the_machine(path):
    hw = hardware_profiles.load("rtx_4090")
    slower = hardware_profiles.load(
        "rtx_4090", {path: f"{hw.figures[path].value // 2 // 1000 * 1000} {'FLOP/s' if 'flops' in path else 'B/s'}"}
    )
    runs = [simmoe.run(h, "switch", budget="25%", tokens=300, engine="simpy").tok_s for h in (slower, hw)]
    assert runs[0] <= runs[1]
