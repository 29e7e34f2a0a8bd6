"""The bundles in models/: each passes its self-check, reaches its manifest's scores, and may be redistributed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.bundle.load import Bundle, load_bundle
from service.bundle.models_folder import find_bundles, list_models_folder
from service.inference.runtime.ort_runner import OrtRunner
from tests.allowed_skips import NO_DATA
from training.config.recipe import find_recipe, load_recipe
from training.data.public.catalogue import NAMED_DATASETS
from training.data.records import Record
from training.evaluation.evaluate import evaluate_records
from training.evaluation.scoring import LOWER_IS_BETTER
from training.evaluation.tasks.catalogue import evaluation_task
from training.preprocessing.load_records import may_ship
from training.publish.variants import dev_records
from training.publish.verify import verify_bundle

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = {path.parent.name: path for path in find_bundles(MODELS)}
MAX_BUNDLE_BYTES, MAX_ALL_BYTES = 20_000_000, 120_000_000

#: Enough dev records to detect a broken model in a few seconds.
NUM_RECORDS = 1000
#: Scores of inputs without what they are told from, beside those that they must fall short of by far.
CONTROLS = {"action_one_frame": "action", "action_shuffled": "action"}
#: Maximum deviation of the score on the sample from the score on all of dev.
TOLERANCE = {
    "accuracy": 1.5,
    "f1": 5.0,
    "bleu": 5.0,
    "loss": 0.001,
    "mse": 0.03,
    "token_f1": 1.0,
    "wer": 0.3,
    "las": 1.5,
}

each_bundle = pytest.mark.parametrize("name", sorted(BUNDLES))


def num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_there_is_a_model_for_every_task() -> None:
    tasks = {load_bundle(path).manifest.task for path in BUNDLES.values()}
    assert tasks == {
        "tagging",
        "classification",
        "translation",
        "generation",
        "forecasting",
        "captioning",
        "video",
        "transcription",
        "parsing",
    }


@each_bundle
def test_a_shipped_bundle_proves_itself(name: str) -> None:
    """The self-check passes: shapes, padding, steps against the full sequence, and torch's recorded answers."""
    report = verify_bundle(BUNDLES[name])
    assert report.passed, report.summary()


@each_bundle
def test_a_shipped_bundle_is_small(name: str) -> None:
    """Every bundle stays below the size limit."""
    assert num_bytes(BUNDLES[name]) <= MAX_BUNDLE_BYTES
    assert num_bytes(MODELS) <= MAX_ALL_BYTES


def test_the_repository_keeps_one_version_of_each_model() -> None:
    """Git keeps the others; each that is here carries a digest of its manifest, and nothing stray lies beside them."""
    listed = list_models_folder(MODELS)
    assert len(listed.bundles) == len(BUNDLES)
    assert not [path for path in listed.bundles if not load_bundle(path, [MODELS]).manifest.digest]
    assert listed.strays == ()


@each_bundle
def test_a_shipped_bundle_says_what_it_was_made_of(name: str) -> None:
    """Its recipe exists, its data may be redistributed, and every score is better than its baseline."""
    manifest = load_bundle(BUNDLES[name]).manifest
    recipe = load_recipe(find_recipe(manifest.training.recipe))
    assert may_ship(recipe, manifest.training.data)
    # What was made from other sets, or read besides, is named after the set of dev.
    assert manifest.training.data[0].name.split(" + ")[0] == recipe.data.dataset
    assert manifest.training.data[0].licence.split(" + ")[0] == NAMED_DATASETS[recipe.data.dataset].licence
    values = {score.measure: score.value for score in manifest.scores}
    for score in manifest.scores:
        if score.measure in CONTROLS:
            assert score.value < values[CONTROLS[score.measure]] / 2
            continue
        assert score.baseline is not None
        assert (score.value < score.baseline) == (score.measure in LOWER_IS_BETTER)


@each_bundle
def test_a_shipped_bundle_scores_on_dev_as_its_manifest_says(name: str) -> None:
    """The score on a sample of dev is within the tolerance of the score in the manifest."""
    if not os.environ.get("UNROLL_DATA_DIR"):
        pytest.skip(NO_DATA)
    bundle = load_bundle(BUNDLES[name])
    measure, expected = bundle.manifest.scores[0].measure, bundle.manifest.scores[0].value
    runner = OrtRunner(bundle, "cpu", threads=1)
    scores = evaluate_records(evaluation_task(bundle.manifest), bundle, runner, some_of_dev(bundle))
    assert abs(scores[measure] - expected) <= TOLERANCE[measure]


def some_of_dev(bundle: Bundle) -> Sequence[Record]:
    """Return records evenly spaced over dev; running text is one record and is not split."""
    records = dev_records(bundle)
    return records[:: max(1, len(records) // NUM_RECORDS)]
