"""Further training data of a recipe: public sets by name and own files.

Those of `data.also` are read whole, any number of times; of `start.replay` a share is drawn.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import UnrollError
from training.config.recipe import Recipe
from training.data.digests import file_digests
from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import find_dataset, locate
from training.data.public.named_dataset import NamedDataset
from training.data.read import read_records
from training.data.records import CaptionedClip, CaptionedPicture, LabelledSignal, Record, Utterance

#: Records of files that an index names.
NAMING_FILES = (LabelledSignal, CaptionedPicture, CaptionedClip, Utterance)
_TIMES = re.compile(r"(?P<name>.*\S)\s+x(?P<times>\d{1,3})")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class FurtherData:
    """Train records of one entry, each as often as it is to be read, with what a manifest says of their source."""

    name: str
    records: Sequence[Record]
    digests: dict[str, str]
    licence: str = ""
    attribution: str = ""


def times_read(also: Sequence[str]) -> dict[str, int]:
    """How often each name is read: `NAME x3` counts as three times `NAME`.

    Raises:
        UnrollError: a number of times is 0.
    """
    found: Counter[str] = Counter()
    for given in also:
        match = _TIMES.fullmatch(given.strip())
        name, times = (match["name"], int(match["times"])) if match else (given.strip(), 1)
        if not times:
            raise UnrollError(f"data.also: {given!r}: the number after x must be 1 or more")
        found[name] += times
    return dict(found)


def read_further(recipe: Recipe, kind: type[Record]) -> Iterator[FurtherData]:
    """The train records of each entry of `data.also`; `kind` is that of the recipe's own records.

    Raises:
        UnrollError: an entry is for another task, or neither a data set nor a file.
        DataFault: a file cannot be read.
    """
    for name, times in times_read(recipe.data.also).items():
        if name in NAMED_DATASETS:
            yield _named(recipe, NAMED_DATASETS[name], kind, times)
        else:
            for path in _files(name):
                yield _own(recipe, path, kind, times)


@dataclass(frozen=True)
class Replayed:
    """Earlier records, with what a manifest says of their source."""

    records: list[Record]
    name: str
    licence: str
    attribution: str
    digests: dict[str, str]
    remark: str


def replayed(recipe: Recipe, train: Sequence[Record]) -> Replayed:
    """Earlier records to mix into train, so that a network that learns new ones forgets less.

    They are drawn by the recipe's seed, as many as make up `start.replay_share` of train, or are all that there are.

    Raises:
        UnrollError: the data is neither a set nor a file, or of another task.
        DataFault: the file cannot be read.
    """
    share, name = recipe.start.replay_share, recipe.start.replay
    also = recipe.data.model_copy(update={"also": (name,)})
    parts = list(read_further(recipe.model_copy(update={"data": also}), type(train[0])))
    every = [record for part in parts for record in part.records]
    wanted = round(share / (1 - share) * len(train))
    drawn = every if len(every) <= wanted else random.Random(recipe.seed).sample(every, wanted)
    remark = f"replayed with {len(train):,} new records: {len(drawn):,} of {len(every):,} earlier ones of {name}"
    if len(drawn) < wanted:
        remark += f", fewer than start.replay_share = {share:g} asks for"
    digests = {key: value for part in parts for key, value in part.digests.items()}
    names = " + ".join(dict.fromkeys(part.name for part in parts))
    return Replayed(drawn, names, parts[0].licence, parts[0].attribution, digests, remark)


def named_digests(entry: NamedDataset, splits: Sequence[str] = ("train", "dev")) -> dict[str, str]:
    """`split/file` and sha256 of the files of a data set."""
    return {f"{split}/{file.path}": file.sha256 for split in splits for file in entry.splits[split].files}


def _named(recipe: Recipe, entry: NamedDataset, kind: type[Record], times: int) -> FurtherData:
    if recipe.task not in entry.tasks:
        raise UnrollError(f"data.also: {entry.name} is for {', '.join(entry.tasks)}; name sets for {recipe.task}")
    records = read_records(recipe.task, locate(entry.name, "train"), entry.options)
    digests = {f"{entry.name}/{file}": digest for file, digest in named_digests(entry, ["train"]).items()}
    repeated = _of_kind(records, kind, entry.name) * times
    return FurtherData(entry.name, repeated, digests, entry.licence, entry.attribution)


def _own(recipe: Recipe, path: Path, kind: type[Record], times: int) -> FurtherData:
    records = _of_kind(read_records(recipe.task, path, recipe.data.read), kind, str(path))
    names_files = issubclass(kind, NAMING_FILES)
    digests = file_digests(f"also/{path.parent.name}", path, names_files)
    return FurtherData(path.name, records * times, digests)


def _of_kind(records: list[Record], kind: type[Record], name: str) -> list[Record]:
    if not all(isinstance(record, kind) for record in records):
        raise UnrollError(f"data.also: {name} holds other records than the recipe's own data")
    return records


def _files(name: str) -> list[Path]:
    """The files that a path or a pattern such as `made/part-*.tsv` names, in order."""
    path = Path(name)
    if path.exists():
        return [path]
    if _WILD.search(path.name):
        found = sorted(path.parent.glob(path.name))
        if found:
            return found
        raise UnrollError(f"data.also: no file is like {name}")
    if len(path.parts) > 1 or path.suffix:
        raise UnrollError(f"data.also: there is no file {name}")
    find_dataset(name)
    return []
