"""Load the records of a recipe: a public data set or the user's own files, split where there is no dev file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from service.bundle.manifest import DataSource
from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from training.config.recipe import DataConfig, Recipe
from training.data.digests import dev_rows_digest, file_digests
from training.data.formats.options import ReadOptions
from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import find_dataset, locate
from training.data.public.named_dataset import NamedDataset
from training.data.read import read_passages, read_records, split_paths
from training.data.readers.series import follows
from training.data.readers.text import spelt_out, turned_round
from training.data.records import Passage, Record, TaggedSentence
from training.data.split import Parts, shortened
from training.preprocessing.further_data import NAMING_FILES, named_digests, read_further, replayed, times_read
from training.preprocessing.windows import continued, one_series

#: Joins the names, licences and attributions of several data sets.
_AND = " + "


@dataclass(frozen=True)
class RunData:
    """Train and dev records, their source, and a sentence about the split if one was made."""

    train: Sequence[Record]
    dev: Sequence[Record]
    source: DataSource
    remark: str = ""


class LoadedTask(Protocol):
    """The part of a task that loading needs."""

    @property
    def name(self) -> TrainedTask:
        """The task as recipes and manifests spell it."""

    @property
    def dev_continues_train(self) -> bool:
        """Whether train is the past of dev, which cannot be read without it."""

    def split(self, records: Sequence[Any], dev_fraction: float) -> Parts:
        """Divide records into train and dev where there is no dev file."""

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Records as the network learns from them."""

    def group_of(self, record: Any) -> str:
        """The speaker or other source of a record; empty where there is none."""


def load_data(task: LoadedTask, recipe: Recipe, train: Sequence[Record] | None = None) -> RunData:
    """Read train and dev. `train` holds the records of the recipe's own training file if it has been read already.

    Raises:
        DataFault: a file cannot be read.
        DatasetUnavailable: a public data set is missing.
    """
    data = _named(recipe) if recipe.data.dataset else _own(task, recipe, train)
    if recipe.data.hold_out:
        data = _held_out(task, data, recipe.data.hold_out)
    if recipe.data.also and not recipe.network.learns_running_text:
        data = _with_further_train(task, recipe, data)
    if recipe.start.replay:
        data = _with_replay(recipe, data)
    return task.prepare(recipe, data)


def load_dev(task: LoadedTask, recipe: Recipe) -> RunData:
    """Dev as `load_data` gives it, without what it does not depend on: train may be empty, or not all of it.

    Raises as `load_data` does.
    """
    config, start = recipe.data, recipe.start.model_copy(update={"replay": ""})
    recipe = recipe.model_copy(update={"start": start})
    if not recipe.network.learns_running_text:
        recipe = recipe.model_copy(update={"data": config.model_copy(update={"also": ()})})
    if not config.dataset or config.hold_out or task.dev_continues_train:
        return load_data(task, recipe)
    return task.prepare(recipe, _named(recipe, with_train=False))


def _with_further_train(task: LoadedTask, recipe: Recipe, data: RunData) -> RunData:
    """More to learn from; dev stays as it is, and the group that is held out for it is left out here too."""
    for more in read_further(recipe, type(data.train[0])):
        left_out = recipe.data.hold_out
        kept = [record for record in more.records if not left_out or task.group_of(record) != left_out]
        source = _joined(data.source, more.name, more.licence, more.attribution, more.digests)
        data = replace(data, train=[*data.train, *kept], source=source)
    return data


def _with_replay(recipe: Recipe, data: RunData) -> RunData:
    """Earlier records among those to learn from; dev stays as it is."""
    more = replayed(recipe, data.train)
    source = _joined(data.source, more.name, more.licence, more.attribution, more.digests)
    remark = "\n".join(filter(None, (data.remark, more.remark)))
    return replace(data, train=[*data.train, *more.records], source=source, remark=remark)


def running_text(data: RunData, config: DataConfig) -> RunData:
    """Records of a language model: with the text of further data sets, and reversed, where the recipe says so."""
    for name, times in times_read(config.also).items():
        for _ in range(times):
            data = _with_text_of(data, find_dataset(name), config.read)
    if config.reverse:
        return replace(data, train=turned_round(_passages(data.train)), dev=turned_round(_passages(data.dev)))
    return data


def _with_text_of(data: RunData, entry: NamedDataset, options: ReadOptions) -> RunData:
    train, dev = (_text_of(entry, split, options) for split in ("train", "dev"))
    more = {f"{entry.name}/{file}": digest for file, digest in named_digests(entry).items()}
    source = _joined(data.source, entry.name, entry.licence, entry.attribution, more)
    return replace(data, train=[*data.train, *train], dev=[*data.dev, *dev], source=source)


def _joined(old: DataSource, name: str, licence: str, attribution: str, splits: dict[str, str]) -> DataSource:
    """The source of two sets of data together. What is said of both is said once."""
    facts = ((old.name, name), (old.licence, licence), (old.attribution, attribution))
    names, licences, attributions = (
        _AND.join(dict.fromkeys(part for part in (*before.split(_AND), new) if part)) for before, new in facts
    )
    return DataSource(name=names, licence=licences, attribution=attributions, splits={**old.splits, **splits})


def _text_of(entry: NamedDataset, split: str, options: ReadOptions) -> list[Passage]:
    """The sentences of a set for tagging, or the transcripts of a set for speech recognition, one a line."""
    path = locate(entry.name, split)
    if "tagging" in entry.tasks:
        records = read_records("tagging", path, entry.options)
        return [spelt_out([record for record in records if isinstance(record, TaggedSentence)])]
    if entry.has_transcripts and entry.options.text_column is not None:
        of_table = ReadOptions(format="tsv", text_column=entry.options.text_column, spoken=options.spoken)
        return read_passages(path, of_table)
    raise UnrollError(
        f"data.also: {entry.name} is for {', '.join(entry.tasks)}; name sets for tagging or transcription"
    )


def _passages(records: Sequence[Record]) -> list[Passage]:
    return [record for record in records if isinstance(record, Passage)]


def _held_out(task: LoadedTask, data: RunData, group: str) -> RunData:
    """One group, such as a speaker, as dev and all others as train."""
    records = [*data.train, *data.dev]
    groups = [task.group_of(record) for record in records]
    if group not in groups:
        raise UnrollError(f"data.hold_out: no record is of {group!r}; there are {shortened(sorted(set(groups)))}")
    parts = [
        [record for record, its in zip(records, groups, strict=True) if (its == group) == is_dev]
        for is_dev in (False, True)
    ]
    return replace(data, train=parts[0], dev=parts[1], remark=f"Dev is {group!r}: {len(parts[1]):,} records.")


def with_past(data: RunData) -> RunData:
    """Dev with train as its past, where it continues train: its first forecasts look back, as they would in use."""
    train, dev = one_series(data.train), one_series(data.dev)
    if (dev.channels, dev.targets) != (train.channels, train.targets):
        raise UnrollError(f"train has the channels {', '.join(train.channels)}; dev has {', '.join(dev.channels)}")
    return replace(data, dev=[continued(train, dev)]) if follows(train, dev) else data


def _named(recipe: Recipe, with_train: bool = True) -> RunData:
    entry = find_dataset(recipe.data.dataset)
    # Not `exclude_unset`: the recipe in a run folder spells out every default.
    given = recipe.data.read.model_dump(exclude_defaults=True)
    options = entry.options.model_copy(update=given)
    digests, attribution = named_digests(entry), entry.attribution
    return RunData(
        train=read_records(recipe.task, locate(entry.name, "train"), options) if with_train else [],
        dev=read_records(recipe.task, locate(entry.name, "dev"), options),
        source=DataSource(name=entry.name, licence=entry.licence, attribution=attribution, splits=digests),
    )


def _own(task: LoadedTask, recipe: Recipe, train: Sequence[Record] | None) -> RunData:
    config = recipe.data
    records = read_records(task.name, config.train, config.read) if train is None else train
    name = ", ".join(path.name for path in split_paths(config.train, config.read))
    source = DataSource(name=name, licence=recipe.licence or "not stated", splits=_digests(config, records))
    if config.dev:
        return RunData(records, read_records(task.name, config.dev, config.read), source)
    parts = task.split(records, config.dev_percent / 100)
    splits = {**source.splits, **dev_rows_digest(records, parts.dev)}
    return RunData(parts.train, parts.dev, source.model_copy(update={"splits": splits}), parts.explanation)


def _digests(config: DataConfig, records: Sequence[Record]) -> dict[str, str]:
    named = {"train": config.train, "dev": config.dev}
    names_files = bool(records) and isinstance(records[0], NAMING_FILES)
    paths = [(split, part) for split, given in named.items() if given for part in split_paths(given, config.read)]
    found: dict[str, str] = {}
    for split, path in paths:
        found |= file_digests(split, path, names_files)
    return found


def may_ship(recipe: Recipe, start: Iterable[DataSource] = ()) -> bool:
    """Whether the licences of all named data sets permit publishing weights trained on them; own files always do.

    Includes `start`, the data behind pretrained weights.
    """
    of_start = [name for source in start for name in source.name.split(_AND)]
    entries = [NAMED_DATASETS.get(name) for name in (recipe.data.dataset, *times_read(recipe.data.also), *of_start)]
    return all(entry is None or entry.may_ship for entry in entries)
