"""Frames that are checked a list at a time are those that pydantic accepts number by number."""

from __future__ import annotations

from typing import Annotated, Any

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.api.schemas import PredictRequest

Number = Annotated[float, Field(allow_inf_nan=False)]
ONE_BY_ONE: TypeAdapter[Any] = TypeAdapter(
    Annotated[list[Annotated[list[Number], Field(min_length=1)]], Field(min_length=1)], config=ConfigDict(strict=True)
)

numbers = st.floats() | st.integers(-(10**400), 10**400) | st.integers(-9, 9)
rows = st.lists(st.lists(numbers | st.booleans() | st.none() | st.text(max_size=2) | st.lists(numbers), max_size=4))


def accepts(check: Any, value: Any) -> bool:
    try:
        check(value)
    except ValidationError:
        return False
    return True


@given(rows)
@example([[1.7e308, 1.7e308]])
@example([[1e308, -1e308], [2]])
@example([[True]])
@example([[10**309]])
@example([[float("inf"), float("-inf")]])
@example([[1, 2], []])
@example([])
def test_the_same_frames_are_accepted_as_one_by_one(given_rows: list[Any]) -> None:
    """Also numbers whose sum is too large, integers beyond every float, and what only looks like a number."""
    is_accepted = accepts(lambda value: PredictRequest(inputs={"frames": value}), given_rows)
    assert is_accepted == accepts(ONE_BY_ONE.validate_python, given_rows)
