"""Quantities as text: exact, with a unit, GB is not GiB; and sizes printed for people."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmoe.simulator.errors import UserError
from simmoe.simulator.units import EXAMPLE, LARGEST, UNITS, nbytes, parse

PAIRS = [(dimension, unit) for dimension, units in UNITS.items() for unit in units]
DECIMAL = [(dimension, unit) for dimension, unit in PAIRS if str(UNITS[dimension][unit]).strip("0") == "1"]
DIGITS = st.text("0123456789", min_size=1, max_size=15)


@given(pair=st.sampled_from(PAIRS), most=st.integers(0, 10**9), space=st.sampled_from(["", " ", "  "]))
def test_a_whole_number_of_a_unit_is_exact(pair: tuple[str, str], most: int, space: str) -> None:
    dimension, unit = pair
    whole = min(most, LARGEST // UNITS[dimension][unit])
    assert parse(f"{whole}{space}{unit}", dimension) == whole * UNITS[dimension][unit]


@given(pair=st.sampled_from(DECIMAL), base_units=st.integers(0, LARGEST))
def test_every_base_quantity_can_be_written_in_every_decimal_unit(pair: tuple[str, str], base_units: int) -> None:
    dimension, unit = pair
    digits = len(str(UNITS[dimension][unit])) - 1
    whole, rest = divmod(base_units, 10**digits)
    text = f"{whole}.{rest:0{digits}d} {unit}" if digits else f"{whole} {unit}"
    assert parse(text, dimension) == base_units


@given(pair=st.sampled_from(PAIRS), whole=st.integers(0, 10**6), decimals=DIGITS)
def test_a_decimal_is_exact_or_refused_never_rounded(pair: tuple[str, str], whole: int, decimals: str) -> None:
    dimension, unit = pair
    exact = Fraction(f"{whole}.{decimals}") * UNITS[dimension][unit]
    text = f"{whole}.{decimals} {unit}"
    if exact > LARGEST:
        with pytest.raises(UserError, match="more than any machine has and the simulator counts"):
            parse(text, dimension)
    elif exact.denominator == 1:
        assert parse(text, dimension) == exact
    else:
        with pytest.raises(UserError, match="not a whole number of base units; write fewer digits or a smaller unit"):
            parse(text, dimension)


def test_binary_floats_would_get_these_wrong() -> None:
    assert parse("204.8 GB/s", "bandwidth") == 204_800_000_000
    assert parse("0.1 GB", "bytes") == 100_000_000
    assert parse("4.35 TB/s", "bandwidth") == 4_350_000_000_000
    assert parse("9007199254740993 B", "bytes") == 2**53 + 1
    assert parse("1.1 us", "time") == 1_100_000


@given(whole=st.integers(1, 10**6), prefix=st.sampled_from("kMGT"))
def test_gb_is_not_gib(whole: int, prefix: str) -> None:
    binary = "K" if prefix == "k" else prefix
    assert parse(f"{whole} {prefix}B", "bytes") < parse(f"{whole} {binary}iB", "bytes")


def test_prefixes() -> None:
    assert [parse(f"1 {u}", "bytes") for u in ("B", "kB", "MB", "GB", "TB")] == [1, 10**3, 10**6, 10**9, 10**12]
    assert [parse(f"1 {u}", "bytes") for u in ("KiB", "MiB", "GiB", "TiB")] == [2**10, 2**20, 2**30, 2**40]
    assert [parse(f"1 {u}", "time") for u in ("ps", "ns", "us", "ms", "s")] == [1, 10**3, 10**6, 10**9, 10**12]
    assert parse("42.6 TFLOP/s", "compute") == 42_600_000_000_000
    assert (parse("60 W", "power"), parse("5 mW", "power"), parse("19.99 USD", "price")) == (60_000_000, 5_000, 1999)


@pytest.mark.parametrize("dimension", list(UNITS))
def test_the_example_of_each_dimension_parses(dimension: str) -> None:
    for example in EXAMPLE[dimension].split(" or "):
        assert parse(example, dimension) > 0


@pytest.mark.parametrize(
    "text", [5, 5.0, True, None, [5], "5", "", "GB", "5 G B", "1,000 GB", "1e3 GB", "0x10 GB", "1. GB", "\u0663 GB"]
)
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(UserError) as info:
        parse(text, "bytes", "box.yaml: reserved")
    assert str(info.value) == (
        f"box.yaml: reserved: {text!r} is not a quantity with a unit; write it like '64 GB or 64 GiB'"
    )


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        (
            "5 gb",
            "bytes",
            "value: '5 gb' counts bits, and bytes are asked for: 8 Gbit = 1 GB; write '0.625 GB', or '5 GB' if bytes",
        ),
        ("5 GBs", "bytes", "unknown unit 'GBs' in '5 GBs'; did you mean 'GB'? known: "),
        ("5 KB", "bytes", "did you mean '"),
        ("5 Gbit/s", "bandwidth", "8 Gbps = 1 GB/s; write '0.625 GB/s'"),
        ("5 GB", "bandwidth", "unknown unit 'GB' in '5 GB'; did you mean 'GB/s'?"),
        ("5 TFLOPS", "compute", "unknown unit 'TFLOPS' in '5 TFLOPS'; did you mean 'TFLOP/s'?"),
        ("-5 GB", "bytes", "value: '-5 GB' is negative; it must be zero or more"),
        ("0.5 B", "bytes", "'0.5 B' is not a whole number of base units"),
        ("0.1 GiB", "bytes", "'0.1 GiB' is not a whole number of base units"),
    ],
)
def test_a_wrong_unit_or_sign_is_refused_with_the_fix(text: str, dimension: str, message: str) -> None:
    with pytest.raises(UserError) as info:
        parse(text, dimension)
    assert message in str(info.value)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1234567, "1.23 MB"),
        (-5e6, "-5 MB"),
        (64 * 10**9, "64 GB"),
        (2**30, "1.07 GB"),
        (999_499_999, "999 MB"),
        (999_999_999, "1 GB"),
        (999.6e3, "1 MB"),
        (10**15, "1,000 TB"),
        (-5e15, "-5,000 TB"),
    ],
)
def test_sizes_for_people(count: float, text: str) -> None:
    assert nbytes(count) == text


@given(count=st.integers(0, 10**15))
def test_a_printed_size_is_within_its_three_digits(count: int) -> None:
    text = nbytes(count)
    assert "e+" not in text
    assert abs(parse(text.replace(",", ""), "bytes") - count) <= 0.005 * count + 0.5
