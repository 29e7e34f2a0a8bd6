"""Caption metrics: exact match, token F1 and BLEU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

from training.evaluation.scoring import accuracy

#: BLEU-1 and BLEU-4, as captioning papers report them.
_SHORTEST, _LONGEST = 1, 4


def caption_scores(references: Sequence[str], captions: Sequence[str]) -> dict[str, float]:
    """`exact`: equal captions; `token_f1`: words in common, mean over captions; BLEU-1 and BLEU-4 of sacrebleu.

    All are percentages. Words are separated by white space, and case counts.
    """
    f1 = [_token_f1(reference, caption) for reference, caption in zip(references, captions, strict=True)]
    return {
        "token_f1": 100.0 * sum(f1) / max(1, len(f1)),
        "exact": accuracy(references, captions),
        "bleu1": _bleu(references, captions, _SHORTEST),
        "bleu4": _bleu(references, captions, _LONGEST),
    }


def _token_f1(reference: str, caption: str) -> float:
    wanted, predicted = Counter(reference.split()), Counter(caption.split())
    return 2.0 * (wanted & predicted).total() / max(1, wanted.total() + predicted.total())


def _bleu(references: Sequence[str], captions: Sequence[str], longest: int) -> float:
    return float(BLEU(max_ngram_order=longest).corpus_score(list(captions), [list(references)]).score)
