"""What was understood of a file, in a sentence; and its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from service.bundle.manifest import Limits
from service.bundle.task_options import TrainedTask
from training.data.formats.faults import Facts, Report
from training.data.formats.options import Located
from training.data.records import LabelledSignal, LabelledText, ParsedSentence, SentencePair, Series, TaggedSentence

#: Words that the service takes at once, as recipes have it by default.
MAX_WORDS = Limits().max_input_tokens
_FIRST_FACTS = ("format", "compression", "encoding")
_LAST_FACTS = ("not read", "rows", "records", "classes", "limit")


def sentence_about(path: str, facts: Facts) -> str:
    """`a.csv: csv, UTF-8; separator: commas; header: line 1; text: `v2`; label: `v1``."""
    first = ", ".join(facts[name] for name in _FIRST_FACTS if name in facts)
    middle = [name for name in facts if name not in (*_FIRST_FACTS, *_LAST_FACTS)]
    last = [name for name in _LAST_FACTS if name in facts]
    others = [f"{name}: {facts[name]}" for name in (*middle, *last)]
    return f"{path}: " + "; ".join([first, *others])


def describe_records(records: Sequence[Located], path: Path, report: Report) -> None:
    """State the number of records, and of classes where they have labels."""
    facts = report.facts(path)
    labels = Counter(one.record.label for one in records if isinstance(one.record, LabelledText | LabelledSignal))
    if not any(isinstance(one.record, Series) for one in records):
        facts["records"] = f"{len(records):,}"
    if labels:
        facts["classes"] = f"{len(labels):,}"


def warn_of_length(task: TrainedTask, records: Sequence[Located], path: Path, report: Report) -> None:
    """Tell of texts that are longer than the service takes at once; sentences to tag are cut into parts."""
    lengths = [(_num_words(one), one.line) for one in records]
    longer = [(words, line) for words, line in lengths if words > MAX_WORDS]
    if not longer:
        return
    most, line = max(longer)
    what = f"{len(longer):,} of {len(records):,} have more than {MAX_WORDS} words (limits.max_input_tokens)"
    if task == "tagging":
        how = "they are cut into parts: separate sentences by blank lines"
        report.warn(path, line, f"a sentence of {most:,} words; {what}", how)
    elif task == "parsing":
        how = "a tree cannot be cut: they are left out of training, and refused afterwards"
        report.warn(path, line, f"a sentence of {most:,} words; {what}", how)
    else:
        report.facts(path)["limit"] = f"{what}, the longest {most:,}: the rest of each is cut off"


def _num_words(located: Located) -> int:
    match located.record:
        case TaggedSentence(words) | ParsedSentence(words):
            return len(words)
        case LabelledText(text):
            return _words_of(text)
        case SentencePair(source):
            return _words_of(source)
    return 0


def _words_of(text: str) -> int:
    """Number of words; 0 for a text that is too short to have more than the limit."""
    return len(text.split()) if len(text) > 2 * MAX_WORDS else 0
