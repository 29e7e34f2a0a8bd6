"""Parsing baselines, checked on sentences whose trees follow from their words."""

from __future__ import annotations

from tests.training.trees.tiny_trees import tree_of
from training.evaluation.baselines.parsing import frequent_arcs, neighbour

TRAIN = [tree_of(["the", "cat", "sees"] * times) for times in (1, 2, 3, 2, 1, 3)]
DEV = [tree_of(["the", "cat", "sees", "the", "cat", "sees"])]


def test_the_neighbour_is_the_head_on_the_better_side() -> None:
    """Articles and nouns depend on the next word: five of six words of dev do, or are the last one, the wrong root."""
    found = neighbour(TRAIN, DEV)
    assert found.name == "the word after as head"
    assert found.measures["uas"] == 100 * 4 / 6


def test_tags_around_a_word_tell_its_head() -> None:
    """Heads that follow from the tags around a word are all found, of the verb that ends a chain too."""
    found = frequent_arcs(TRAIN, DEV)
    assert found.measures["uas"] == found.measures["las"] == 100.0


def test_a_head_that_is_not_there_is_the_word_before() -> None:
    """A conjunct without another verb before it gets a head within the sentence."""
    (sentence,) = dev = [tree_of(["hears", "the", "cat", "sees"])._replace(heads=(0, 3, 4, 1))]
    measures = frequent_arcs(TRAIN, dev).measures
    assert 0 <= measures["las"] <= measures["uas"] <= 100
    assert len(sentence.words) == 4
