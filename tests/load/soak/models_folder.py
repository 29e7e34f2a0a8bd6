"""The models folder of a soak: copies of the bundles under test, and one model whose second version comes and goes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from service.bundle.load import read_manifest
from service.bundle.models_folder import find_bundles
from tests.tasks.tensors.tiny_tensors import write_tensors_bundle
from tests.tiny_bundles import write_all_tiny_bundles, write_tiny_bundle

RELOADED = "soak-reloaded"


class Folders(NamedTuple):
    """What the server reads, and what is put into it for a while."""

    models: Path
    second_versions: Path


def write_folders(under: Path, own_models: Path | None = None) -> Folders:
    """Copy `own_models`, or write a tiny bundle of each task. Raises BundleError for a folder without a manifest."""
    folders = Folders(under / "models", under / "second-versions")
    if own_models is None:
        write_all_tiny_bundles(folders.models)
        write_tiny_bundle(folders.models, "tagging", reads_chunks=True)
        write_tensors_bundle(folders.models, "lstm")
        write_tensors_bundle(folders.models, "equal")
    else:
        for bundle in find_bundles(own_models):
            read_manifest(bundle)
            shutil.copytree(bundle, folders.models / bundle.parent.name / bundle.name)
    write_tiny_bundle(folders.models, "classification", RELOADED)
    # Other weights, so that an answer of the wrong version is noticed.
    write_tiny_bundle(folders.second_versions, "classification", RELOADED, version="2", seed=1)
    return folders
