"""BLEU as most papers before 2018 counted it, so that a score can stand beside theirs.

Text is lower-cased and cut into tokens first, much as the Moses tokenizer does, and nothing is smoothed, as in its
`multi-bleu`. Cut finer, a text has more pieces that can be right: scores are a point or two above sacrebleu's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

SIGNATURE = "nrefs:1|case:lc|tok:punctuation apart, as Moses cuts|smooth:none"

#: An elided word keeps its apostrophe (l' homme), any other goes with what follows (the man 's); numbers and words with
#: hyphens stay whole; every other sign is a token.
_TOKEN = re.compile(
    r"aujourd['’]hui|\b(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)['’](?=\w)"
    r"|\d+(?:[.,]\d+)+|\w+(?:-\w+)*|['’]\w+|[^\w\s]"
)


def cut(text: str) -> str:
    """The tokens of a text with a space between them, lower-cased."""
    return " ".join(_TOKEN.findall(text.lower()))


def tokenised_bleu(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus BLEU, 0 to 100, over tokens without case; 0 where no four tokens in a row are right."""
    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    return float(bleu.corpus_score([cut(text) for text in hypotheses], [[cut(text) for text in references]]).score)
