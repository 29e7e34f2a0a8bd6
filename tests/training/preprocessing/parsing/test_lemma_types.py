"""Words with lemmas: what is counted, the table of a bundle, and batches."""

from __future__ import annotations

from tests.training.trees.tiny_trees import tree_of
from training.data.readers.treebanks.lemmas import LemmaType
from training.data.records import ParsedSentence
from training.preprocessing.parsing.lemma_types import LemmaSet, count_lemmas, lemma_table, lemma_types
from training.preprocessing.vocabulary import fit_characters


def sentence(*words: tuple[str, str, str]) -> ParsedSentence:
    """Words as `(form, tag, lemma)`; the tree does not matter."""
    forms, tags, lemmas = zip(*words, strict=True)
    return tree_of(list(forms))._replace(tags=tags, lemmas=lemmas)


RECORDS = [
    sentence(
        ("Cats", "NOUN", "cat"), ("saw", "VERB", "see"), ("May", "PROPN", "May"), ("ice cream", "NOUN", "ice cream")
    ),
    sentence(
        ("saw", "VERB", "saw"), ("saw", "VERB", "see"), ("may", "AUX", "may"), ("_", "PUNCT", "_"), ("xs", "X", "_")
    ),
]


def test_the_most_frequent_lemma_of_a_word_and_tag_is_kept() -> None:
    """A word without a lemma is not one whose lemma is `_`; an underscore is."""
    types = lemma_types(count_lemmas(RECORDS))
    assert LemmaType("saw", "VERB", "see") in types
    assert LemmaType("_", "PUNCT", "_") in types
    assert not [each for each in types if each.word == "xs"]
    assert count_lemmas([records._replace(lemmas=()) for records in RECORDS]) == {}


def test_the_table_has_lower_case_where_the_lemma_has() -> None:
    """A name keeps its entry; a word with a blank has none; the tag with the most words is first."""
    table = lemma_table(count_lemmas([*RECORDS, sentence(("dogs", "NOUN", "dog"))]))
    assert table == {
        "NOUN": {"1-": "cats dogs"},
        "AUX": {"0-": "may"},
        "PROPN": {"0-": "May"},
        "PUNCT": {"0-": "_"},
        "VERB": {"2-ee": "saw"},
    }
    assert next(iter(table)) == "NOUN"


def test_batches_hold_what_the_network_can_read_and_write() -> None:
    """Lemmas begin with <bos> (2) and end with <eos> (3); numbers, unknown tags and unknown characters are left out."""
    characters = fit_characters(["cats", "dog"])
    types = [LemmaType("cats", "NOUN", "cat"), LemmaType("do", "VERB", "do"), LemmaType("do", "ADJ", "do")]
    types += [LemmaType("c3", "NOUN", "c"), LemmaType("cat", "NOUN", "katze"), LemmaType("dogcat", "NOUN", "dog")]
    examples = LemmaSet(types, characters, ("NOUN", "VERB"), max_characters=5, batch_size=8, seed=1)
    assert len(examples) == 2
    (order,) = examples.epoch(0)
    batch = examples.batch(order[order.argsort()])
    c, a, t, s, d, o = (characters.encode_characters(each, 1)[0] for each in "catsdo")
    assert batch.characters.tolist() == [[c, a, t, s], [d, o, 0, 0]]
    assert (batch.lengths.tolist(), batch.tags.tolist()) == ([4, 2], [0, 1])
    assert batch.letters.tolist() == [[2, c, a, t], [2, d, o, 0]]
    assert batch.targets.tolist() == [[c, a, t, 3], [d, o, 3, 0]]
    assert batch.num_terms == 7
