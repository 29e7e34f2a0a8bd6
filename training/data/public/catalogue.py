"""Catalogue of public data sets, read from `datasets.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import TypeAdapter

from training.data.public.named_dataset import NamedDataset

CATALOGUE_FILE = Path(__file__).with_name("datasets.toml")


def read_catalogue(file: Path) -> dict[str, NamedDataset]:
    """Data sets by name.

    Raises:
        pydantic.ValidationError: names the table and the field that is wrong.
    """
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    named = {name: {"name": name, **table} for name, table in tables.items()}
    return TypeAdapter(dict[str, NamedDataset]).validate_python(named)


NAMED_DATASETS = read_catalogue(CATALOGUE_FILE)
