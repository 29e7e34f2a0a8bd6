"""Evaluation of a bundle: scores computed by hand, no record dropped, and no torch import."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from service.bundle.load import Bundle, Example, load_bundle
from service.bundle.manifest import GraphSpec, Limits, Manifest, StateSpec, TensorSpec
from service.bundle.task_options import ClassificationOptions, GenerationOptions, TaggingOptions
from service.bundle.tokenizer import SPECIAL_TOKENS, UNK, TextTokenizer
from service.bundle.write import write_examples, write_manifest
from service.errors import BundleError, InvalidInput, UnrollError
from service.tasks.core.task import Array
from training.data.formats.faults import DataFault
from training.data.records import LabelledText, Passage, TaggedSentence
from training.evaluation.evaluate import evaluate_bundle, evaluate_records
from training.evaluation.tasks.catalogue import EVALUATION_TASKS

TAGGING, CLASSIFICATION, GENERATION = (EVALUATION_TASKS[name] for name in ("tagging", "classification", "generation"))

WORDS = ("good", "bad", "film", "a", "b")
TAGS = ("O", "B-X", "I-X")


def tokenizer(tokens: tuple[str, ...] = WORDS) -> TextTokenizer:
    vocabulary = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *tokens))}
    cut = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNK]))
    cut.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return TextTokenizer(cut)


def spec(name: str, dtype: Any, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


TOKENS, LENGTHS = spec("tokens", "int64", "batch", "time"), spec("lengths", "int64", "batch")
COUNT, NEXT_COUNT = spec("count", "float32", 1, "batch", 1), spec("next_count", "float32", 1, "batch", 1)
LOGITS = spec("logits", "float32", "batch", "time", "vocab")


def bundle_of(path: Path, options: Any, max_input_tokens: int, **fields: Any) -> Bundle:
    """An in-memory bundle; the test supplies the runner of its graphs."""
    graphs = {
        "tagging": {"tagger": ((spec("words", "int64", "batch", "time"), LENGTHS), ())},
        "classification": {"classifier": ((TOKENS, LENGTHS), ())},
        "generation": {"prompt": ((TOKENS, LENGTHS, COUNT), (LOGITS, NEXT_COUNT)), "step": ((), ())},
    }[options.task]
    role = "words" if options.task == "tagging" else "text"
    manifest = Manifest(
        name="tiny",
        task=options.task,
        options=options,
        graphs={name: GraphSpec(file=f"{name}.onnx", inputs=i, outputs=o) for name, (i, o) in graphs.items()},
        limits=Limits(max_input_tokens=max_input_tokens),
        tokenizers={role: "tokenizer.json"},
        **fields,
    )
    return Bundle(path, manifest, {role: tokenizer()})


class TableTagger:
    """Tags each word independently: `good` starts a span, `bad` continues one; records the input shapes."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert graph == "tagger"
        self.shapes.append(feeds["words"].shape)
        table = np.zeros((4 + len(WORDS), len(TAGS)), dtype=np.float32)
        table[:, 0] = 1
        table[4], table[5] = (0, 1, 0), (0, 0, 1)
        return {"emissions": table[feeds["words"]]}


def tagger(path: Path, max_input_tokens: int = 8) -> Bundle:
    return bundle_of(path, TaggingOptions(scheme="bio"), max_input_tokens, labels=TAGS)


def test_tagging_scores_every_word(tmp_path: Path) -> None:
    """Two of three spans are found and one of two predicted spans is correct; unknown gold labels count as errors."""
    records = [
        TaggedSentence(("good", "bad", "film"), ("B-X", "I-X", "O")),
        TaggedSentence(("good", "film"), ("B-X", "I-X")),
        TaggedSentence(("film",), ("B-NEW",)),
    ]
    scores = evaluate_records(TAGGING, tagger(tmp_path), TableTagger(), records)
    assert scores["accuracy"] == pytest.approx(100 * 4 / 6)
    assert (scores["precision"], scores["recall"]) == (50, pytest.approx(100 / 3))
    assert scores["f1"] == pytest.approx(40)
    assert (scores["count"], scores["tokens"], scores["unknown_labels"]) == (3, 6, ["B-NEW"])


def test_long_sentences_are_tagged_in_windows(tmp_path: Path) -> None:
    """A sentence beyond the limit is tagged in windows, scored whole and counted."""
    words, tags = ("good", "bad", "film") * 5, ("B-X", "I-X", "O") * 5
    runner = TableTagger()
    scores = evaluate_records(TAGGING, tagger(tmp_path, max_input_tokens=6), runner, [TaggedSentence(words, tags)])
    assert (scores["accuracy"], scores["f1"], scores["windowed"], scores["tokens"]) == (100, 100, 1, 15)
    assert max(shape[1] for shape in runner.shapes) == 6


def test_batches_hold_near_lengths(tmp_path: Path) -> None:
    """Batches are sorted by length, which limits padding."""
    lengths = [1, 7, 2, 8, 1, 7]
    records = [TaggedSentence(("film",) * length, ("O",) * length) for length in lengths]
    runner = TableTagger()
    assert evaluate_records(TAGGING, tagger(tmp_path), runner, records, batch_size=3)["accuracy"] == 100
    assert runner.shapes == [(3, 8), (3, 2)]


class WordCountClassifier:
    """Classifies a text of more than two tokens as long."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert graph == "classifier"
        long = feeds["lengths"] > 2
        return {"logits": np.stack([~long, long, np.zeros_like(long)], axis=1).astype(np.float32)}


def test_classification_truncates_and_counts(tmp_path: Path) -> None:
    """Texts beyond the limit are truncated and counted; unreadable ones count as errors, and no record is dropped."""
    bundle = bundle_of(tmp_path, ClassificationOptions(), 4, labels=("short", "long", "oos"))
    records = [
        LabelledText("a", "short"),
        LabelledText("a b a b a b a b a", "long"),
        LabelledText("a b", "oos"),
        LabelledText("\u200b", "strange"),
        LabelledText("  ", "short"),
    ]
    scores = evaluate_records(CLASSIFICATION, bundle, WordCountClassifier(), records, batch_size=2)
    assert (scores["count"], scores["truncated"], scores["refused"]) == (5, 1, 1)
    assert (scores["accuracy"], scores["accuracy_in_scope"], scores["recall_oos"]) == (40, 50, 0)
    assert scores["unknown_labels"] == ["strange"]
    # One of the four in-scope texts is refused, and so rejected: more than 95 % allow.
    assert (scores["taken_in_scope_at_95"], scores["recall_oos_at_95"]) == (75, 0)
    assert "its label is not oos and its score is at least 0;" in scores["recall_oos_at_95_signature"]


def test_wrong_parameters_are_the_callers_fault(tmp_path: Path) -> None:
    """Invalid parameters raise an error with the field, and are not counted as refused texts."""
    bundle = bundle_of(tmp_path, ClassificationOptions(), 4, labels=("short", "long", "oos"))
    records = [LabelledText("a", "x")]
    with pytest.raises(InvalidInput) as caught:
        evaluate_records(CLASSIFICATION, bundle, WordCountClassifier(), records, parameters={"top_k": 0})
    assert caught.value.field == ("parameters", "top_k")


class CountingModel:
    """The state counts the tokens read so far; the count determines the probability of token 7."""

    def __init__(self) -> None:
        self.targets = 0

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert graph == "prompt"
        tokens, count = feeds["tokens"], feeds["count"]
        seen = count[0] + np.arange(1, tokens.shape[1] + 1)
        logits = np.zeros((*tokens.shape, 9), dtype=np.float32)
        logits[..., 7] = np.log(seen)
        self.targets += tokens.size
        return {"logits": logits, "next_count": count + tokens.shape[1]}


@pytest.mark.parametrize("max_input_tokens", [1, 7, 500])
def test_language_model_keeps_its_state_between_windows(tmp_path: Path, max_input_tokens: int) -> None:
    """For any window size, each token but the first is predicted from all preceding tokens."""
    state = (StateSpec(name="count", next_name="next_count", layers=1, width=1),)
    bundle = bundle_of(tmp_path, GenerationOptions(), max_input_tokens, state=state)
    runner = CountingModel()
    scores = evaluate_records(GENERATION, bundle, runner, [Passage("a " * 20)])
    seen = np.arange(1, 20)
    loss = float(-np.log(seen / (seen + 8)).mean())
    assert scores["loss"] == pytest.approx(loss)
    assert scores["perplexity"] == pytest.approx(math.exp(loss))
    assert (scores["tokens"], runner.targets) == (19, 19)


def test_one_token_has_no_loss(tmp_path: Path) -> None:
    """A one-token text is refused with a clear error, not a division by zero."""
    state = (StateSpec(name="count", next_name="next_count", layers=1, width=1),)
    bundle = bundle_of(tmp_path, GenerationOptions(), 4, state=state)
    with pytest.raises(UnrollError, match="at least two tokens"):
        evaluate_records(GENERATION, bundle, CountingModel(), [Passage("a")])


@pytest.fixture
def tagger_on_disk(tmp_path: Path) -> Path:
    """A bundle with a real graph: the emissions of a word are its row of a table."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    words = spec("words", "int64", "batch", "time")
    emissions = spec("emissions", "float32", "batch", "time", len(TAGS))
    table = TableTagger().run("tagger", {"words": np.arange(4 + len(WORDS))})["emissions"]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "words"], ["emissions"])],
        "tagger",
        [helper.make_tensor_value_info(t.name, TensorProto.INT64, list(t.shape)) for t in (words, LENGTHS)],
        [helper.make_tensor_value_info("emissions", TensorProto.FLOAT, list(emissions.shape))],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "tagger.onnx"))
    tokenizer().save(folder / "words.json")
    write_examples(folder, [Example(["a"], {}, {})])
    manifest = Manifest(
        name="tiny",
        task="tagging",
        options=TaggingOptions(scheme="bio"),
        graphs={"tagger": GraphSpec(file="tagger.onnx", inputs=(words, LENGTHS), outputs=(emissions,))},
        labels=TAGS,
        tokenizers={"words": "words.json"},
    )
    write_manifest(folder, manifest)
    assert load_bundle(folder).manifest.name == "tiny"
    return folder


def test_bundle_from_disk_through_onnxruntime(tagger_on_disk: Path, tmp_path: Path) -> None:
    """A file and a folder of `seq.in`, `seq.out` and `label` give the same scores."""
    folder = tmp_path / "dev"
    folder.mkdir()
    (folder / "seq.in").write_text("good bad film\ngood\n", encoding="utf-8")
    (folder / "seq.out").write_text("B-X I-X O\nO\n", encoding="utf-8")
    columns = tmp_path / "dev.conll"
    columns.write_text("good B-X\nbad I-X\nfilm O\n\ngood O\n", encoding="utf-8")
    scores = evaluate_bundle(tagger_on_disk, folder, progress=False)
    assert scores == evaluate_bundle(tagger_on_disk, columns, progress=False)
    assert (scores["accuracy"], scores["f1"]) == (75, pytest.approx(200 / 3))


def test_evaluation_needs_no_torch(tagger_on_disk: Path, tmp_path: Path) -> None:
    """A complete evaluation in a fresh process does not import torch."""
    (tmp_path / "dev.conll").write_text("good B-X\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from training.evaluation.evaluate import evaluate_bundle; "
        "print(evaluate_bundle(Path(sys.argv[1]), sys.argv[2])['accuracy'], 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tagger_on_disk), str(tmp_path / "dev.conll")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout.split() == ["100.0", "False"]


def test_unusable_bundle_and_file_are_told_apart(tagger_on_disk: Path, tmp_path: Path) -> None:
    """A missing bundle raises BundleError, a missing file DataFault."""
    with pytest.raises(BundleError):
        evaluate_bundle(tmp_path / "none", tmp_path / "dev.conll")
    with pytest.raises(DataFault, match="no such file"):
        evaluate_bundle(tagger_on_disk, tmp_path / "none.conll")
