"""Corpora have the specified lengths and groups, and requests the specified bytes."""

from __future__ import annotations

import json

import numpy as np

from tests.load.peers.graphs import padded
from tests.load.targets.limits import group_items
from tests.load.workload.answers import sentence_lengths
from tests.load.workload.corpus import MAX_LENGTH, MEAN_LENGTH
from tests.load.workload.dialects import DIALECTS, request

ITEMS = [{"tokens": length, "ids": list(range(4, 4 + length))} for length in (5, 1, 3, 2, 4)]


def test_sentences_are_as_long_as_promised() -> None:
    lengths = sentence_lengths(5_000, np.random.default_rng(0))
    assert abs(np.mean(lengths) - MEAN_LENGTH) < 1
    assert min(lengths) >= 1
    assert max(lengths) <= MAX_LENGTH
    assert lengths == sentence_lengths(5_000, np.random.default_rng(0))


def test_sorted_groups_hold_near_lengths_and_arrival_groups_keep_the_order() -> None:
    def lengths(grouping: str) -> list[list[int]]:
        return [[item["tokens"] for item in group] for group in group_items(ITEMS, grouping)]

    assert lengths("sorted-2") == [[1, 2], [3, 4], [5]]
    assert lengths("arrival-2") == [[5, 1], [3, 2], [4]]
    assert lengths("single") == [[5], [1], [3], [2], [4]]


def test_rows_are_padded_with_zeros_behind() -> None:
    ids, lengths = padded([[7, 8, 9], [5]])
    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert lengths.tolist() == [3, 1]


def test_a_request_says_how_long_its_body_is() -> None:
    head, _, content = request("/predict", {"inputs": ["ä"]}, 80).partition(b"\r\n\r\n")
    assert json.loads(content) == {"inputs": ["ä"]}
    assert f"Content-Length: {len(content)}".encode() in head


def test_every_dialect_of_tagging_reads_the_labels_that_it_is_answered_with() -> None:
    """The response format of each server is converted to the same list of label ids."""
    answers = {
        "unroll": {"predictions": [{"tokens": [{"tag": "L3"}, {"tag": "L17"}]}]},
        "ids": {"labels": [3, 17]},
        "mosec": {"labels": [3, 17]},
        "litserve": {"labels": [3, 17]},
        "bentoml": [[3, 17]],
        "graph-tensors": {"outputs": [{"shape": [1, 2, 3], "data": [0.1, 0.9, 0.2, 0.3, 0.2, 0.1]}]},
        "inference-protocol": {"outputs": [{"data": ["3 17"]}]},
    }
    for speech, answer in answers.items():
        expected = [1, 0] if speech == "graph-tensors" else [3, 17]
        assert DIALECTS[speech, "tagging"].read(answer) == expected
