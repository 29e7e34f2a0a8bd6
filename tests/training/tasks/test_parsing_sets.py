"""Trees to batches: ids of tags, heads, relations, features and of heads as labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.bundle.task_options import ParsingOptions
from tests.training.tiny_runs import own_recipe
from tests.training.trees.tiny_trees import tree_of, write_trees
from training.config.recipe import ConfigFault, Recipe
from training.data.read import read_records
from training.data.records import ParsedSentence
from training.preprocessing.batches import NO_LABEL, ParsingBatch
from training.preprocessing.parsing.lemma_types import NoLemmas
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import training_task


def recipe_of(folder: Path, **network: Any) -> Recipe:
    train, dev = write_trees(folder)
    changes = {f"network.{key}": value for key, value in network.items()}
    return own_recipe("parsing", "trees", str(train), str(dev), None, changes)


def fitted(recipe: Recipe) -> tuple[Vocabulary, list[ParsedSentence]]:
    records = [record for record in read_records("parsing", recipe.data.train) if isinstance(record, ParsedSentence)]
    return training_task(recipe).fit_vocabulary(recipe, records), records


def batch_of(recipe: Recipe, vocabulary: Vocabulary, sentence: ParsedSentence) -> ParsingBatch:
    made = training_task(recipe).training_set(recipe, vocabulary, [sentence])
    batch = made.batch(made.epoch(0)[0])
    assert isinstance(batch, ParsingBatch)
    return batch


def test_labels_become_ids_and_heads_stay_numbers(tmp_path: Path) -> None:
    """Each label is its place in the vocabulary, and a head the number of its word; characters are cut."""
    recipe = recipe_of(tmp_path, features=True, max_word_characters=2)
    vocabulary, _ = fitted(recipe)
    sentence = tree_of(["the", "cat", "sees"])
    batch = batch_of(recipe, vocabulary, sentence)
    assert batch.heads.tolist() == [[2, 3, 0]]
    assert [vocabulary.labels[i] for i in batch.tags[0]] == list(sentence.tags)
    assert [vocabulary.label_sets["relations"][i] for i in batch.relations[0]] == list(sentence.relations)
    assert [vocabulary.label_sets["features"][i] for i in batch.features[0]] == list(sentence.feats)
    assert batch.characters.shape == (1, 3, 2)
    assert "offsets" not in vocabulary.label_sets
    assert batch.num_terms == 3


def test_rare_heads_are_no_labels_and_are_not_learned(tmp_path: Path) -> None:
    """A head that occurs once in train has no label; the root always has one."""
    recipe = recipe_of(tmp_path, decoder="labels", min_offset_count=3)
    vocabulary, _ = fitted(recipe)
    assert vocabulary.label_sets["offsets"] == ("NOUN:+1", "ROOT", "VERB:+1", "VERB:-1")
    batch = batch_of(recipe, vocabulary, tree_of(["the", "cat", "sees"])._replace(heads=(3, 1, 0)))
    names = ["NOUN:+1", "ROOT", "VERB:+1", "VERB:-1"]
    assert batch.offsets.tolist() == [[names.index("VERB:+1"), NO_LABEL, names.index("ROOT")]]


def test_sentences_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    """A tree cannot be cut, and one very long sentence would pad the others of its batch."""
    recipe = recipe_of(tmp_path)
    vocabulary, records = fitted(recipe)
    long = tree_of(["the", "cat", "sees"] * 200)
    made = training_task(recipe).training_set(recipe, vocabulary, [long, *records])
    assert sum(len(order) for order in made.epoch(0)) == len(records)


def test_few_sentences_are_trained_without_features(tmp_path: Path) -> None:
    """The defaults for a small file leave features out; then the bundle has none."""
    recipe = recipe_of(tmp_path)
    vocabulary, _ = fitted(recipe)
    assert training_task(recipe).options(recipe, vocabulary).features == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("changes", [{"tokenizer.unit": "subword"}, {"network.contextual": ["one"]}])
def test_recipes_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A parser reads words, and character models come in pairs."""
    train, dev = write_trees(tmp_path)
    with pytest.raises(ConfigFault, match=r"tokenizer.unit must be|needs two run folders"):
        own_recipe("parsing", "trees", str(train), str(dev), None, changes)


def test_lemmas_of_train_become_options_of_the_bundle(tmp_path: Path) -> None:
    """The recipe asks for them; without them no table is kept, and data that has none is refused before training."""
    recipe = recipe_of(tmp_path, lemmas=True)
    task = training_task(recipe)
    vocabulary, records = fitted(recipe)
    options = task.options(recipe, vocabulary)
    assert isinstance(options, ParsingOptions)
    assert options.lemmatizer is not None
    assert options.lemmatizer.table["VERB"]["1-"] == "hears sees"
    assert task.defaults(records)["network"]["lemmas"]
    without = [record._replace(lemmas=("_",) * len(record.words)) for record in records]
    assert not task.defaults(without)["network"]["lemmas"]
    with pytest.raises(NoLemmas, match="no word of train has a lemma"):
        task.fit_vocabulary(recipe, without)
    plain = recipe_of(tmp_path, lemmas=False)
    options = task.options(plain, task.fit_vocabulary(plain, without))
    assert isinstance(options, ParsingOptions)
    assert options.lemmatizer is None
