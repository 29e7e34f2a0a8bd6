"""Limits on all inputs of a request together say what was sent, what is allowed, and how to split it."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.request_limits import RequestLimits, SampleCount
from tests.tiny_pictures import as_json, png_of

PICTURE = as_json(png_of(np.zeros((20, 30, 3), dtype=np.uint8)))


def sound(num_samples: int) -> Waveform:
    return Waveform(np.zeros(num_samples, dtype=np.float32), 8000)


def test_what_is_within_the_limits_passes() -> None:
    limits = RequestLimits(max_tokens=10, max_pixels=1800, max_samples=10)
    limits.require_tokens(10, 3)
    limits.require_pixels([PICTURE] * 3)
    limits.require_pixels(["a text", ["two", "words"], {"frames": [[1.0]]}, {"wav": "AAAA"}])
    count = SampleCount(limits)
    for value in (sound(4), "a text", sound(6)):
        count.add(value)
    with pytest.raises(InvalidInput):
        count.add(sound(1))


def test_too_many_tokens_are_counted_and_the_number_of_requests_is_advised() -> None:
    with pytest.raises(InvalidInput) as refusal:
        RequestLimits(max_tokens=1000).require_tokens(2500, 50)
    assert str(refusal.value) == (
        "50 inputs with 2,500 tokens in one request, at most 1,000 tokens are allowed "
        "(UNROLL_MAX_TOKENS_PER_REQUEST): send them in 3 requests"
    )


def test_one_input_with_too_many_tokens_cannot_be_split() -> None:
    with pytest.raises(InvalidInput, match=r"^1,001 tokens in one request, at most 1,000 .*: send less at a time$"):
        RequestLimits(max_tokens=1000).require_tokens(1001, 1)


def test_the_picture_with_which_there_are_too_many_pixels_is_named() -> None:
    """The headers alone are read: of these files there is no more than the header."""
    heads = [{"png": PICTURE["png"][:32]}] * 5
    with pytest.raises(InvalidInput, match=r"5 pictures with 3,000 pixels .* 1,500 pixels .* in 2 requests") as refusal:
        RequestLimits(max_pixels=1500).require_pixels(heads)
    assert refusal.value.field == (2, "png")


def test_the_sound_with_which_there_are_too_many_samples_is_refused() -> None:
    count = SampleCount(RequestLimits(max_samples=10))
    count.add(sound(8))
    with pytest.raises(InvalidInput, match="11 samples up to this sound in one request, at most 10 samples") as refusal:
        count.add(sound(3))
    assert refusal.value.field == ("wav",)
