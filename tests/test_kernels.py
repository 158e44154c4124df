"""The laws of what an engine's kernels cost: their limits, closed forms worked out by hand, and monotone in each argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmoe.simulator.physics import kernels

POSITIVE = st.floats(1e-3, 1e3)


def rate(peak=1e12, share=0.8, per_clock=6.0, processors=100, clock=2e9):
    return kernels.read_bytes_per_s(peak, share, per_clock, processors, clock)


def test_a_kernel_takes_its_floor_at_2_ghz_and_twice_as_long_at_1():
    assert kernels.kernel_s(1.76e-6, 2e9) == pytest.approx(1.76e-6)
    assert kernels.kernel_s(1.76e-6, 1e9) == pytest.approx(3.52e-6)


def test_clocked_is_a_plain_product():
    assert kernels.clocked_per_s(6.5, 128, 2.5e9) == pytest.approx(2.08e12)


def test_the_rate_is_the_memorys_share_where_kernels_take_in_much_more():
    assert rate(per_clock=None) == 0.8e12
    assert rate(per_clock=600.0) == pytest.approx(0.8e12, rel=1e-6)


def test_the_rate_is_that_of_the_kernels_where_memory_offers_much_more():
    assert rate(peak=1e15) == pytest.approx(6 * 100 * 2e9, rel=1e-6)


def test_two_equal_caps_leave_84_percent_of_either():
    assert rate(per_clock=4.0) == pytest.approx(0.8e12 * 2**-0.25)
    assert pytest.approx(0.8409, abs=1e-4) == 2**-0.25


def test_an_a100_is_bound_by_kernels_and_a_4090_by_memory():
    """The same dense F16 file reaches 43 % of the peak of an A100 and 81 % of a 4090's: one share of the peak cannot give both."""
    a100 = kernels.read_bytes_per_s(2.039e12, 0.83, 6.45, 108, 1.41e9) / 2.039e12
    rtx_4090 = kernels.read_bytes_per_s(1.008e12, 0.83, 6.45, 128, 2.52e9) / 1.008e12
    assert a100 == pytest.approx(0.47, abs=0.01)
    assert rtx_4090 == pytest.approx(0.82, abs=0.01)


def test_no_more_than_either_cap():
    assert rate() <= 0.8e12
    assert rate(peak=1e14) <= 6 * 100 * 2e9


@given(st.sampled_from(["peak", "share", "per_clock", "processors", "clock"]), POSITIVE, st.floats(1.0, 10.0))
def test_the_rate_rises_with_each_argument(name, scale, factor):
    base = {"peak": 1e12, "share": 0.8, "per_clock": 6.0, "processors": 100.0, "clock": 2e9}
    base[name] *= scale
    more = base | {name: base[name] * factor}
    assert rate(**base) <= rate(**more) * (1 + 1e-12)


def test_a_product_reads_again_for_every_few_rows_until_tiles_are_quicker():
    """One read 10 us, 100 us by tiles whatever the rows, 1 us of FLOPs a row, a read for every 5 rows: by hand at each corner."""

    def took(rows, flops=1.0, tiles=100.0):
        return kernels.product_s(rows, 10.0, rows * flops, tiles, 5.0)

    assert [took(rows) for rows in (1, 5, 6, 10, 50, 51, 99)] == [10, 10, 12, 20, 100, 100, 100]
    assert took(200) == 200  # no quicker than its FLOPs
    assert took(40, flops=3.0) == 120
    assert took(3, tiles=4.0) == 10  # no quicker than one read


@given(st.floats(1, 1e4), st.floats(1.0, 3.0), *[st.floats(1e-3, 1e3)] * 3, st.floats(1, 16))
def test_more_rows_take_no_less_and_each_of_them_no_more(rows, factor, read, flops, waste, per_read):
    def took(n):
        return kernels.product_s(n, read, n * flops, waste + n * flops * 1.5, per_read)

    assert took(rows) <= took(rows * factor) * (1 + 1e-12)
    assert took(rows * factor) / (rows * factor) <= took(rows) / rows * (1 + 1e-12)
    assert took(per_read * (1 + 1e-9)) == pytest.approx(took(per_read), rel=1e-6)  # no step where the laws meet


def test_filled_flops_double_at_half_rows_and_vanish_with_many():
    assert kernels.filled_flops(1e9, 300, 300) == pytest.approx(2e9)
    assert kernels.filled_flops(1e9, 100, 300) == pytest.approx(4e9)
    assert kernels.filled_flops(1e9, 1e9, 300) == pytest.approx(1e9, rel=1e-6)
    assert kernels.filled_flops(1e9, 16, 0) == 1e9


def test_tile_bytes_of_a_full_tile_by_hand():
    """128 x 128 tile, one column of the inner dimension: 128 weights of half a byte and 128 activations for 2 x 128 x 128 FLOPs."""
    assert kernels.tile_bytes(2 * 128 * 128, 128, 0.5) == pytest.approx(128 * 0.5 + 128 * 1.125)


def test_one_row_reads_every_weight_once_for_its_two_flops():
    assert kernels.tile_bytes(2e6, 1, 0.5) == pytest.approx(1e6 * 0.5 + 1e6 / 128 * 1.125)


def test_rows_beyond_a_tile_change_nothing():
    assert kernels.tile_bytes(1e9, 129, 1.0) == kernels.tile_bytes(1e9, 4096, 1.0)


@given(POSITIVE, st.floats(1.0, 10.0), st.floats(0.1, 4.0))
def test_more_rows_waste_less(rows, factor, weight):
    assert kernels.filled_flops(1e9, rows * factor, 64) <= kernels.filled_flops(1e9, rows, 64)
    assert kernels.tile_bytes(1e9, rows * factor, weight) <= kernels.tile_bytes(1e9, rows, weight) * (1 + 1e-12)
    assert kernels.tile_bytes(1e9, rows, weight) <= kernels.tile_bytes(1e9, rows, weight * factor)


def test_a_cpu_reads_at_the_smaller_of_memory_and_threads():
    assert kernels.cpu_bytes_per_s(96e9, 0.58, 16, None) == pytest.approx(55.68e9)
    assert kernels.cpu_bytes_per_s(96e9, 0.58, 4, 4.7e9) == pytest.approx(18.8e9)
    assert kernels.cpu_bytes_per_s(96e9, 0.58, 32, 4.7e9) == pytest.approx(55.68e9)
