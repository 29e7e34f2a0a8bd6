"""Attachment scores of dependency trees, by the rules of the CoNLL 2018 shared task (Zeman et al. 2018).

All words count, punctuation included. Subtypes of relations (`nsubj:pass`) and features that are not universal are not
compared. Words are those of the treebank, so that recall, precision and F1 are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.records import ParsedSentence
from training.evaluation.answers import REFUSED
from training.evaluation.scoring import percentage

#: Relations of function words, and of punctuation, which CLAS leaves out (Nivre and Fang 2017).
_FUNCTION: Final = frozenset({"aux", "case", "cc", "clf", "cop", "det", "mark", "punct"})
_FEATURE_NAMES = (
    "PronType NumType Poss Reflex Foreign Abbr Gender Animacy Number Case Definite Degree VerbForm Mood Tense Aspect "
    "Voice Evident Polarity Person Polite"
)
#: Features that have one meaning in all languages.
_UNIVERSAL_FEATURES: Final = frozenset(_FEATURE_NAMES.split(" "))
#: The head of a word of a sentence that was refused.
NO_HEAD: Final = -1


class Parse(NamedTuple):
    """Predicted tags, heads (0 for the root), relations and features of the words of one sentence."""

    tags: Sequence[str]
    heads: Sequence[int]
    relations: Sequence[str]
    feats: Sequence[str]


def refused(sentence: ParsedSentence) -> Parse:
    """A parse that is wrong in everything."""
    nothing = (REFUSED,) * len(sentence.words)
    return Parse(nothing, (NO_HEAD,) * len(nothing), nothing, nothing)


def universal(relation: str) -> str:
    """A relation without its subtype."""
    return relation.partition(":")[0]


def universal_features(feats: str) -> str:
    """The universal ones of the features of a word, sorted; `_` for none."""
    kept = sorted(each for each in feats.split("|") if each.partition("=")[0] in _UNIVERSAL_FEATURES)
    return "|".join(kept) if kept or not feats else NOTHING


def _is_content(relation: str) -> bool:
    return relation not in _FUNCTION and relation != REFUSED


#: The measures, in the order of `counts`: heads, heads with relations, the same of content words, tags, features.
MEASURES: Final = ("uas", "las", "clas", "upos", "ufeats")


def counts(gold: ParsedSentence, found: Parse) -> NDArray[np.int64]:
    """`[measures, 2]`: what is right in one sentence, and what there is."""
    heads = np.equal(gold.heads, found.heads)
    wanted, given = ([universal(relation) for relation in side.relations] for side in (gold, found))
    arcs = heads & np.equal(wanted, given)
    in_gold, in_found = ([_is_content(relation) for relation in side] for side in (wanted, given))
    feats = [universal_features(a) == universal_features(b) for a, b in zip(gold.feats, found.feats, strict=True)]
    tags, size = np.equal(gold.tags, found.tags), len(gold.words)
    # CLAS is an F1 = 2 * right / (gold + predicted), as another number of words may be predicted to be content words.
    content = [2 * int((arcs & in_gold).sum()), sum(in_gold) + sum(in_found)]
    plain = [[int(sum(right)), size] for right in (heads, arcs, tags, feats)]
    return np.array([plain[0], plain[1], content, plain[2], plain[3]], dtype=np.int64)


def attachment_scores(pairs: Iterable[tuple[ParsedSentence, Parse]], with_features: bool = True) -> dict[str, float]:
    """UAS, LAS, CLAS and the accuracies of tags and universal features, in percent, over all words."""
    total = sum((counts(gold, found) for gold, found in pairs), np.zeros((len(MEASURES), 2), dtype=np.int64))
    scores = {name: percentage(int(right), int(whole)) for name, (right, whole) in zip(MEASURES, total, strict=True)}
    return scores if with_features else {name: value for name, value in scores.items() if name != "ufeats"}
