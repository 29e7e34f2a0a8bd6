"""A language model of a run of its own goes into the bundle of a speech recogniser, and is used by its beams."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.bundle.load import load_bundle
from service.bundle.task_options import TranscriptionOptions
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from tests.training.tiny_runs import own_recipe, sentences, tiny_overrides, write_files
from training.config.recipe import ConfigFault
from training.data.formats.options import ReadOptions
from training.data.formats.transcript_form import transcript_of
from training.fit.run_folder import RunFolder
from training.pipeline.pretrained.fused_language_model import adopt_language_model
from training.pipeline.run import Run, open_run, prepare_run, publish_run, start_run, train_run, trained_network
from training.publish.verify import verify_bundle

CPU = torch.device("cpu")


def write_speech(folder: Path) -> Path:
    """Eight sounds of noise with a text each, listed in a table."""
    folder.mkdir()
    chance, rows = np.random.default_rng(0), ["file\ttext"]
    for number, words in enumerate(sentences(8, 3)):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((chance.normal(size=6000 + 500 * number) * 3000).astype("<i2").tobytes())
        rows.append(f"{number}.wav\t{' '.join(words[:3])}")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "train.tsv"


def trained(folder: Path, **changes: Any) -> Run:
    """A recogniser of characters after one epoch."""
    table = str(folder / "speech" / "train.tsv")
    if not (folder / "speech").exists():
        write_speech(folder / "speech")
    sizes = {"network.hidden_size": 6, "network.layers": 1, "signal.mel_bands": 8, "signal.channels": [4]}
    training = {"training.epochs": 1, "training.batch_size": 4, "training.threads": 1, "training.patience": 1}
    recipe = own_recipe("transcription", "tiny-speech", table, table, None, sizes | training | changes)
    run = start_run(prepare_run(recipe), folder / "runs" / "speech", overwrite=True)
    train_run(run, CPU)
    return run


def language_model(folder: Path, train: bool = True, **changes: Any) -> Path:
    """The run of a language model of the same words, in lower-case characters."""
    text, dev = write_files("generation", folder / "text")
    read = ReadOptions(spoken=True)
    overrides = tiny_overrides("generation", epochs=1) | {"tokenizer.unit": "character"} | changes
    recipe = own_recipe("generation", "tiny-lm", str(text), str(dev), read, overrides)
    run = start_run(prepare_run(recipe), folder / "runs" / "lm", overwrite=True)
    if train:
        train_run(run, CPU)
    return run.folder.path


@pytest.mark.slow
def test_a_language_model_goes_into_the_bundle_and_is_verified(tmp_path: Path) -> None:
    """Graph, tokenizer, data source and weight are in the bundle; beams run it; the run verifies it against PyTorch."""
    run = trained(tmp_path, **{"network.language_model_weight": 0.6, "network.token_bonus": 0.5})
    adopt_language_model(run.folder, language_model(tmp_path))
    exported = publish_run(run, tmp_path / "models", lambda line: None)
    bundle = load_bundle(exported.path)
    options = bundle.manifest.options
    assert isinstance(options, TranscriptionOptions)
    assert (options.language_model, options.language_model_weight, options.token_bonus) == (True, 0.6, 0.5)
    assert set(bundle.manifest.graphs) == {"encoder", "language_model"}
    assert bundle.tokenizers["language_model"].token_id("\n") is not None
    assert len(bundle.manifest.training.data) == 2
    assert verify_bundle(exported.path, trained_network(run.folder.path)).passed

    runner, counts = OrtRunner(bundle, device="cpu", threads=1), dict[str, int]()

    class Counting:
        def run(self, graph: str, feeds: Any) -> Any:
            counts[graph] = counts.get(graph, 0) + 1
            return runner.run(graph, feeds)

    sound = bundle.examples[0].inputs
    for given, is_run in (
        ({}, False),
        ({"num_beams": 4}, True),
        ({"num_beams": 4, "language_model_weight": 0.0}, False),
    ):
        counts.clear()
        answer(task_of(bundle), Counting(), sound, given)
        assert ("language_model" in counts) == is_run


@pytest.mark.slow
def test_a_recipe_may_name_the_language_model(tmp_path: Path) -> None:
    """It is copied when the run starts, so that the run can be exported when the other folder is gone."""
    folder = language_model(tmp_path)
    run = trained(tmp_path, **{"network.language_model": str(folder)})
    folder.rename(folder.with_name("moved"))
    exported = publish_run(open_run(run.folder.path), tmp_path / "models", lambda line: None)
    assert "language_model" in load_bundle(exported.path).manifest.graphs


@pytest.mark.slow
def test_what_is_no_fitting_language_model_is_refused(tmp_path: Path) -> None:
    """The error says what is wrong with the folder: other units, read backward, strange tokens, not trained, no run."""
    run = trained(tmp_path)
    faults: dict[str, dict[str, Any]] = {
        "has subwords, the recogniser characters": {"tokenizer.unit": "subword", "tokenizer.vocabulary_size": 64},
        "reads backward": {"data.reverse": True},
        "does not know": {"tokenizer.min_count": 60},
    }
    for message, changes in faults.items():
        folder = language_model(tmp_path, **changes)
        with pytest.raises(ConfigFault, match=message):
            adopt_language_model(run.folder, folder)
    with pytest.raises(ConfigFault, match="train it first"):
        adopt_language_model(run.folder, language_model(tmp_path, train=False))
    with pytest.raises(ConfigFault, match="name the run of a language model"):
        adopt_language_model(run.folder, run.folder.path)
    with pytest.raises(UnrollError, match="is not a run folder"):
        adopt_language_model(run.folder, tmp_path / "none")
    with pytest.raises(ConfigFault, match="only speech recognisers"):
        adopt_language_model(RunFolder(language_model(tmp_path)), language_model(tmp_path))


def test_text_is_written_as_transcripts_are() -> None:
    """Letters and apostrophes only; what is spoken as other words than it is written is left out."""
    forms = {
        "Don't  go, Zoë!": "don't go zoe",
        "“Well-known”…": "well known",
        "I have 5 cats.": None,
        "Mr. Smith": None,
        "...": None,
        "東京": None,
    }
    assert {text: transcript_of(text) for text in forms} == forms
