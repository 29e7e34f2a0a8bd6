"""The parser: scorers of arcs and relations, the loss, and padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tests.training.exportable import lively
from tests.training.trees.tiny_parsers import parser
from training.networks.parsing.biaffine import IMPOSSIBLE, ArcScorer, RelationScorer, impossible_arcs
from training.networks.parsing.parser import HIDDEN_STATES, Parser
from training.preprocessing.batches import ParsingBatch


def batch_of(lengths: list[int], heads: list[list[int]]) -> ParsingBatch:
    """Words and characters by their place, and these heads; all labels are 1, and 0 beyond the lengths."""
    time = max(lengths)
    inside = torch.arange(time) < torch.tensor(lengths)[:, None]
    ids = (torch.arange(time) % 9 + 4) * inside
    ones = inside.long()
    characters = torch.stack([ids, ids * (ids % 2)], dim=2)
    padded = torch.tensor([row + [0] * (time - len(row)) for row in heads])
    return ParsingBatch(ids, characters, torch.tensor(lengths), ones, padded, ones, ones, ones)


@pytest.mark.parametrize("decoder", ["biaffine", "labels"])
def test_padding_changes_nothing(decoder: str) -> None:
    """A row in a padded batch has the scores that it has alone, and its loss."""
    network = parser(decoder=decoder).eval()
    batch = batch_of([2, 5], [[2, 0], [2, 0, 2, 5, 3]])
    alone = batch_of([2], [[2, 0]])
    whole = network.read(batch.words, batch.characters, batch.lengths)
    single = network.read(alone.words, alone.characters, alone.lengths)
    for name, expected in single.items():
        cut = whole[name][:1, : expected.shape[1], : expected.shape[2]]
        assert torch.allclose(cut, expected, atol=1e-6), name
    both, other = network.loss(batch)[0], network.loss(batch_of([5], [[2, 0, 2, 5, 3]]))[0]
    assert torch.allclose(7 * both, 2 * network.loss(alone)[0] + 5 * other, atol=1e-4)


def test_a_word_is_no_head_of_its_own_and_none_stands_beyond_the_end() -> None:
    """What remains of two words in a row of three: the root and the other word."""
    possible = ~impossible_arcs(torch.tensor([2, 3]), 3)
    assert possible[0].tolist() == [
        [True, False, True, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
    assert possible[1].sum(dim=1).tolist() == [3, 3, 3]


def test_arc_scores_are_the_biaffine_form() -> None:
    """d'Uh + u'h, computed from the projections of both sides."""
    scorer = lively(ArcScorer(4, 3, dropout=0.0)).eval()
    words, candidates = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    scores = scorer(words, candidates, torch.tensor([2]))
    dependent, head = scorer.dependent(words)[0, 0], scorer.head(candidates)[0, 2]
    expected = head @ scorer.bilinear.weight @ dependent + head @ scorer.bilinear.bias
    assert torch.allclose(scores[0, 0, 2], expected, atol=1e-5)
    assert scores[0, 0, 1] == IMPOSSIBLE


def test_relation_scores_are_the_biaffine_form() -> None:
    """d'U_r h + v_r'd + w_r'h + b_r of one relation."""
    scorer = lively(RelationScorer(4, 3, relations=5, dropout=0.0)).eval()
    dependent, head = torch.randn(1, 3), torch.randn(1, 3)
    tensor = scorer.bilinear.weight.view(5, 3, 3)[2]
    linear = scorer.bilinear.bias.view(5, 3)[2] @ head[0] + scorer.linear.weight[2] @ dependent[0]
    expected = head[0] @ tensor @ dependent[0] + linear + scorer.linear.bias[2]
    assert torch.allclose(scorer(dependent, head)[0, 2], expected, atol=1e-5)


def test_the_loss_is_of_heads_relations_tags_and_features() -> None:
    """With scores of zero, each part is the logarithm of its number of choices, times its weight."""
    network = parser()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    loss, _ = network.loss(batch_of([3], [[2, 0, 2]]))
    sizes, config = network.sizes, network.config
    # Three candidates of each word: the root and the two other words.
    expected = math.log(3) + math.log(sizes.relations)
    expected += config.tag_loss_weight * math.log(sizes.tags)
    expected += config.feature_loss_weight * math.log(sizes.features)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_the_loss_reads_the_relation_of_the_right_head() -> None:
    """The relations in the loss are scored at the heads of the treebank, not at those that score best."""
    network = parser(features=0).eval()
    batch = batch_of([3], [[2, 0, 2]])
    scores = network.read(batch.words, batch.characters, batch.lengths)
    arcs = functional.cross_entropy(scores["arc_scores"][0], batch.heads[0])
    logits = network.heads.relations(scores["dependents"][0], scores["heads"][0, batch.heads[0]])
    relations = functional.cross_entropy(logits, batch.relations[0])
    tags = network.config.tag_loss_weight * functional.cross_entropy(scores["emissions"][0], batch.tags[0])
    assert torch.allclose(network.loss(batch)[0], arcs + relations + tags, atol=1e-5)


@pytest.mark.parametrize("decoder", ["biaffine", "labels"])
def test_every_weight_learns(decoder: str) -> None:
    """After one backward pass each parameter has a gradient, the root's vector too."""
    network: Parser = parser(decoder=decoder)
    network.loss(batch_of([3, 5], [[2, 0, 2], [2, 0, 2, 5, 3]]))[0].backward()
    without = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


def test_the_hidden_state_is_what_the_output_layers_read() -> None:
    """Tags are a linear layer of `hidden_states`."""
    network = parser().eval()
    batch = batch_of([3], [[2, 0, 2]])
    scores = network.read(batch.words, batch.characters, batch.lengths)
    assert torch.allclose(network.tags(scores[HIDDEN_STATES]), scores["emissions"])
