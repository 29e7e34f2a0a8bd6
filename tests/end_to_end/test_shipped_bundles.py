"""The bundles in models/: each proves itself, is as good as its manifest says, and may be given away."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.bundle.load import Bundle, find_bundles, load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from tests.allowed_skips import NO_DATA
from training.config.recipe import find_recipe, load_recipe
from training.data.public.catalogue import NAMED_DATASETS
from training.data.records import Record
from training.evaluation.evaluate import evaluate_records
from training.evaluation.tasks.catalogue import evaluation_task
from training.preprocessing.load_records import may_ship
from training.publish.variants import dev_records
from training.publish.verify import verify_bundle

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = {path.parent.name: path for path in find_bundles(MODELS)}
MAX_BUNDLE_BYTES, MAX_ALL_BYTES = 20_000_000, 80_000_000

#: Enough dev records to tell a model that works from one that does not, in a few seconds.
NUM_RECORDS = 1000
#: How far the score of so few records may lie from the one of all of dev.
TOLERANCE = {"accuracy": 1.5, "f1": 5.0, "bleu": 5.0, "loss": 0.001, "mse": 0.03, "token_f1": 1.0}

each_bundle = pytest.mark.parametrize("name", sorted(BUNDLES))


def num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_there_is_a_model_for_every_task() -> None:
    tasks = {load_bundle(path).manifest.task for path in BUNDLES.values()}
    assert tasks == {"tagging", "classification", "translation", "generation", "forecasting", "captioning"}


@each_bundle
def test_a_shipped_bundle_proves_itself(name: str) -> None:
    """Shapes, padding, steps against the whole where there is a whole, and torch's recorded answers."""
    report = verify_bundle(BUNDLES[name])
    assert report.passed, report.summary()


@each_bundle
def test_a_shipped_bundle_is_small(name: str) -> None:
    """Every clone downloads them."""
    assert num_bytes(BUNDLES[name]) <= MAX_BUNDLE_BYTES
    assert num_bytes(MODELS) <= MAX_ALL_BYTES


@each_bundle
def test_a_shipped_bundle_says_what_it_was_made_of(name: str) -> None:
    """Its recipe is here, its data may be shipped, and every score has a baseline beside it, which it beats."""
    manifest = load_bundle(BUNDLES[name]).manifest
    recipe = load_recipe(find_recipe(manifest.training.recipe))
    assert may_ship(recipe, manifest.training.data)
    assert recipe.data.dataset == manifest.training.data[0].name
    assert manifest.training.data[0].licence == NAMED_DATASETS[recipe.data.dataset].licence
    for score in manifest.scores:
        assert score.baseline is not None
        lower_is_better = score.measure in (
            "loss",
            "perplexity",
            "perplexity_per_word",
            "mse",
            "mae",
            "mae_in_units",
            "pinball",
        )
        assert (score.value < score.baseline) == lower_is_better


@each_bundle
def test_a_shipped_bundle_scores_on_dev_as_its_manifest_says(name: str) -> None:
    """A part of dev is enough to notice a graph, a tokenizer or a label list that is not the one that was scored."""
    if not os.environ.get("UNROLL_DATA_DIR"):
        pytest.skip(NO_DATA)
    bundle = load_bundle(BUNDLES[name])
    measure, expected = bundle.manifest.scores[0].measure, bundle.manifest.scores[0].value
    runner = OrtRunner(bundle, "cpu", threads=1)
    scores = evaluate_records(evaluation_task(bundle.manifest), bundle, runner, some_of_dev(bundle))
    assert abs(scores[measure] - expected) <= TOLERANCE[measure]


def some_of_dev(bundle: Bundle) -> Sequence[Record]:
    """Records spread over the whole of dev; running text is one record and stays whole."""
    records = dev_records(bundle)
    return records[:: max(1, len(records) // NUM_RECORDS)]
