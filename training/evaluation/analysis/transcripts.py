"""Errors of transcripts: words by kind, what is taken for what, and error rates by speaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from training.evaluation.analysis.errors import NUM_CONTEXT_WORDS, ErrorCase
from training.evaluation.analysis.findings import Table
from training.evaluation.speech.error_rates import Compared, by_speaker, cer, edit_rates, wer

#: What stands in the confusions opposite a word that was left out or added.
LEFT_OUT: Final = "(left out)"
ADDED: Final = "(added)"
#: Words among the confusions, those with the most errors: a large vocabulary would make a table of millions.
MAX_WORDS: Final = 150


def word_errors(compared: Sequence[Compared]) -> list[ErrorCase]:
    """The wrong words of all utterances: `substitution`, `deletion` or `insertion`."""
    return [case for each in compared for case in _of_utterance(each)]


def _of_utterance(each: Compared) -> list[ErrorCase]:
    cases = []
    for place, (said, heard) in enumerate(each.pairs):
        if said != heard:
            kind = "substitution" if said and heard else "deletion" if said else "insertion"
            cases.append(ErrorCase(kind, said or "nothing", heard or "nothing", _around(each.pairs, place)))
    return cases


def _around(pairs: Sequence[tuple[str, str]], place: int) -> str:
    """What was said around a place, with the word there in brackets."""
    said = [word for word, _ in pairs]
    before, after = said[max(0, place - NUM_CONTEXT_WORDS) : place], said[place + 1 : place + 1 + NUM_CONTEXT_WORDS]
    return " ".join([*filter(None, before), f"[{said[place]}]", *filter(None, after)])


def word_confusions(compared: Sequence[Compared]) -> list[tuple[str, str]]:
    """Pairs of a word said and the word heard in its place, of the words with the most errors."""
    pairs = [(said or ADDED, heard or LEFT_OUT) for each in compared for said, heard in each.pairs]
    errors: dict[str, int] = {}
    for pair in pairs:
        for word in pair:
            errors[word] = errors.get(word, 0) + (pair[0] != pair[1])
    kept = set(sorted(errors, key=lambda word: (-errors[word], word))[:MAX_WORDS])
    return [pair for pair in pairs if kept.issuperset(pair)]


def rate_tables(compared: Sequence[Compared]) -> list[Table]:
    """The parts of the word error rate; and by speaker, the worst first, where the data names some."""
    edits = edit_rates(compared)
    parts = [(name, f"{rate:.2f}") for name, rate in edits.items()]
    tables = [Table("Errors in percent of the words said", ("kind", "share"), parts)]
    speakers = sorted(by_speaker(compared).items(), key=lambda each: (-wer(each[1]), each[0]))
    if speakers:
        rows = [
            (name, str(len(said)), str(sum(each.num_words for each in said)), f"{wer(said):.2f}", f"{cer(said):.2f}")
            for name, said in speakers
        ]
        tables.append(Table("By speaker, the worst first", ("speaker", "utterances", "words", "WER", "CER"), rows))
    return tables
