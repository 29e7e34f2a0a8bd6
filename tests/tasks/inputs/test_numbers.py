"""Numbers as people write them are read in one way, or not at all."""

from __future__ import annotations

import math

import pytest

from service.tasks.inputs.numbers import Decimal, decimal_of, is_ambiguous, parse_number


@pytest.mark.parametrize(
    ("cell", "decimal", "number"),
    [
        ("1010", "point", 1010.0),
        (" -3 ", "point", -3.0),
        ("−3", "point", -3.0),
        ("1e-5", "point", 1e-5),
        ("1,234.5", "point", 1234.5),
        ("1,234", "point", 1234.0),
        ("12,34,567", "point", 1234567.0),
        ("$1,234.50", "point", 1234.5),
        ("-$5", "point", -5.0),
        ("$-5", "point", -5.0),
        ("(1,234.5)", "point", -1234.5),
        ("5-", "point", -5.0),
        ("12.5 %", "point", 12.5),
        ("1 234.5", "point", 1234.5),
        ("1\u202f234", "point", 1234.0),
        ("1'234.5", "point", 1234.5),
        ("1,5", "comma", 1.5),
        ("1.234,5", "comma", 1234.5),
        ("1.234", "comma", 1234.0),
        ("1 234,5", "comma", 1234.5),
        ("0,123", "comma", 0.123),
        ("5 €", "comma", 5.0),
        ("1,5E+03", "comma", 1500.0),
    ],
)
def test_a_number_is_read(cell: str, decimal: Decimal, number: float) -> None:
    assert parse_number(cell, decimal) == number


@pytest.mark.parametrize(
    "cell", ["1_010", "inf", "1e400", "1-2", "1 2", "0x10", "٣", "true", "12,3.4", "1,5", "5e", "--5"]
)
def test_what_is_no_number_is_none(cell: str) -> None:
    """Forms that Python's float would take, such as underscores, are refused as well."""
    assert parse_number(cell) is None


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "#N/A", "null", "None", "-", "--", "?", "NaN", ".", "\\N"])
def test_a_missing_value_is_nan(cell: str) -> None:
    for decimal in ("point", "comma"):
        found = parse_number(cell, decimal)
        assert found is not None
        assert math.isnan(found)


def test_the_decimal_sign_is_proved_by_numbers_with_one_reading() -> None:
    """`1,234` proves nothing; a fraction of other than three digits, or two separators, do; a contradiction is none."""
    assert decimal_of(["1,234", "2,5"]) == "comma"
    assert decimal_of(["1.234,5"]) == decimal_of(["1.234.567"]) == decimal_of(["0,123"]) == "comma"
    assert decimal_of(["1,234.5"]) == decimal_of(["1,234,567"]) == decimal_of(["1.5", "7"]) == "point"
    assert decimal_of(["1,234", "12", "NA"]) is decimal_of(["1.5", "1,5"]) is None
    assert [cell for cell in ("1,234", "12,345", "0,123", "1,23", "1.234") if is_ambiguous(cell)] == ["1,234", "12,345"]
