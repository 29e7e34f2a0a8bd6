"""New words and labels for a network that has learned: its old answers stay."""

from __future__ import annotations

import pytest
import torch

from service.bundle.tokenizer import UNK
from tests.training.exportable import (
    LABELS,
    characters_tokenizer,
    lively,
    tagger,
    vocabulary_sizes,
    words_tokenizer,
)
from tests.training.trees.tiny_parsers import FEATURES, RELATIONS, parser
from training.config.recipe import ConfigFault, TokenizerConfig
from training.networks.parsing.parser import Parser, ParserSizes
from training.networks.tagger import Tagger
from training.pipeline.fine_tuning.growth import grow_weights, grown_vocabulary
from training.preprocessing.vocabulary import Vocabulary, fit_subwords

OLD = Vocabulary(
    {"words": words_tokenizer(), "characters": characters_tokenizer()},
    LABELS,
    label_sets={"relations": RELATIONS, "features": FEATURES},
)
FRESH = Vocabulary(
    {
        "words": words_tokenizer().with_tokens(["zebra", "okapi"]),
        "characters": characters_tokenizer().with_tokens("Zé"),
    },
    ("NOUN", "ADJ", "ADV"),
    label_sets={"relations": ("root", "amod"), "features": FEATURES},
)
WORDS = torch.tensor([[5, 7, UNK, 9]])
LENGTHS = torch.tensor([4])


def test_ids_of_old_words_and_labels_stay() -> None:
    """New ones follow, sorted, and are told; the relations of a parser grow as well."""
    grown = grown_vocabulary(OLD, FRESH, "tiny version 1")
    words = grown.vocabulary.tokenizers["words"]
    before = OLD.tokenizers["words"]
    assert [words.token(n) for n in range(before.vocabulary_size)] == [
        before.token(n) for n in range(before.vocabulary_size)
    ]
    assert words.token_id("zebra") == before.vocabulary_size
    assert grown.vocabulary.labels == (*LABELS, "ADJ", "ADV")
    assert grown.vocabulary.label_sets == {"relations": (*RELATIONS, "amod"), "features": FEATURES}
    assert "2 tokens (words) are new to tiny version 1: added" in grown.remarks
    assert "tiny version 1 has not the labels ADJ, ADV: added" in grown.remarks


def test_words_stay_out_where_their_vectors_are_frozen() -> None:
    """Labels are added all the same."""
    grown = grown_vocabulary(OLD, FRESH, "tiny version 1", words=False).vocabulary
    assert grown.tokenizers == OLD.tokenizers
    assert grown.labels == (*LABELS, "ADJ", "ADV")


def test_a_tagger_answers_as_before() -> None:
    """Scores of old labels are the same, no new label is the best, and a new word is read as the unknown one."""
    after = grown_vocabulary(OLD, FRESH, "tiny").vocabulary
    old = tagger(decoder="crf").eval()
    sizes = after.size("words"), after.size("characters"), len(after.labels)
    new = lively(Tagger(old.config, *sizes)).eval()
    grow_weights(new, old, OLD, after)
    characters = torch.full((1, 4, 3), 5)
    before, now = (network.emissions(WORDS, characters, LENGTHS) for network in (old, new))
    assert torch.allclose(now[..., : len(LABELS)], before, atol=1e-6)
    assert (now[..., len(LABELS) :] < before.max(dim=-1, keepdim=True).values).all()
    unknown = WORDS.masked_fill(WORDS == UNK, after.tokenizers["words"].token_id("zebra") or 0)
    assert torch.allclose(new.emissions(unknown, characters, LENGTHS), now)
    inner, transitions = old.transitions(), new.transitions()
    assert inner is not None
    assert transitions is not None
    assert torch.equal(transitions[-1, : len(LABELS)], inner[-1, :-1])
    assert torch.equal(transitions[-1, -1], inner[-1, -1])


def test_the_relations_of_a_parser_stay() -> None:
    """The rows of a relation have several places, which stay beside each other."""
    after = grown_vocabulary(OLD, FRESH, "tiny").vocabulary
    old = parser()
    words, characters, _ = vocabulary_sizes()
    relations = len(RELATIONS) + 1
    sizes = ParserSizes(words + 2, characters + 2, len(after.labels), relations, len(FEATURES))
    new = Parser(old.config, sizes).eval()
    grow_weights(new, old, OLD, after)
    arcs = torch.randn(3, 4), torch.randn(3, 4)
    before = old.heads.relations(*arcs)  # type: ignore[operator]
    now = new.heads.relations(*arcs)  # type: ignore[operator]
    assert torch.allclose(now[:, :-1], before, atol=1e-6)
    assert torch.allclose(now[:, -1], before.mean(dim=1), atol=1e-5)


def test_another_network_is_refused() -> None:
    """The error names the first weight that does not fit."""
    with pytest.raises(ValueError, match="encoder"):
        grow_weights(tagger(layers=1), tagger(layers=2), OLD, OLD)


def test_subwords_that_cannot_be_spelt_are_refused() -> None:
    """A tokenizer of subwords has no place for letters that it has never seen."""
    config = TokenizerConfig(unit="subword", vocabulary_size=64)
    latin, greek = fit_subwords(["the cat sat"] * 3, config), fit_subwords(["η γάτα κάθισε"] * 3, config)
    with pytest.raises(ConfigFault, match=r"cannot spell .* pieces of train: .*train anew"):
        grown_vocabulary(Vocabulary({"text": latin}), Vocabulary({"text": greek}), "tiny")
