"""The captioning pipeline: from user files to a bundle that captions pictures, and the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.cli.commands import app
from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.tiny_pictures import as_json, shape_picture, shape_pictures, write_pictures
from tests.training.tiny_runs import own_recipe
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.config.recipe import find_recipe, load_recipe
from training.data.records import CaptionedPicture
from training.evaluation.evaluate import evaluate_bundle
from training.fit import run_folder
from training.fit.trainer import DevScore
from training.pipeline.run import Run, fit, open_run, prepare_run, publish_run, start_run, train_run
from training.preprocessing.load_records import load_data
from training.tasks.captioning import CaptioningSet, captioning_vocabulary
from training.tasks.catalogue import training_task

TINY: dict[str, Any] = {
    "tokenizer.vocabulary_size": 64,
    "network.image_rows": 16,
    "network.image_columns": 16,
    "network.channels": [4, 6],
    "network.convolutions": 1,
    "network.embedding_size": 6,
    "network.hidden_size": 8,
    "network.attention_size": 6,
    "training.epochs": 2,
    "training.batch_size": 8,
    "training.threads": 1,
    "training.warmup_steps": 2,
    "limits.max_new_tokens": 8,
}


def started(folder: Path, **changes: Any) -> Run:
    index = write_pictures(folder / "data", shape_pictures(24))
    recipe = own_recipe("captioning", "shapes", str(index), overrides=TINY | changes)
    return start_run(prepare_run(recipe), folder / "run")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, published below `models`, with its messages."""
    folder = tmp_path_factory.mktemp("captions")
    run = started(folder)
    train_run(run, torch.device("cpu"))
    said: list[str] = []
    publish_run(run, folder / "models", said.append)
    (folder / "said.txt").write_text("\n".join(said), encoding="utf-8")
    return folder


def test_own_pictures_become_a_bundle_that_answers(published: Path) -> None:
    """From an index alone, the bundle has scores next to a baseline and a card, and captions a new picture."""
    bundle = load_bundle(published / "models" / "shapes" / "1")
    assert [score.measure for score in bundle.manifest.scores] == ["token_f1", "exact", "bleu1", "bleu4"]
    assert {score.baseline_name for score in bundle.manifest.scores} == {"caption of the nearest picture"}
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "Describes a picture in a few words." in card
    assert "brought to 16 x 16 pixels" in card
    answer = answer_one(open_bundle(bundle.path, device="cpu"), as_json(shape_picture("green", "bar")), {})
    assert answer.model_dump()["score"] <= 0
    assert "most frequent caption" in (published / "said.txt").read_text(encoding="utf-8")


def test_the_analysis_shows_errors_and_where_it_looked(published: Path) -> None:
    """The report has error kinds in words, and attention plots with one panel per token for some pictures."""
    folder = published / "run" / "analysis"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "Errors by kind" in page
    assert "attention-1.png" in page
    assert (folder / "attention-1.png").stat().st_size > 1000


def test_evaluate_reads_pictures_of_another_file(published: Path) -> None:
    """`evaluate` scores a new file of pictures, with exact match at most equal to token F1."""
    index = write_pictures(published / "more", shape_pictures(6, seed=4))
    scores = evaluate_bundle(published / "models" / "shapes" / "1", index, progress=False)
    assert scores["task"] == "captioning"
    assert scores["count"] == 6
    assert 0 <= scores["exact"] <= scores["token_f1"] <= 100


def test_the_command_describes_a_png_file(published: Path) -> None:
    """`unroll predict cat.png` sends the file's content, and a file that is no picture is refused in one sentence."""
    picture, fake = published / "bar.png", published / "fake.png"
    picture.write_bytes(shape_picture("blue", "bar"))
    fake.write_bytes(b"GIF89a")
    models = ["--models", str(published / "models")]
    answered = CliRunner().invoke(app, ["predict", "-m", "shapes", *models, "--", str(picture)])
    assert answered.exit_code == 0, answered.output
    refused = CliRunner().invoke(app, ["predict", "-m", "shapes", *models, "--", str(fake)])
    assert refused.exit_code != 0
    assert "a GIF file" in refused.output


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Training that is interrupted in its second epoch and resumed ends with bit-identical weights.

    A checkpoint holds the normalisation statistics and the random state of the image augmentation.
    """
    changes = {"training.epochs": 3, "picture.shift": 0.2, "picture.mirror": 0.5, "training.patience": 9}
    whole = started(tmp_path / "whole", **changes)
    train_run(whole, torch.device("cpu"))
    stopped = started(tmp_path / "parts", **changes)
    scores = iter([DevScore(1.0)])  # there is none for the second epoch, which therefore never ends
    batches = stopped.task.training_set(stopped.recipe, stopped.vocabulary, stopped.data.train)
    with pytest.raises(StopIteration):
        fit(stopped, batches, lambda _: next(scores), torch.device("cpu"))
    resumed = open_run(tmp_path / "parts" / "run")
    train_run(resumed, torch.device("cpu"), resume=True)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_group_is_held_out_whole(tmp_path: Path) -> None:
    """With `data.hold_out` one artist's pictures are dev, and all others are train."""
    index = write_pictures(tmp_path, shape_pictures(12))
    recipe = own_recipe("captioning", "shapes", str(index), overrides={**TINY, "data.hold_out": "bob"})
    data = load_data(training_task(recipe), recipe)
    assert {record.group for record in data.dev if isinstance(record, CaptionedPicture)} == {"bob"}
    assert {record.group for record in data.train if isinstance(record, CaptionedPicture)} == {"ann"}


def test_captions_with_certain_words_are_never_mirrored() -> None:
    """In any case and next to punctuation, `Flag:` disables mirroring of its picture, while `flagship` does not."""
    pictures = [shape_pictures(1)[0]._replace(caption=text) for text in ("Flag: Chad", "a flagship", "pole")]
    vocabulary = captioning_vocabulary(load_recipe(find_recipe("captions-emoji")).tokenizer, pictures)
    config = CaptionerConfig(image_rows=16, image_columns=16, channels=(4,))
    data = CaptioningSet(pictures, vocabulary, config, PictureConfig(mirror_unless=("flag",)), 20, 3, 1)
    assert data.batch(np.arange(3)).may_mirror.tolist() == [False, True, True]


def test_long_captions_share_their_batches() -> None:
    """Bucketing puts the long captions into one batch: of six batches, only one takes many steps."""
    (picture,) = shape_pictures(1)
    texts = ["a square"] * 40 + ["a square " * 9] * 8
    pictures = [picture._replace(caption=text) for text in texts]
    vocabulary = captioning_vocabulary(load_recipe(find_recipe("captions-emoji")).tokenizer, pictures)
    config = CaptionerConfig(image_rows=16, image_columns=16, channels=(4,))
    data = CaptioningSet(pictures, vocabulary, config, PictureConfig(), 40, 8, 1)
    steps = sorted(data.batch(order).target_inputs.shape[1] for order in data.epoch(0))
    assert steps[-1] > 2 * steps[-2]
    assert len(steps) == 6
