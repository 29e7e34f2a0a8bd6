"""Contextual features equal the states of the character language models, in torch, in graphs and in resumed runs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch

from service.bundle.load import load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from tests.training.exportable import CELLS, LABELS, characters_tokenizer, draft_of, questions_of
from tests.training.interrupting import interrupt
from tests.training.tiny_character_models import (
    BLANK,
    CPU,
    LINE_END,
    character_models,
    contextual_recipe,
    contextual_tagger,
    language_models,
    train_character_models,
)
from training.config.networks import Cell
from training.evaluation.dev_scorer import DevScorer
from training.fit.trainer import DevScore, Interrupted
from training.networks.inputs.contextual import ContextualFeatures, character_stream
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.pipeline.pretrained.character_models import read_character_models
from training.pipeline.retrain import begin_again, compare_runs
from training.pipeline.run import Run, fit, open_run, prepare_run, start_run, train_run, trained_network
from training.preprocessing.character_models import CharacterModels
from training.preprocessing.tensor_file import read_tensors
from training.publish.export import export_bundle

#: Ids of two sentences, of three words and of one; the third word of the second and its characters are padding.
SENTENCES = [[[7, 8], [9], [10, 11, 12]], [[13, 14, 15]]]


def padded(sentences: list[list[list[int]]]) -> torch.Tensor:
    """A padded batch `[batch, time, characters]`."""
    words = torch.zeros(len(sentences), max(map(len, sentences)), 4, dtype=torch.long)
    for row, sentence in enumerate(sentences):
        for place, word in enumerate(sentence):
            words[row, place, : len(word)] = torch.tensor(word)
    return words


def test_a_sentence_is_spelt_in_one_piece() -> None:
    """A sentence is spelt as line end, words with blanks between them, line end, padding; word ends are indexed."""
    spelt = character_stream(padded(SENTENCES), blank_id=5, line_end_id=6)
    assert spelt.characters.tolist() == [[6, 7, 8, 5, 9, 5, 10, 11, 12, 6], [6, 13, 14, 15, 6, 0, 0, 0, 0, 0]]
    assert spelt.lengths.tolist() == [10, 5]
    assert (spelt.first[0].tolist(), spelt.last[0].tolist()) == ([1, 4, 6], [2, 4, 8])
    assert (int(spelt.first[1, 0]), int(spelt.last[1, 0])) == (1, 3)


@torch.no_grad()
def states_of(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """The states of a language model after each of `ids`."""
    return model.eval().read(torch.tensor([ids]), None, model.zero_state(1, CPU)).outputs[0]


@pytest.mark.parametrize("cell", CELLS)
def test_the_states_are_those_of_the_language_models(cell: Cell) -> None:
    """In a padded batch, features are the states at each word's last character forward and first character backward."""
    features = ContextualFeatures(character_models(cell), characters_tokenizer().vocabulary_size, 3)
    found = features.states(padded(SENTENCES))
    models = language_models(cell)
    for row, sentence in enumerate(SENTENCES):
        text = [LINE_END, *sentence[0]]
        ends = [len(text) - 1]
        for word in sentence[1:]:
            text += [BLANK, *word]
            ends.append(len(text) - 1)
        text.append(LINE_END)
        starts = [end - len(word) + 1 for end, word in zip(ends, sentence, strict=True)]
        forward = states_of(models["forward"], text)[ends]
        backward = states_of(models["backward"], text[::-1]).flip(0)[starts]
        expected = torch.cat([forward, backward], dim=1)
        torch.testing.assert_close(found[row, : len(sentence)], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("characters", ["cnn", "none"])
def test_the_graph_is_the_network(cell: Cell, characters: str, tmp_path: Path) -> None:
    """Export verification passes for values, padding and answers, and the graph has no additional inputs."""
    network = contextual_tagger(cell, characters=characters)
    exported = export_bundle(network, draft_of(network), questions_of(network), tmp_path)
    assert exported.report.max_difference < 1e-4
    inputs = [tensor.name for tensor in load_bundle(exported.path).manifest.graphs["tagger"].inputs]
    assert inputs == ["words", "characters", "lengths"]


def test_unknown_and_long_words_are_answered(tmp_path: Path) -> None:
    """A character unknown to both models and a truncated word are tagged."""
    network = contextual_tagger()
    exported = export_bundle(network, draft_of(network), questions_of(network), tmp_path)
    bundle = load_bundle(exported.path)
    found = answer(task_of(bundle), OrtRunner(bundle, "cpu"), ["日本", "cat" * 50, "é"], {}).model_dump()
    assert all(token["tag"] in LABELS for token in found["tokens"])


def test_a_tagger_with_contextual_features_reads_no_chunks() -> None:
    """The backward model needs the whole text, so the tagger has no chunked reading."""
    assert not contextual_tagger(bidirectional=False).reads_chunks


def test_models_survive_their_file(tmp_path: Path) -> None:
    """Saved and loaded models are equal."""
    models = character_models("gru")
    models.save(tmp_path / "models.safetensors")
    loaded = CharacterModels.load(tmp_path / "models.safetensors")
    assert loaded.weights.keys() == models.weights.keys()
    assert all(torch.equal(loaded.weights[name], models.weights[name]) for name in models.weights)
    assert (loaded.shapes, loaded.blank_id, loaded.line_end_id) == (models.shapes, BLANK, LINE_END)


def test_a_run_needs_its_folder_alone(tmp_path: Path) -> None:
    """Resuming, retraining and loading a run need none of the models' folders once it has begun.

    The language models' weights are unchanged at the end, with or without weight averaging.
    """
    folders = train_character_models(tmp_path / "models")
    models, _ = read_character_models(folders)
    recipe = contextual_recipe(tmp_path, folders, epochs=2, ema_decay=0.9)
    whole = start_run(prepare_run(recipe), tmp_path / "whole")
    for folder in folders:
        shutil.rmtree(folder)
    train_run(whole, CPU)
    train_one_epoch(begin_again(tmp_path / "whole", tmp_path / "half"))
    train_run(open_run(tmp_path / "half"), CPU, resume=True)
    assert compare_runs(tmp_path / "whole", tmp_path / "half").is_equal
    weights = dict(trained_network(tmp_path / "half").named_parameters())
    for name, value in models.weights.items():
        assert torch.equal(weights[f"contextual.{name}"], value)


def train_one_epoch(run: Run) -> None:
    """A run that is interrupted while its first epoch is scored."""
    scorer = DevScorer(run.task, run.recipe, run.vocabulary, run.data.dev)

    def score_and_stop(network: Network) -> DevScore:
        interrupt(signal.SIGTERM)
        return scorer(network)

    with pytest.raises(Interrupted):
        fit(run, run.task.training_set(run.recipe, run.vocabulary, run.data.train), score_and_stop, CPU)


def test_the_tagger_knows_the_characters_of_its_models(tmp_path: Path) -> None:
    """Words are spelt with the models' character ids, and the models' data sources are recorded."""
    folders = train_character_models(tmp_path / "models")
    models, alphabet = read_character_models(folders)
    vocabulary = prepare_run(contextual_recipe(tmp_path, folders)).vocabulary
    assert vocabulary.tokenizers["characters"].vocabulary_size == alphabet.vocabulary_size
    tensors, _ = read_tensors(Path(folders[0]) / "best.safetensors")
    assert torch.equal(models.weights["forward_reader.embedding.weight"], tensors["embedding.weight"])
    assert [source.name for source in models.sources] == ["train.txt"]
