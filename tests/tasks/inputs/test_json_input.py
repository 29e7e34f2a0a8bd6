"""Conversion of one JSON input to the plain value that tasks take."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from service.errors import InvalidInput
from service.tasks.core.task import Frames, Waveform
from service.tasks.inputs.json_input import effort_of, plain_value
from tests.tiny_signals import motions, sounds
from training.preprocessing.signal_values import json_form


def test_frames_may_have_times() -> None:
    found = plain_value({"frames": [[1.0]], "times": [20240131, "2024-02-01"]})
    assert isinstance(found, Frames)
    assert found.times == ("20240131", "2024-02-01")


@pytest.mark.parametrize("value", ["a text", ["some", "words"], Frames(np.ones((1, 1), np.float32))])
def test_what_is_plain_already_stays(value: object) -> None:
    assert plain_value(value) is value


def test_frames_become_an_array() -> None:
    frames = plain_value({"frames": [[1, 2.5], [3, 4]]})
    assert isinstance(frames, Frames)
    assert frames.values.dtype == np.float32
    assert frames.values.tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_a_record_goes_to_json_and_back_to_the_bit() -> None:
    """A float32 record survives a round trip through the JSON of bundle examples bit for bit."""
    for record in (sounds()[1], motions()[1]):
        value = plain_value(json_form(record))
        array = value.samples if isinstance(value, Waveform) else value.values  # type: ignore[union-attr]
        np.testing.assert_array_equal(array, record.values)


@pytest.mark.parametrize(
    ("given", "field", "what"),
    [
        ({"frames": []}, ("frames",), "no frames"),
        ({"frames": [[]]}, ("frames", 0), "no numbers"),
        ({"frames": [[1, 2], [3]]}, ("frames", 1), "number of values is 1, in the first frame 2"),
        ({"frames": [[1.0], [1e39]]}, ("frames", 1), "too large"),
        ({"frames": [[1.0], [2.0], [float("nan")]]}, ("frames", 2), "not finite"),
        ({"wav": "no base64!"}, ("wav",), "not base64"),
        ({"wav": "ümlaut"}, ("wav",), "not base64"),
        ({"wav": base64.b64encode(b"nothing").decode()}, ("wav",), "no sound file"),
        ({"frames": [[1.0]], "wav": "A"}, (), "nothing else"),
        ({}, (), "nothing else"),
    ],
)
def test_faults_are_at_their_own_place(given: object, field: tuple[object, ...], what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        plain_value(given)
    assert caught.value.field == field


def test_effort_grows_with_what_was_sent() -> None:
    """The effort estimate grows with the input size, so that only large inputs leave the event loop."""
    assert effort_of("four") == effort_of(["fo", "ur"]) == 4
    assert effort_of({"frames": [[0.0] * 6] * 500}) == 3000
    assert effort_of({"wav": "UklGR" + "A" * 10_000}) < 2_000 < effort_of({"wav": "A" * 1_000_000})
