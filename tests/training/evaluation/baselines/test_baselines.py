"""Baselines, checked on cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.bundle.task_options import TranslationOptions
from service.errors import UnrollError
from training.data.records import LabelledText, Passage, SentencePair, TaggedSentence
from training.evaluation.baselines.generation import ngram_models, witten_bell
from training.evaluation.baselines.nearest_pair import nearest_pair
from training.evaluation.tasks.catalogue import EVALUATION_TASKS


def test_most_frequent_tag_and_suffixes() -> None:
    """A known word gets its most frequent tag; an unknown one the tag of its longest known suffix."""
    train = [
        TaggedSentence(("run", "run", "run"), ("NOUN", "VERB", "VERB")),
        TaggedSentence(("quickly", "holy"), ("ADV", "ADJ")),
    ]
    dev = [TaggedSentence(("run", "slackly", "woly"), ("VERB", "ADV", "ADJ"))]
    assert EVALUATION_TASKS["tagging"].baselines(train, dev)[-1].measures == {"accuracy": 100.0}


def test_span_tags_get_span_scores() -> None:
    """A BIO set is also scored by span F1."""
    sentences = [TaggedSentence(("in", "New", "York"), ("O", "B-LOC", "I-LOC"))]
    measures = EVALUATION_TASKS["tagging"].baselines(sentences, sentences)[-1].measures
    assert measures == {"accuracy": 100.0, "precision": 100.0, "recall": 100.0, "f1": 100.0}


def test_classification_has_two_baselines() -> None:
    """The majority baseline scores its share; the linear classifier separates the classes by their words."""
    train = [LabelledText(f"good film number {n}", "pos") for n in range(9)]
    train += [LabelledText(f"bad film number {n}", "neg") for n in range(6)]
    dev = [LabelledText("a good one", "pos"), LabelledText("a bad one", "neg")]
    majority, linear = EVALUATION_TASKS["classification"].baselines(train, dev)
    assert majority.measures["accuracy"] == 50
    assert linear.measures["accuracy"] == 100


def test_one_label_is_enough() -> None:
    """Training data with a single label is accepted."""
    records = [LabelledText("a b", "x"), LabelledText("c d", "x")]
    assert EVALUATION_TASKS["classification"].baselines(records, records)[-1].measures["accuracy"] == 100


def test_single_words_are_told_apart_by_their_letters() -> None:
    """Single-word texts are classified by their characters, so new names are separated too."""
    train = [LabelledText(name, "ru") for name in ("Ivanov", "Petrov", "Popov", "Orlov")]
    train += [LabelledText(name, "it") for name in ("Rossi", "Bianchi", "Conti", "Ricci")]
    dev = [LabelledText("Markov", "ru"), LabelledText("Monti", "it")]
    assert EVALUATION_TASKS["classification"].baselines(train, dev)[-1].measures["accuracy"] == 100


def test_out_of_scope_texts_have_their_own_measures() -> None:
    """With the label `oos`, accuracy on the in-scope texts is reported too."""
    train = [LabelledText("play it now", "play"), LabelledText("who knows that", "oos")] * 2
    dev = [LabelledText("play it", "play"), LabelledText("play that thing", "oos")]
    measures = EVALUATION_TASKS["classification"].baselines(train, dev)[0].measures
    assert {"accuracy_in_scope", "recall_oos"} <= measures.keys()


def test_word_by_word_beats_the_copy() -> None:
    """The word-by-word baseline learns a dictionary from pairs, copies unknown words, and attaches punctuation."""
    train = [
        SentencePair("the dog sleeps.", "der Hund schläft."),
        SentencePair("the dog eats.", "der Hund isst."),
        SentencePair("the man sleeps.", "der Mann schläft."),
        SentencePair("a man eats.", "ein Mann isst."),
    ] * 3
    dev = [SentencePair("the man Bob sleeps.", "der Mann Bob schläft.")]
    copied, by_word = EVALUATION_TASKS["translation"].baselines(train, dev)
    assert by_word.measures["bleu"] == pytest.approx(100)
    assert copied.measures["bleu"] < 50


def test_the_nearest_pair_is_a_template_for_its_values() -> None:
    """The query of the most similar question, digits alike, with each differing word swapped in wherever it stands."""
    train = [
        SentencePair("who teaches EECS 492 ?", 'D = "EECS" AND N = 492 OR N = 4920'),
        SentencePair("what is the capital of new mexico", 'S = "new mexico"'),
        SentencePair("list all", "ALL"),
    ]
    dev = [
        SentencePair("who teaches MATH 215 ?", 'D = "MATH" AND N = 215 OR N = 4920'),
        SentencePair("what is the capital of texas", 'S = "texas"'),
        SentencePair(r"list all \\1", "ALL"),
    ]
    assert nearest_pair(train, dev).measures["exact"] == 100.0
    options = TranslationOptions(source_language="a", target_language="b", copying=True)
    names = [found.name for found in EVALUATION_TASKS["translation"].baselines(train, dev, None, options)]
    assert names[-1] == "nearest template"
    assert "nearest template" not in [found.name for found in EVALUATION_TASKS["translation"].baselines(train, dev)]


def test_witten_bell_by_hand() -> None:
    """`aab`, then `ab`, order 2: p_1(a) = (2 + 2/3) / 5, p_1(b) = (1 + 2/3) / 5, p_2(b|a) = (1 + 2 p_1(b)) / 4."""
    train, dev = np.array([0, 0, 1]), np.array([0, 1])
    first, second = (2 + 2 / 3) / 5, (1 + 2 / 3) / 5
    assert witten_bell(train, dev, 2) == pytest.approx([first, (1 + 2 * second) / 4])


def test_witten_bell_is_a_distribution() -> None:
    """After any history, the probabilities of all tokens and of the unknown token sum to 1."""
    generator = np.random.default_rng(0)
    train = generator.integers(0, 5, 200)
    for _ in range(20):
        history = generator.integers(0, 6, 4)
        total = sum(witten_bell(train, np.append(history, token), 4)[-1] for token in (*np.unique(train), 99))
        assert total == pytest.approx(1)


def test_ngram_model_learns_what_repeats() -> None:
    """Repetitive text has a loss far below its character entropy, and unseen characters have a finite loss."""
    text = "to be or not to be that is the question\n" * 50
    learned = EVALUATION_TASKS["generation"].baselines([Passage(text)], [Passage(text[:400])])[-1].measures
    assert learned["loss"] < 0.2
    assert learned["perplexity"] == pytest.approx(math.exp(learned["loss"]))
    strange = EVALUATION_TASKS["generation"].baselines([Passage(text)], [Passage("xyzzy xyzzy")])[-1].measures
    assert 2 < strange["loss"] < math.inf


def test_ngram_model_counts_the_tokens_it_is_given() -> None:
    """With a tokenizer the loss is per token of that tokenizer; both n-gram models are scored."""
    ids = {word: number for number, word in enumerate(["a", "b", "c", "d"])}
    passage = Passage("a b a b a b a b c d " * 20)
    results = ngram_models([passage], [passage], lambda text: [ids[word] for word in text.split()])
    assert [result.name for result in results] == ["3-gram model of tokens", "Kneser-Ney 5-gram model of tokens"]
    assert all(0 < result.measures["loss"] < math.log(4) for result in results)


def test_too_short_text_is_an_error() -> None:
    """A text of one character has no loss and is refused."""
    with pytest.raises(UnrollError, match="at least one token"):
        EVALUATION_TASKS["generation"].baselines([Passage("abc")], [Passage("a")])[-1]
