"""Error rates of transcripts: words (WER), characters (CER) and whole utterances, in percent; lower is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from training.evaluation.scoring import percentage
from training.evaluation.speech.edit_distance import Edits, aligned, edit_distance, edits_of

#: Speakers of fewer words than this are left out of the worst and the mean speaker: one word would be 100 %.
MIN_SPEAKER_WORDS = 10


@dataclass(frozen=True)
class Compared:
    """The transcript of one utterance beside what was said; white space is normalised, case and signs count."""

    said: str
    heard: str
    speaker: str = ""

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Words said and heard, aligned; `""` where one was left out or added."""
        return aligned(self.said.split(), self.heard.split())

    @cached_property
    def edits(self) -> Edits:
        return edits_of(self.pairs)

    @property
    def num_words(self) -> int:
        return len(self.said.split())

    @cached_property
    def character_errors(self) -> int:
        return edit_distance(" ".join(self.said.split()), " ".join(self.heard.split()))

    @property
    def num_characters(self) -> int:
        return len(" ".join(self.said.split()))


def error_rates(said: Sequence[str], heard: Sequence[str]) -> dict[str, float]:
    """`wer`, `cer` and `sentence_error` over all utterances together."""
    return rates_of([Compared(a, b) for a, b in zip(said, heard, strict=True)])


def rates_of(compared: Sequence[Compared]) -> dict[str, float]:
    """Errors over words said, so that `wer` exceeds 100 where more is invented than was said."""
    return {
        "wer": wer(compared),
        "cer": cer(compared),
        "sentence_error": percentage(sum(each.edits.total > 0 for each in compared), len(compared)),
    }


def wer(compared: Sequence[Compared]) -> float:
    """Word error rate. Without a word said, 100 if anything was heard."""
    return _rate(sum(each.edits.total for each in compared), sum(each.num_words for each in compared))


def cer(compared: Sequence[Compared]) -> float:
    """Character error rate, spaces included."""
    return _rate(sum(each.character_errors for each in compared), sum(each.num_characters for each in compared))


def _rate(errors: int, count: int) -> float:
    return percentage(errors, count) if count else 100.0 * (errors > 0)


def edit_rates(compared: Sequence[Compared]) -> dict[str, float]:
    """The parts of `wer`, in percent of the words said."""
    count = sum(each.num_words for each in compared)
    return {name: _rate(sum(getattr(each.edits, name) for each in compared), count) for name in Edits._fields}


def by_speaker(compared: Sequence[Compared]) -> dict[str, list[Compared]]:
    """The utterances of each speaker, by name; empty where the data names none."""
    found: dict[str, list[Compared]] = {}
    for each in compared:
        if each.speaker:
            found.setdefault(each.speaker, []).append(each)
    return dict(sorted(found.items()))


def speaker_rates(compared: Sequence[Compared]) -> dict[str, float]:
    """`wer_worst_speaker` and `wer_mean_speaker`, each speaker counting once; empty for fewer than two speakers."""
    speakers = by_speaker(compared).values()
    rates = [wer(each) for each in speakers if sum(one.num_words for one in each) >= MIN_SPEAKER_WORDS]
    if len(rates) < 2:
        return {}
    return {"wer_worst_speaker": max(rates), "wer_mean_speaker": sum(rates) / len(rates), "speakers": len(rates)}
