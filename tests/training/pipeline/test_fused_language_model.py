"""A language model of a run of its own goes into the bundle of a speech recogniser, and is used by its beams."""

from __future__ import annotations

import shutil
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
from training.pipeline.pretrained.fused_language_model import adopt_language_model, language_model_of
from training.pipeline.run import Run, open_run, prepare_run, publish_run, start_run, train_run, trained_network
from training.publish.verify import verify_bundle

CPU = torch.device("cpu")


def write_speech(folder: Path) -> Path:
    """Eight sounds of noise with a text each, listed in a table."""
    folder.mkdir(parents=True)
    chance, rows = np.random.default_rng(0), ["file\ttext"]
    for number, words in enumerate(sentences(8, 3)):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((chance.normal(size=6000 + 500 * number) * 3000).astype("<i2").tobytes())
        rows.append(f"{number}.wav\t{' '.join(words[:3])}")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "train.tsv"


def recogniser(folder: Path, **changes: Any) -> Run:
    """The run of a recogniser of characters, not trained."""
    table = str(write_speech(folder / "speech"))
    sizes = {"network.hidden_size": 6, "network.layers": 1, "signal.mel_bands": 8, "signal.channels": [4]}
    training = {"training.epochs": 1, "training.batch_size": 4, "training.threads": 1, "training.patience": 1}
    recipe = own_recipe("transcription", "tiny-speech", table, table, None, sizes | training | changes)
    return start_run(prepare_run(recipe), folder / "runs" / "speech")


def language_model(folder: Path, weights: Path | None = None, **changes: Any) -> Run:
    """The run of a language model of the same words, in lower-case characters, with the weights of another one."""
    text, dev = write_files("generation", folder / "text")
    read = ReadOptions(spoken=True)
    overrides = tiny_overrides("generation", epochs=1) | {"tokenizer.unit": "character"} | changes
    recipe = own_recipe("generation", "tiny-lm", str(text), str(dev), read, overrides)
    run = start_run(prepare_run(recipe), folder / "runs" / "lm", overwrite=True)
    if weights is not None:
        shutil.copyfile(weights, run.folder.best_weights)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fused")


@pytest.fixture(scope="module")
def spoken_text(folder: Path) -> Path:
    """The run folder of a trained language model."""
    run = language_model(folder)
    train_run(run, CPU)
    return run.folder.path


@pytest.fixture(scope="module")
def fused_run(folder: Path, spoken_text: Path) -> Run:
    """A trained recogniser whose recipe names a language model, of which the folder is gone after the start."""
    named = folder / "named"
    shutil.copytree(spoken_text, named)
    settings = {"network.language_model_weight": 0.6, "network.token_bonus": 0.5}
    run = recogniser(folder, **settings, **{"network.language_model": str(named)})
    shutil.rmtree(named)
    train_run(run, CPU)
    return open_run(run.folder.path)


@pytest.mark.slow
def test_a_language_model_goes_into_the_bundle_and_is_verified(fused_run: Run, folder: Path) -> None:
    """Graph, tokenizer, data source and weight are in the bundle; beams run it; the run verifies it against PyTorch."""
    exported = publish_run(fused_run, folder / "models", lambda line: None)
    bundle = load_bundle(exported.path)
    options = bundle.manifest.options
    assert isinstance(options, TranscriptionOptions)
    assert (options.language_model, options.language_model_weight, options.token_bonus) == (True, 0.6, 0.5)
    assert set(bundle.manifest.graphs) == {"encoder", "language_model"}
    assert bundle.tokenizers["language_model"].token_id("\n") is not None
    assert len(bundle.manifest.training.data) == 2
    assert verify_bundle(exported.path, trained_network(fused_run.folder.path)).passed

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


def test_a_language_model_takes_the_place_of_another(tmp_path: Path, spoken_text: Path) -> None:
    """All that the export reads of it is copied, and nothing is left of the one before."""
    run = recogniser(tmp_path)
    assert language_model_of(run.folder) is None
    for source in (spoken_text, language_model(tmp_path, spoken_text / "best.safetensors", seed=7).folder.path):
        adopt_language_model(run.folder, source)
        copied = language_model_of(run.folder)
        assert copied is not None
        assert copied.recipe() == RunFolder(source).recipe()
        assert copied.best_weights.read_bytes() == (source / "best.safetensors").read_bytes()


def test_what_is_no_fitting_language_model_is_refused(tmp_path: Path, spoken_text: Path) -> None:
    """The error says what is wrong with the folder: other units, read backward, strange tokens, not trained, no run."""
    run, weights = recogniser(tmp_path), spoken_text / "best.safetensors"
    faults: dict[str, dict[str, Any]] = {
        "has subwords, the recogniser characters": {"tokenizer.unit": "subword", "tokenizer.vocabulary_size": 64},
        "reads backward": {"data.reverse": True},
        "does not know": {"tokenizer.min_count": 60},
    }
    for message, changes in faults.items():
        with pytest.raises(ConfigFault, match=message):
            adopt_language_model(run.folder, language_model(tmp_path, weights, **changes).folder.path)
    with pytest.raises(ConfigFault, match="train it first"):
        adopt_language_model(run.folder, language_model(tmp_path).folder.path)
    with pytest.raises(ConfigFault, match="name the run of a language model"):
        adopt_language_model(run.folder, run.folder.path)
    with pytest.raises(UnrollError, match="is not a run folder"):
        adopt_language_model(run.folder, tmp_path / "none")
    with pytest.raises(ConfigFault, match="only speech recognisers"):
        adopt_language_model(RunFolder(spoken_text), spoken_text)


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
