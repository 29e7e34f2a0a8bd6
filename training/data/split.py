"""A development part for data that has none: the same records every time, and no text on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from service.errors import UnrollError
from training.data.records import Passage, Record, Series

DEV_FRACTION = 0.1
_BUCKETS = 10_000


class Parts(NamedTuple):
    """Both parts, in the order of the input, and a sentence that says how they were made."""

    train: list[Record]
    dev: list[Record]
    explanation: str


def split_records(records: Sequence[Record], dev_fraction: float = DEV_FRACTION) -> Parts:
    """Split by the sha1 of the normalised text, so that a record's side depends on nothing but its text.

    Records that share a text (for pairs: a source or a target) go to the same side.

    Raises:
        UnrollError: there is too little to split.
    """
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
        roots = sorted({root(key) for key in record.keys})
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(record.keys[0]) for record in records]


def _bucket(key: str) -> int:
    return int(hashlib.sha1(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(), 16) % _BUCKETS


def split_series(series: Series, dev_fraction: float = DEV_FRACTION) -> Parts:
    """Keep the last rows as dev, with those before them as their past: the future is never in train.

    Raises:
        UnrollError: there are fewer than two rows.
    """
    num_dev = max(1, round(len(series.values) * dev_fraction))
    num_train = len(series.values) - num_dev
    if num_train < 1:
        raise UnrollError("there is no dev file, and the train file is too short to be split")
    train = series._replace(values=series.values[:num_train], times=series.times[:num_train], num_new=num_train)
    how = f"No dev file: the last {num_dev:,} of {len(series.values):,} rows are kept as dev."
    return Parts([train], [series._replace(num_new=num_dev)], how)


def split_passages(passages: Sequence[Passage], dev_fraction: float = DEV_FRACTION) -> Parts:
    """Cut running text near `1 - dev_fraction` of its length, at the end of a line.

    Raises:
        UnrollError: there is too little text.
    """
    text = "\n".join(passage.text for passage in passages)
    near = int(len(text) * (1 - dev_fraction))
    end_of_line = text.find("\n", near) + 1
    cut = end_of_line if 0 < end_of_line < len(text) else near
    if not text[:cut].strip() or not text[cut:].strip():
        raise UnrollError("there is no dev file, and the train file is too short to be split")
    how = f"No dev file: the last {len(text) - cut:,} of {len(text):,} characters are kept as dev."
    return Parts([Passage(text[:cut])], [Passage(text[cut:])], how)
