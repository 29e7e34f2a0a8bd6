"""A development part for data that has none: the same records every time, and no text on both sides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from service.errors import UnrollError
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    Record,
    SentencePair,
    Series,
    TaggedSentence,
)

DEV_FRACTION = 0.1
_BUCKETS = 10_000


class Parts(NamedTuple):
    """Both parts, in the order of the input, and a sentence that says how they were made."""

    train: list[Record]
    dev: list[Record]
    explanation: str


def split_records(records: Sequence[Record], dev_fraction: float = DEV_FRACTION) -> Parts:
    """Split by the sha1 of the normalised text, so that a record's side depends on nothing but its text.

    Records that share a text (for pairs: a source or a target) go to the same side. Running text is cut near
    `1 - dev_fraction` of its length, at the end of a line; a series after so many of its rows.

    Raises:
        UnrollError: there is too little to split.
    """
    if records and isinstance(records[0], Passage):
        return _split_passages([record for record in records if isinstance(record, Passage)], dev_fraction)
    if records and isinstance(records[0], Series):
        return _split_series(records[0], dev_fraction)
    groups = _groups_of_shared_text(records)
    dev_groups = {group for group in set(groups) if _bucket(group) < dev_fraction * _BUCKETS}
    dev_groups = dev_groups or {min(groups, key=_bucket, default="")}
    if len(set(groups)) < 2:
        raise UnrollError("there is no dev file, and the train file has fewer than two different texts to split")
    train = [record for record, group in zip(records, groups, strict=True) if group not in dev_groups]
    dev = [record for record, group in zip(records, groups, strict=True) if group in dev_groups]
    share = 100 * len(dev) / len(records)
    how = "chosen by a hash of the text, equal texts on one side"
    return Parts(
        train, dev, f"No dev file: {len(dev):,} of {len(records):,} records ({share:.1f} %) are kept as dev, {how}."
    )


def text_key(text: str) -> str:
    """Letters and digits only, case-folded: what makes two texts the same. Other texts are their own key."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()) or text.strip()


def record_keys(record: Record) -> tuple[str, ...]:
    """The keys of the texts in a record; a pair has two, one for each language."""
    match record:
        case TaggedSentence(words, _):
            return (text_key(" ".join(words)),)
        case SentencePair(source, target):
            return (f"source:{text_key(source)}", f"target:{text_key(target)}")
        case CaptionedPicture(png):
            return (hashlib.sha1(png, usedforsecurity=False).hexdigest(),)
        case LabelledSignal(values):
            own = hashlib.sha1(values.tobytes(), usedforsecurity=False).hexdigest()
            # Windows of one recording overlap, and are alike where they do not: they stay together.
            return (own, f"stretch:{record.stretch}") if record.stretch else (own,)
        case LabelledText(text, _) | Passage(text):
            return (text_key(text),)
        case _:
            return ()


def _groups_of_shared_text(records: Sequence[Record]) -> list[str]:
    """For each record the name of its group: the smallest key that it is connected to (union-find)."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for record in records:
        roots = sorted({root(key) for key in record_keys(record)})
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(record_keys(record)[0]) for record in records]


def _bucket(key: str) -> int:
    return int(hashlib.sha1(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(), 16) % _BUCKETS


def _split_series(series: Series, dev_fraction: float) -> Parts:
    """The future is never in train: the last rows are dev, with those before them as their past."""
    num_dev = max(1, round(len(series.values) * dev_fraction))
    num_train = len(series.values) - num_dev
    if num_train < 1:
        raise UnrollError("there is no dev file, and the train file is too short to be split")
    train = series._replace(values=series.values[:num_train], times=series.times[:num_train], num_new=num_train)
    how = f"No dev file: the last {num_dev:,} of {len(series.values):,} rows are kept as dev."
    return Parts([train], [series._replace(num_new=num_dev)], how)


def _split_passages(passages: list[Passage], dev_fraction: float) -> Parts:
    text = "\n".join(passage.text for passage in passages)
    near = int(len(text) * (1 - dev_fraction))
    end_of_line = text.find("\n", near) + 1
    cut = end_of_line if 0 < end_of_line < len(text) else near
    if not text[:cut].strip() or not text[cut:].strip():
        raise UnrollError("there is no dev file, and the train file is too short to be split")
    how = f"No dev file: the last {len(text) - cut:,} of {len(text):,} characters are kept as dev."
    return Parts([Passage(text[:cut])], [Passage(text[cut:])], how)
