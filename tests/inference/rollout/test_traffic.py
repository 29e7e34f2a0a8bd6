"""A traffic split follows its weights, and a key keeps its version."""

from __future__ import annotations

from collections import Counter

import pytest

from service.inference.rollout.traffic import TrafficSplit

KEYS = [f"user-{number}" for number in range(4000)]


def always(_: str) -> bool:
    return True


def assigned(weights: dict[str, float], model: str = "m") -> dict[str, str]:
    split = TrafficSplit(model, weights)
    return {key: split.choose(key, always) for key in KEYS}


@pytest.mark.parametrize("weights", [{"stable": 9, "canary": 1}, {"a": 5, "b": 3, "c": 2}, {"1": 0.001, "2": 0.001}])
def test_keys_are_spread_by_the_weights(weights: dict[str, float]) -> None:
    counts, total = Counter(assigned(weights).values()), sum(weights.values())
    for target, weight in weights.items():
        assert abs(counts[target] / len(KEYS) - weight / total) < 0.03


def test_a_changed_weight_moves_keys_only_to_the_target_that_grew() -> None:
    before, after = assigned({"a": 80, "b": 10, "c": 10}), assigned({"a": 80, "b": 40, "c": 10})
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved
    assert {after[key] for key in moved} == {"b"}


def test_the_same_keys_are_not_the_canaries_of_every_model() -> None:
    weights = {"stable": 50.0, "canary": 50.0}
    one, other = assigned(weights, "one"), assigned(weights, "other")
    assert 0.4 < sum(one[key] == other[key] for key in KEYS) / len(KEYS) < 0.6


@pytest.mark.parametrize("key", ["", "me", "Bearer \ud800", "x" * 10_000])
def test_a_target_that_does_not_answer_gets_nothing_while_another_does(key: str) -> None:
    split = TrafficSplit("m", {"stable": 1, "canary": 1e9})
    assert {split.choose(key, lambda target: target == "stable") for _ in range(20)} == {"stable"}
    assert split.choose(key, lambda target: False) in {"stable", "canary"}


def test_a_target_of_weight_0_gets_nothing_and_without_a_key_both_of_the_others_do() -> None:
    split = TrafficSplit("m", {"a": 1, "b": 1, "c": 0})
    assert {split.choose("", always) for _ in range(200)} == {"a", "b"}
    assert split.shares() == {"a": 0.5, "b": 0.5}
