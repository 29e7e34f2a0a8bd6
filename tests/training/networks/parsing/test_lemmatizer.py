"""The lemmatizer learns to copy and to change endings; its steps are what training sees at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from service.bundle.tokenizer import BOS
from training.config.recipe import TrainingConfig
from training.data.readers.treebanks.lemmas import LemmaType
from training.fit.small_fit import fit_small
from training.networks.parsing.lemmatizer import LEMMA_DECODER, LEMMA_ENCODER, Lemmatizer
from training.preprocessing.batches import LemmaBatch
from training.preprocessing.parsing.lemma_types import LemmaSet
from training.preprocessing.vocabulary import fit_characters

STEMS = [first + vowel + last for first in "bcd" for vowel in "aeo" for last in "fgh"]
TYPES = [LemmaType(f"{stem}s", "NOUN", stem) for stem in STEMS] + [LemmaType(stem, "VERB", stem) for stem in STEMS]
TRAINING = TrainingConfig(learning_rate=0.02, epochs=30, batch_size=18, clip_norm=5.0)


@pytest.fixture(scope="module")
def learned() -> tuple[Lemmatizer, LemmaSet, list[str]]:
    """A lemmatizer of nouns and verbs, what it learned from, and what was said."""
    torch.manual_seed(1)
    characters, said = fit_characters(["".join(each.word for each in TYPES)]), list[str]()
    examples = LemmaSet(TYPES, characters, ("NOUN", "VERB"), 8, TRAINING.batch_size, 1)
    network = Lemmatizer(24, 0.0, characters.vocabulary_size, 2)
    fit_small(network, examples, TRAINING, said.append)
    return network, examples, said


def whole(examples: LemmaSet) -> LemmaBatch:
    return examples.batch(np.arange(len(examples)))


def test_copies_and_endings_are_learned(learned: tuple[Lemmatizer, LemmaSet, list[str]]) -> None:
    """After 90 updates: half of the types lose their last character, by their tag alone."""
    network, examples, said = learned
    batch = whole(examples)
    with torch.no_grad():
        loss, _ = network.loss(batch)
    assert said[-1].startswith(f"epoch {TRAINING.epochs} of {TRAINING.epochs}: loss 0.")
    assert float(loss) < 0.15 < float(said[0].rpartition(" ")[2])


def test_steps_give_the_probabilities_of_training(learned: tuple[Lemmatizer, LemmaSet, list[str]]) -> None:
    """The graphs, run character by character, give each target the probability that the loss has; the sum is 1."""
    network, examples, _ = learned
    batch = whole(examples)
    words = {"characters": batch.characters, "tags": batch.tags, "lengths": batch.lengths}
    graphs = network.graphs()
    logarithms = torch.zeros(())
    with torch.no_grad():
        outputs = graphs[LEMMA_ENCODER].function(words)
        memory = {"memory": outputs["memory"], "memory_keys": outputs["memory_keys"]}
        assert batch.letters[:, 0].unique().tolist() == [BOS]
        for letter, target in zip(batch.letters.T, batch.targets.T, strict=True):
            feeds = {**words, **memory, "letter": letter, "hidden": outputs["next_hidden"]}
            outputs = graphs[LEMMA_DECODER].function(feeds)
            torch.testing.assert_close(outputs["probabilities"].sum(dim=1), torch.ones(len(letter)))
            chosen = outputs["probabilities"].gather(1, target.unsqueeze(1)).squeeze(1)
            logarithms += (chosen.log() * (target != 0)).sum()
        loss, _ = network.loss(batch)
    torch.testing.assert_close(-logarithms / batch.num_terms, loss, atol=1e-5, rtol=1e-4)
