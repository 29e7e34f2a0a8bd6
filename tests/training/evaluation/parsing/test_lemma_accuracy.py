"""Accuracy of lemmas, and the look-up that it is compared with."""

from __future__ import annotations

from tests.training.trees.tiny_trees import tree_of
from training.evaluation.parsing.lemma_accuracy import LemmaLookUp, lemma_accuracy

TRAIN = [tree_of(["the", "cat", "sees"]), tree_of(["the", "cat", "hears"])._replace(lemmas=("the", "kitty", "hear"))]


def test_words_of_train_are_counted_apart_from_others() -> None:
    """Words are compared as they are written; a word whose lemma the treebank does not know is left out."""
    gold = [tree_of(["the", "dog", "sees"])._replace(lemmas=("the", "dog", "_")), tree_of(["The", "cat", "sees"])]
    found = [["the", "Dog", "saw"], ["The", "cat", "see"]]
    accuracy = lemma_accuracy(gold, found, LemmaLookUp(TRAIN))
    assert accuracy.whole == 100 * 4 / 5
    assert (accuracy.seen, accuracy.unseen, accuracy.num_unseen) == (100.0, 50.0, 2)


def test_the_look_up_goes_from_word_and_tag_to_lower_case() -> None:
    """Of equally frequent lemmas the first in the alphabet; an unknown name keeps its capitals."""
    words, tags = ["cat", "sees", "Mats", "Mats"], ["NOUN", "NOUN", "NOUN", "PROPN"]
    assert LemmaLookUp(TRAIN).find_all([tree_of(words)], [tags]) == [["cat", "see", "mats", "Mats"]]
