"""Errors of predictions by kind, with the text they occur in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sacrebleu.metrics.chrf import CHRF

from service.tasks.single_pass.spans import Span, bio_spans

#: Words of context on each side of an error.
NUM_CONTEXT_WORDS: Final = 4
#: Ratios of length to the reference beyond which a translation counts as too short or too long.
SHORT, LONG = 0.6, 1.6
#: A phrase repeated this many times in a row is a loop.
MIN_REPEATS: Final = 3


class ErrorCase(NamedTuple):
    """One error: its kind, the right answer, the prediction, and the text around it."""

    kind: str
    gold: str
    predicted: str
    text: str


def span_errors(words: Sequence[str], gold: Sequence[str], predicted: Sequence[str]) -> list[ErrorCase]:
    """The errors of one sentence with spans.

    `type`: right words, wrong label. `boundary`: right label, overlapping words. `boundary and type`: overlap alone.
    `missed`: no predicted span overlaps. `spurious`: a predicted span without overlap.
    """
    wanted, found = bio_spans(gold), bio_spans(predicted)
    cases = []
    for span in wanted:
        if span not in found:
            rival = max(found, key=lambda other: _common_words(span, other), default=None)
            rival = rival if rival is not None and _common_words(span, rival) else None
            answer = "nothing" if rival is None else _shown(words, rival)
            cases.append(
                ErrorCase(_kind(span, rival), _shown(words, span), answer, around(words, span.start, span.end))
            )
    for span in found:
        if not any(_common_words(span, other) for other in wanted):
            answer = _shown(words, span)
            cases.append(ErrorCase("spurious", "nothing", answer, around(words, span.start, span.end)))
    return cases


def tag_errors(words: Sequence[str], gold: Sequence[str], predicted: Sequence[str]) -> list[ErrorCase]:
    """The wrongly tagged words of one sentence; the kind is `gold -> predicted`."""
    return [
        ErrorCase(f"{right} -> {answer or 'nothing'}", right, answer or "nothing", around(words, i, i + 1))
        for i, (right, answer) in enumerate(zip(gold, predicted, strict=True))
        if right != answer
    ]


def label_errors(cases: Iterable[tuple[str, str, str]]) -> list[ErrorCase]:
    """Wrong labels, from text, gold and predicted label; the kind is `gold -> predicted`."""
    return [
        ErrorCase(f"{gold} -> {predicted or 'nothing'}", gold, predicted or "nothing", text)
        for text, gold, predicted in cases
        if gold != predicted
    ]


def translation_errors(cases: Iterable[tuple[str, str, str]]) -> list[ErrorCase]:
    """From source, reference and translation; suspicious ones first, each group from the lowest chrF on."""
    chrf = CHRF()
    scored = [
        (chrf.sentence_score(answer, [reference]).score, ErrorCase(_suspicion(*case), reference, answer, source))
        for case in cases
        for source, reference, answer in [case]
        if answer != reference
    ]
    scored.sort(key=lambda each: (each[1].kind == "other words", each[0]))
    return [case for _, case in scored]


def caption_errors(cases: Iterable[tuple[str, str, str]]) -> list[ErrorCase]:
    """From the name of a picture, its caption and the predicted one; the kind is how many words they share."""
    return [ErrorCase(_overlap(right, answer), right, answer, name) for name, right, answer in cases if right != answer]


def kinds(cases: Iterable[ErrorCase]) -> list[tuple[str, int]]:
    """Each kind with its count, the most frequent first."""
    return sorted(Counter(case.kind for case in cases).items(), key=lambda each: (-each[1], each[0]))


def _kind(span: Span, rival: Span | None) -> str:
    if rival is None:
        return "missed"
    same_words = (span.start, span.end) == (rival.start, rival.end)
    if same_words:
        return "type"
    return "boundary" if span.label == rival.label else "boundary and type"


def _common_words(one: Span, other: Span) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start))


def _shown(words: Sequence[str], span: Span) -> str:
    return f"{' '.join(words[span.start : span.end])} [{span.label}]"


def around(words: Sequence[str], start: int, end: int) -> str:
    """The words of an error in brackets, with context on both sides."""
    before = words[max(0, start - NUM_CONTEXT_WORDS) : start]
    after = words[end : end + NUM_CONTEXT_WORDS]
    return " ".join([*before, f"[{' '.join(words[start:end])}]", *after])


def _suspicion(source: str, reference: str, answer: str) -> str:
    if not answer:
        return "empty answer"
    if answer == source:
        return "source copied"
    if _loops(answer.split()):
        return "repeats itself"
    share = len(answer.split()) / max(1, len(reference.split()))
    if share < SHORT:
        return "too short"
    return "too long" if share > LONG else "other words"


def _overlap(right: str, answer: str) -> str:
    if not answer:
        return "empty answer"
    wanted, found = Counter(right.lower().split()), Counter(answer.lower().split())
    num_common = (wanted & found).total()
    if not num_common:
        return "nothing right"
    return "some words right" if num_common < wanted.total() else "all words, and more or in another order"


def _loops(words: Sequence[str]) -> bool:
    """Whether a phrase of one to four words occurs `MIN_REPEATS` times in a row."""
    for size in range(1, 5):
        for start in range(len(words) - MIN_REPEATS * size + 1):
            runs = {tuple(words[start + i * size : start + (i + 1) * size]) for i in range(MIN_REPEATS)}
            if len(runs) == 1:
                return True
    return False
