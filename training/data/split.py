"""A development part for data that has none: the same records every time, every label in both parts, and no group, such
as a speaker, on both sides; without groups no text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from service.errors import UnrollError
from training.data.records import LabelledSignal, LabelledText, ParsedSentence, Passage, Record, Series, TaggedSentence

DEV_FRACTION = 0.1
_BUCKETS = 10_000


class Parts(NamedTuple):
    """Both parts, in the order of the input, and a sentence that says how they were made."""

    train: list[Record]
    dev: list[Record]
    explanation: str


class _Block(NamedTuple):
    """Records that stay together: they share a text or a group. `bucket` is a hash that orders blocks."""

    rows: tuple[int, ...]
    labels: Mapping[str, int]
    bucket: int
    key: str


def labels_of(record: Record) -> tuple[str, ...]:
    """Labels that a model learns to tell apart: that of the whole record, or the different tags of its words."""
    match record:
        case LabelledText() | LabelledSignal():
            return (record.label,)
        case TaggedSentence():
            return tuple(sorted(set(record.tags)))
        case ParsedSentence():
            return tuple(sorted(set(record.relations)))
        case _:
            return ()


def group_of(record: Record) -> str:
    """The source of a record, such as a speaker, if the data names it; else empty."""
    return str(getattr(record, "group", ""))


def split_records(records: Sequence[Record], dev_fraction: float = DEV_FRACTION) -> Parts:
    """Split at random but always alike, by the sha1 of the normalised text.

    Records of a group go to the same side; without groups those that share a text (for pairs: a source or a target).
    Each label has its share in dev, and a record at least on both sides if it occurs in two different texts or groups.

    Raises:
        UnrollError: there is too little to split.
    """
    groups = {group_of(record) for record in records} - {""}
    grouped = len(groups) > 1
    blocks = _blocks(records, grouped)
    if grouped and len(blocks) < 2:  # every group shares a picture with another one
        grouped, blocks = False, _blocks(records, grouped=False)
    if len(blocks) < 2:
        what = "groups" if grouped else "texts"
        raise UnrollError(f"there is no dev file, and the train file has fewer than two different {what} to split")
    stratified = grouped or all(len(labels_of(record)) == 1 for record in records)
    chosen = _chosen(blocks, dev_fraction, stratified)
    train = [record for row, record in enumerate(records) if row not in chosen]
    dev = [record for row, record in enumerate(records) if row in chosen]
    return Parts(train, dev, _explanation(train, dev, grouped))


def _explanation(train: Sequence[Record], dev: Sequence[Record], grouped: bool) -> str:
    num_all = len(train) + len(dev)
    share = 100 * len(dev) / num_all
    how = "chosen by a hash of the text, equal texts on one side"
    if grouped:
        names = sorted({group_of(record) for record in dev} - {""})
        how = f"those of whole groups ({shortened(names)}), so that dev is of sources that train does not hold"
    here, there = ({label for record in part for label in labels_of(record)} for part in (train, dev))
    stratified = ", every label in both parts" if here and here == there else ""
    return f"No dev file: {len(dev):,} of {num_all:,} records ({share:.1f} %) are kept as dev, {how}{stratified}."


def _blocks(records: Sequence[Record], grouped: bool) -> list[_Block]:
    """Blocks in the order of their hash."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(_connected([_keys(record, grouped) for record in records])):
        rows.setdefault(key, []).append(row)
    unlabelled = ("",) if grouped else ()  # then rows are counted, for a group may be most of them
    counted = (
        _Block(
            tuple(found),
            Counter(label for row in found for label in labels_of(records[row]) or unlabelled),
            _bucket(key),
            key,
        )
        for key, found in rows.items()
    )
    return sorted(counted, key=lambda block: (block.bucket, block.key))


def _keys(record: Record, grouped: bool) -> tuple[str, ...]:
    """What a record shares with those that stay with it.

    Two sources may well write the same text, and are still two. Equal pictures or sounds are copies, and stay together.
    """
    group = group_of(record) if grouped else ""
    if not group:
        return record.keys
    return (f"group:{group}",) if isinstance(record, LabelledText) else (f"group:{group}", *record.keys)


def _chosen(blocks: Sequence[_Block], dev_fraction: float, stratified: bool) -> set[int]:
    """The rows of dev: of each label the blocks of the lowest hashes."""
    total = _sum(block.labels for block in blocks)
    wanted = {label: max(1, round(dev_fraction * count)) for label, count in total.items()}
    dev = _Dev(Counter(total), Counter(), [])
    for block in blocks:
        is_wanted = _helps(block, wanted, dev.taken) if stratified else block.bucket < dev_fraction * _BUCKETS
        if is_wanted and dev.may_take(block, len(blocks)):
            dev.take(block)
    for label in sorted(total, key=lambda name: (total[name], name)):
        if not dev.taken[label]:
            spare = [block for block in blocks if label in block.labels and dev.may_take(block, len(blocks))]
            if spare:
                dev.take(min(spare, key=lambda block: (len(block.rows), block.bucket, block.key)))
    if not dev.blocks:
        dev.take(min(blocks, key=lambda block: (block.bucket, block.key)))
    return {row for block in dev.blocks for row in block.rows}


class _Dev(NamedTuple):
    """Dev while it is chosen: counts of the labels that train still has and that dev has, and the blocks of dev."""

    left: Counter[str]
    taken: Counter[str]
    blocks: list[_Block]

    def may_take(self, block: _Block, num_blocks: int) -> bool:
        """Whether train would keep something, and each label of the block."""
        return len(self.blocks) < num_blocks - 1 and all(
            self.left[label] > count for label, count in block.labels.items()
        )

    def take(self, block: _Block) -> None:
        """Move a block to dev."""
        self.blocks.append(block)
        self.left.subtract(block.labels)
        self.taken.update(block.labels)


def _helps(block: _Block, wanted: Mapping[str, int], taken: Mapping[str, int]) -> bool:
    """Whether most of a block is still wanted in dev."""
    size = sum(block.labels.values())
    useful = sum(min(count, max(0, wanted[label] - taken[label])) for label, count in block.labels.items())
    return 2 * useful > size


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def shortened(names: Sequence[str], most: int = 10) -> str:
    """At most `most` names, each shortened, and the number of the rest: for messages."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shortened_name, names[:most])) + rest


def shortened_name(name: str, characters: int = 40) -> str:
    """A name on one line, cut where it is long."""
    line = " ".join(name.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def _connected(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """For each record the name of its block: the smallest key that it is connected to (union-find)."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for each in keys:
        roots = sorted({root(key) for key in each}, key=lambda key: (not key.startswith("group:"), key))
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(each[0]) for each in keys]


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
