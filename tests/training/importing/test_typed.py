"""Imported taggers and classifiers answer words and texts with labels, as their original does."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from service.bundle.load import load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from tests.training.cli.test_commands import refused, unroll
from tests.training.importing.foreign_models import (
    FEATURES,
    IDS,
    LABELS,
    WIDTH,
    ForeignModel,
    Packed,
    Recurrent,
    by_row,
    by_step,
    ids,
)
from training.importing.graph.source import ImportRefused
from training.importing.typed import read_labels
from training.importing.vocabulary import read_vocabulary

WORDS = ["", "[UNK]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran", "off"]
TAGS = ["O", "B-PER", "I-PER"]


class Tagger(Recurrent):
    """Words to tags, as NCRF++ and Flair have them behind their word embeddings: a bidirectional LSTM and a layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__("lstm", "steps", embeds=True, both=True, **options)


class Likely(nn.Module):
    """A classifier that gives probabilities."""

    def __init__(self, inner: Recurrent, last: str) -> None:
        super().__init__()
        self.inner, self.last = inner, last

    def forward(self, x: Tensor) -> Tensor:
        scores = self.inner(x)
        if self.last == "softmax":
            return scores.softmax(dim=-1)
        if self.last == "each":
            return torch.sigmoid(scores)
        return torch.sigmoid(scores[:, 0] if self.last == "single" else scores[:, :1])


class Reads32(Recurrent):
    """Takes ids of 32 bits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.long())


TAGGER_FREE = {"x": {0: "batch", 1: "steps"}, "y": {0: "batch", 1: "steps"}}


def tagger() -> ForeignModel:
    return ForeignModel(Tagger(), {"x": ids()}, free=TAGGER_FREE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels, and the same vocabulary in every form."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "tags.txt").write_text("\n".join(TAGS) + "\n", encoding="utf-8")
    (folder / "two.json").write_text(json.dumps({"0": "bad", "1": "good"}), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "index.json").write_text(json.dumps({word: id_ for id_, word in enumerate(WORDS)}), encoding="utf-8")
    inner = json.dumps({word or "<pad>": id_ for id_, word in enumerate(WORDS)})
    keras = {"class_name": "Tokenizer", "config": {"word_index": inner}}
    (folder / "keras.json").write_text(json.dumps(keras), encoding="utf-8")
    made = Tokenizer(models.WordLevel({word or "[PAD]": id_ for id_, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[UNK]"])
    made.save(str(folder / "tokenizer.json"))
    return folder


def imported(home: Path, place: Path, model: ForeignModel, *options: str | Path) -> Path:
    """The folder of the bundle that the command publishes."""
    onnx.save_model(model.file(), place / "model.onnx")
    result = unroll("import", place / "model.onnx", "--models", place / "models", *options)
    assert result.exit_code == 0, result.output
    return place / "models" / "model" / "1"


def answered(bundle: Path, value: Any, **parameters: Any) -> dict[str, Any]:
    opened = load_bundle(bundle)
    found: dict[str, Any] = answer(task_of(opened), OrtRunner(opened, "cpu"), value, parameters).model_dump(mode="json")
    return found


def by_torch(model: ForeignModel, words: list[str]) -> np.ndarray:
    """The model's scores of words, looked up in its own vocabulary."""
    numbers = [[WORDS.index(word) if word in WORDS else 1 for word in words]]
    return model.answers(np.array(numbers))[0][0]


@pytest.mark.parametrize("vocabulary", ["vocab.txt", "index.json", "keras.json", "tokenizer.json"])
def test_a_tagger_reads_words_of_its_own_vocabulary(home: Path, tmp_path: Path, vocabulary: str) -> None:
    """Tags and their probabilities are torch's for known and unknown words, whatever form the vocabulary has."""
    model = tagger()
    files = ["--labels", home / "tags.txt", "--tokenizer", home / vocabulary]
    bundle = imported(home, tmp_path, model, "--task", "tagging", *files)
    words = ["the", "zebra", "sat", "off"]
    scores = torch.as_tensor(by_torch(model, words)).softmax(dim=-1)
    tokens = answered(bundle, words)["tokens"]
    assert [token["tag"] for token in tokens] == [TAGS[int(best)] for best in scores.argmax(dim=-1)]
    np.testing.assert_allclose([token["score"] for token in tokens], scores.max(dim=-1).values, atol=1e-5)
    assert load_bundle(bundle).manifest.options.scheme == "bio"  # type: ignore[union-attr]


def test_texts_are_cut_into_the_words_of_the_vocabulary(home: Path, tmp_path: Path) -> None:
    """A vocabulary in lower case alone is matched in any case; the answer has places in the text."""
    files = ["--labels", home / "tags.txt", "--tokenizer", home / "vocab.txt"]
    bundle = imported(home, tmp_path, tagger(), "--task", "tagging", *files)
    of_text, of_words = answered(bundle, "The CAT sat"), answered(bundle, ["the", "cat", "sat"])
    assert [token["tag"] for token in of_text["tokens"]] == [token["tag"] for token in of_words["tokens"]]
    assert of_text["tokens"][1]["text"] == "CAT"
    assert of_text["tokens"][1]["start"] == 4


@pytest.mark.parametrize("last", ["softmax", "second", "single"])
def test_probabilities_stay_what_they_are(home: Path, tmp_path: Path, last: str) -> None:
    """A softmax over labels, and a sigmoid for the second of two, give the probabilities that torch gives."""
    model = by_row(Likely(Recurrent("gru", "mean", embeds=True), last))
    labels = home / ("tags.txt" if last == "softmax" else "two.json")
    bundle = imported(
        home, tmp_path, model, "--task", "classification", "--labels", labels, "--tokenizer", home / "vocab.txt"
    )
    words = ["a", "dog", "ran"]
    expected = np.atleast_1d(by_torch(model, words))
    expected = expected if last == "softmax" else np.array([1.0 - expected[0], expected[0]])
    names = TAGS if last == "softmax" else ["bad", "good"]
    found = {each["label"]: each["score"] for each in answered(bundle, words, top_k=3)["top_k"]}
    np.testing.assert_allclose([found[name] for name in names], expected, atol=1e-5)


def test_a_forward_classifier_reads_texts_in_chunks(home: Path, tmp_path: Path) -> None:
    model = by_row(Recurrent("lstm", "last", embeds=True))
    files = ["--labels", home / "tags.txt", "--tokenizer", home / "vocab.txt"]
    bundle = imported(home, tmp_path, model, "--task", "classification", *files)
    assert load_bundle(bundle).manifest.reads_chunks
    assert json.loads(unroll("verify", bundle, "--json").stdout)["checks"].keys() >= {"chunks", "examples", "padding"}


def test_frames_are_classified(home: Path, tmp_path: Path) -> None:
    """A classifier of numbers needs no vocabulary, and names the numbers of a frame."""
    model = by_step(Recurrent("gru", "final"))
    names = ",".join(f"sensor{number}" for number in range(FEATURES))
    options = ["--task", "classification", "--labels", home / "tags.txt", "--features", names]
    free = ForeignModel(model.module, model.inputs, free={"x": model.free["x"], "y": {0: "batch"}})
    bundle = imported(home, tmp_path, free, *options)
    frames = np.linspace(-1, 1, 3 * FEATURES, dtype=np.float32).reshape(3, FEATURES)
    (scores,) = free.answers(frames[None])
    expected = torch.as_tensor(scores[0]).softmax(dim=-1)
    from service.tasks.core.task import Frames

    found = answered(bundle, Frames(frames))
    assert found["label"] == TAGS[int(expected.argmax())]
    assert found["score"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_ids_of_32_bits_are_looked_up(home: Path, tmp_path: Path) -> None:
    model = by_row(Reads32("gru", "sum", embeds=True), in_chunks=False)
    model.inputs["x"] = model.inputs["x"].int()
    files = ["--labels", home / "tags.txt", "--tokenizer", home / "vocab.txt"]
    bundle = imported(home, tmp_path, model, "--task", "classification", *files)
    assert answered(bundle, "the cat")["label"] in TAGS


def test_a_packed_tagger_keeps_its_lengths(home: Path, tmp_path: Path) -> None:
    model = Packed("lstm", embeds=True)
    free = {**TAGGER_FREE, "lengths": {0: "batch"}}
    foreign = ForeignModel(model, {"x": ids(), "lengths": torch.tensor([4, 2])}, free=free)
    files = ["--labels", home / "tags.txt", "--tokenizer", home / "vocab.txt"]
    bundle = imported(home, tmp_path, foreign, "--task", "tagging", *files)
    assert len(answered(bundle, "the cat sat on a mat")["tokens"]) == 6


def of_flair(tags: list[str]) -> np.ndarray:
    """Flair's transitions are `[to, from]`, and its tags include the start and the end."""
    theirs = np.random.default_rng(3).normal(size=(len(tags), len(tags))).astype(np.float32)
    theirs[tags.index("<START>"), :] = theirs[:, tags.index("<STOP>")] = -10000.0
    return theirs


def best_tags(emissions: np.ndarray, theirs: np.ndarray, tags: list[str]) -> list[str]:
    """The best sequence of all, by trying each, scored as Flair scores it."""
    start, stop = tags.index("<START>"), tags.index("<STOP>")

    def score(path: tuple[int, ...]) -> float:
        steps = [emissions[step, tag] for step, tag in enumerate(path)]
        moves = [theirs[after, before] for before, after in itertools.pairwise((start, *path, stop))]
        return float(sum(steps) + sum(moves))

    best = max(itertools.product(range(len(tags)), repeat=len(emissions)), key=score)
    return [tags[tag] for tag in best]


def test_a_tagger_of_flair_with_its_transitions(home: Path, tmp_path: Path) -> None:
    """A bidirectional LSTM with a CRF over tags with start and end chooses the sequence that Flair scores highest."""
    tags = ["O", "B-PER", "I-PER", "<START>", "<STOP>"]
    model = ForeignModel(Tagger(labels=len(tags)), {"x": ids()}, free=TAGGER_FREE)
    theirs = of_flair(tags)
    ours = np.full((len(tags) + 1, len(tags) + 1), -10000.0, dtype=np.float32)
    ours[:-1, :-1] = theirs.T
    ours[-1, :-1], ours[:-1, -1] = theirs[:, tags.index("<START>")], theirs[tags.index("<STOP>"), :]
    np.save(tmp_path / "transitions.npy", ours)
    (tmp_path / "tags.txt").write_text("\n".join(tags), encoding="utf-8")
    files = ["--labels", tmp_path / "tags.txt", "--tokenizer", home / "vocab.txt"]
    crf = ["--transitions", tmp_path / "transitions.npy"]
    bundle = imported(home, tmp_path, model, "--task", "tagging", *files, *crf)
    words = ["the", "cat", "sat", "on"]
    found = [token["tag"] for token in answered(bundle, words)["tokens"]]
    assert found == best_tags(by_torch(model, words), theirs, tags)


def test_a_forward_tagger_with_a_crf_has_no_state(home: Path, tmp_path: Path) -> None:
    """As in NCRF++ with a forward LSTM: a CRF chooses all tags together, so that there are no chunks."""
    model = ForeignModel(Recurrent("lstm", embeds=True), {"x": ids()}, free=TAGGER_FREE)
    np.save(tmp_path / "transitions.npy", np.zeros((len(TAGS) + 1, len(TAGS) + 1), dtype=np.float32))
    files = ["--labels", home / "tags.txt", "--tokenizer", home / "vocab.txt"]
    crf = ["--transitions", tmp_path / "transitions.npy"]
    bundle = imported(home, tmp_path, model, "--task", "tagging", *files, *crf)
    assert load_bundle(bundle).manifest.options.decoder == "crf"  # type: ignore[union-attr]
    assert not load_bundle(bundle).manifest.state
    np.save(tmp_path / "other.npy", np.zeros((3, 3), dtype=np.float32))
    bad = ["--transitions", tmp_path / "other.npy"]
    said = refused("import", tmp_path / "model.onnx", "--task", "tagging", *files, *bad, "--models", tmp_path)
    assert "transitions of 3 labels are floats [4, 4]" in said


def test_what_does_not_fit_the_task_is_one_sentence(home: Path, tmp_path: Path) -> None:
    """Each refusal says what the task needs and what the model has, and publishes nothing."""
    onnx.save_model(tagger().file(), tmp_path / "tagger.onnx")
    onnx.save_model(by_row(Likely(Recurrent("gru", "mean", embeds=True), "each")).file(), tmp_path / "each.onnx")
    onnx.save_model(by_row(Recurrent("gru", "turned", embeds=True)).file(), tmp_path / "turned.onnx")
    (tmp_path / "long.txt").write_text("\n".join(["[UNK]", *(f"word{n}" for n in range(IDS))]), encoding="utf-8")
    (tmp_path / "bare.txt").write_text("\n".join(WORDS[2:]), encoding="utf-8")

    def said(file: str, task: str, *options: str | Path) -> str:
        given = ["--task", task, *options]
        return refused("import", tmp_path / file, "--models", tmp_path / "m", *given)

    labels, words = ["--labels", home / "tags.txt"], ["--tokenizer", home / "vocab.txt"]
    assert "needs --labels" in said("tagger.onnx", "tagging", *words)
    assert "needs a vocabulary" in said("tagger.onnx", "tagging", *labels)
    assert f"the model has y ['batch', 'time', {LABELS}]" in said("tagger.onnx", "classification", *labels, *words)
    assert "for the 2 labels" in said("tagger.onnx", "tagging", "--labels", home / "two.json", *words)
    assert "a probability of its own" in said("each.onnx", "classification", *labels, *words)
    assert "reads padding" in said("turned.onnx", "tagging", *labels, *words)
    assert f"the id {IDS}" in said("tagger.onnx", "tagging", *labels, "--tokenizer", tmp_path / "long.txt")
    assert "--unknown TOKEN" in said("tagger.onnx", "tagging", *labels, "--tokenizer", tmp_path / "bare.txt")
    assert "belongs to a typed task" in said("tagger.onnx", "tensors", *labels)
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").glob("*/*/manifest.json"))
    assert WIDTH != LABELS


@pytest.mark.parametrize("content", ["5", '"ABC"', '[["A"], "B"]', "[" * 99_999, '{"A": 0, "B": 5}', '{"0": ["A"]}'])
def test_labels_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    """A number, a text, lists in lists and numbers with gaps are told as one sentence with the file."""
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(ImportRefused, match=r"labels\.json holds no labels"):
        read_labels(tmp_path / "labels.json")


def test_labels_are_read_past_the_mark_of_an_editor_and_out_of_a_configuration(tmp_path: Path) -> None:
    """A byte order mark is no part of the first label; `id2label` may lie in a whole config.json."""
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfA\r\nB\r\n")
    (tmp_path / "config.json").write_text('{"hidden_size": 4, "id2label": {"1": "B", "0": "A"}}', encoding="utf-8")
    (tmp_path / "old.txt").write_bytes("\u00e9".encode("latin-1"))
    assert read_labels(tmp_path / "labels.txt") == read_labels(tmp_path / "config.json") == ["A", "B"]
    with pytest.raises(ImportRefused, match="in UTF-8"):
        read_labels(tmp_path / "old.txt")


@pytest.mark.parametrize(
    "model",
    [
        {"type": "WordLevel", "vocab": [1, 2]},
        {"type": "WordLevel", "vocab": {"<unk>": 0, "a": -1}},
        {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 10**20}},
        {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1.5}},
        {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": ["<unk>"]},
        {"type": "Unigram", "vocab": [1, 2]},
    ],
)
def test_tokenizers_whose_ids_are_none_are_refused(tmp_path: Path, model: dict[str, object]) -> None:
    """An id of -1 would be read as the last row of the embedding."""
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    with pytest.raises(ImportRefused, match="no file of the tokenizers library"):
        read_vocabulary(tmp_path / "tokenizer.json", 9)
