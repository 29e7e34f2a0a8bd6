"""A small network is trained in one go, without a run folder."""

from __future__ import annotations

import torch

from tests.training.exportable import LABELS, characters_tokenizer, words_tokenizer
from tests.training.trees.tiny_parsers import parser
from tests.training.trees.tiny_trees import tree_of
from training.config.recipe import TrainingConfig
from training.fit.trainer import fit_small
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.parsing import ParsingSet


def test_the_loss_falls_and_is_told_after_each_epoch() -> None:
    """The weights change, the mean loss of the last epoch is lower, and the network is left for prediction."""
    torch.manual_seed(1)
    tokenizers = {"words": words_tokenizer(), "characters": characters_tokenizer()}
    vocabulary = Vocabulary(tokenizers, LABELS, label_sets={"relations": ("conj", "det", "nsubj", "root")})
    sentences = [tree_of(["the", noun, "sees"]) for noun in ("cat", "dog", "bird", "mat")]
    config = TrainingConfig(learning_rate=0.05, epochs=4, batch_size=2)
    network, said = parser(features=0, dropout=0.0, word_dropout=0.0), list[str]()
    before = network.state_dict()["word_embedding.weight"].clone()
    fit_small(network, ParsingSet(sentences, vocabulary, 8, config.batch_size, 1), config, said.append)
    assert [line.partition(":")[0] for line in said] == [f"epoch {epoch} of 4" for epoch in range(1, 5)]
    assert float(said[-1].split()[-1]) < float(said[0].split()[-1])
    assert not torch.equal(before, network.state_dict()["word_embedding.weight"])
    assert not network.training
