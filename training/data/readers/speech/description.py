"""What was understood of speech: minutes, rates, speakers, the alphabet of the texts; and what is unlikely in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from training.data.formats.faults import Report
from training.data.formats.options import Located
from training.data.records import Utterance

#: How much faster or slower than the usual speaker a text is not spoken.
_MUCH_FASTER, _MUCH_SLOWER = 3.0, 8.0
_MIN_UTTERANCES = 10
_MAX_OTHER_CHARACTERS = 20
_GB = 1e9
_MUCH_MEMORY_GB = 4.0


class _Rate(NamedTuple):
    """Characters a second."""

    speed: float
    line: int


def describe_speech(records: Sequence[Located], path: Path, report: Report) -> None:
    """State what the utterances of a file are, and warn of texts that are not what is said."""
    utterances = [located.record for located in records if isinstance(located.record, Utterance)]
    if not utterances:
        return
    facts = report.facts(path)
    rates = Counter(one.sample_rate_hz for one in utterances if one.sample_rate_hz)
    if rates:
        seconds = sum(len(one.values) / one.sample_rate_hz for one in utterances if one.sample_rate_hz)
        facts["sound"] = f"{seconds / 60:,.1f} minutes"
        facts["rates"] = ", ".join(
            f"{rate:,} Hz" + (f" ({count:,})" if len(rates) > 1 else "") for rate, count in rates.most_common()
        )
    else:
        facts["frames"] = f"{sum(len(one.values) for one in utterances):,} of {len(utterances[0].features)} features"
    groups = {one.group for one in utterances} - {""}
    if groups:
        facts["speakers"] = f"{len(groups):,}"
    facts["characters"] = alphabet_of(one.text for one in utterances)
    _doubt_digits(records, path, report)
    _doubt_speeds(records, path, report)
    _tell_memory(utterances, path, report)


def alphabet_of(texts: Iterable[str]) -> str:
    """The different characters of texts, with runs of letters and digits shortened: `28: a-z ' space`."""
    found = sorted({character for text in texts for character in text})
    runs: list[list[str]] = []
    for character in (one for one in found if one.isalnum()):
        is_next = runs and ord(character) == ord(runs[-1][-1]) + 1
        runs[-1].append(character) if is_next else runs.append([character])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(run) for run in runs]
    others = ["space" if one == " " else one for one in found if not one.isalnum()]
    rest = f" and {len(others) - _MAX_OTHER_CHARACTERS} more" if len(others) > _MAX_OTHER_CHARACTERS else ""
    return f"{len(found)}: {' '.join([*shown, *others[:_MAX_OTHER_CHARACTERS]])}{rest}"


def _doubt_digits(records: Sequence[Located], path: Path, report: Report) -> None:
    """Numbers are spoken in many ways; texts of digits alone are what they say."""
    texts = [(located.record.text, located.line) for located in records if isinstance(located.record, Utterance)]
    with_digits = [(text, line) for text, line in texts if any(map(str.isdecimal, text))]
    with_letters = [text for text, _ in texts if any(map(str.isalpha, text))]
    if with_digits and with_letters:
        text, line = with_digits[0]
        what = f"{len(with_digits):,} of {len(texts):,} texts have digits, such as {text[:40]!r}"
        report.warn(path, line, what, "write numbers in words, as they are spoken")


def _doubt_speeds(records: Sequence[Located], path: Path, report: Report) -> None:
    """Texts far longer or shorter than what can be said in the time: often they belong to another sound."""
    rates = [
        _Rate(len(one.text) * one.sample_rate_hz / len(one.values), line)
        for one, line in records
        if isinstance(one, Utterance) and one.sample_rate_hz
    ]
    if len(rates) < _MIN_UTTERANCES:
        return
    usual = median(rate.speed for rate in rates)
    for found, how in (
        ([rate for rate in rates if rate.speed > _MUCH_FASTER * usual], "faster"),
        ([rate for rate in rates if rate.speed * _MUCH_SLOWER < usual], "slower"),
    ):
        if found:
            first = found[0]
            what = (
                f"{len(found):,} spoken much {how} than usual: {first.speed:.1f} characters a second, not {usual:.1f}"
            )
            report.warn(path, first.line, what, "does the text belong to another sound?")


def _tell_memory(utterances: Sequence[Utterance], path: Path, report: Report) -> None:
    size = sum(one.values.nbytes for one in utterances) / _GB
    if size > _MUCH_MEMORY_GB:
        report.warn(path, None, f"the sounds take {size:.0f} GB of memory while a model learns from them")
