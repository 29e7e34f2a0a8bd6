"""Joint tagging and text classification: from files with both labels to a bundle that predicts both."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.inference.runtime.ort_runner import OrtRunner
from tests.tiny_bundles import copy_bundle
from tests.training.tiny_runs import own_recipe, tiny_overrides
from training.config.networks import TaggerConfig
from training.config.recipe import ConfigFault, Recipe
from training.data import check as check_data
from training.data.formats.faults import DataFault
from training.data.read import read_records
from training.data.records import TaggedSentence
from training.evaluation.evaluate import evaluate_records
from training.evaluation.predictions import Prediction
from training.evaluation.scoring import joint_scores
from training.evaluation.tasks.catalogue import EVALUATION_TASKS, evaluation_task
from training.fit.run_folder import RunFolder
from training.networks.tagger import text_loss
from training.pipeline.run import choose_device, prepare_run, publish_run, start_run, train_run
from training.preprocessing.batches import NO_LABEL
from training.preprocessing.load_records import load_data
from training.publish.export import Exported
from training.publish.variants import add_variant
from training.publish.verify import verify_bundle
from training.tasks.catalogue import training_task

_SLOTS = {"jazz": "B-genre", "rock": "B-genre", "paris": "B-city", "rome": "B-city"}
_VERBS = {"play": "PlayMusic", "hear": "PlayMusic", "weather": "GetWeather", "rain": "GetWeather"}


def sentences(number: int, seed: int) -> list[TaggedSentence]:
    """Sentences with a verb that determines the label, followed by a slot word."""
    chance, made = random.Random(seed), []
    for _ in range(number):
        verb = chance.choice(list(_VERBS))
        rest = [chance.choice(["some", "in", "the"]) for _ in range(chance.randrange(4))] + [chance.choice([*_SLOTS])]
        made.append(TaggedSentence((verb, *rest), tuple(_SLOTS.get(w, "O") for w in (verb, *rest)), _VERBS[verb]))
    return made


def write_folder(folder: Path, records: list[TaggedSentence]) -> Path:
    """Write `seq.in`, `seq.out` and `label`, the common form of slot-filling sets."""
    folder.mkdir(parents=True)
    lines = {
        "seq.in": [" ".join(record.words) for record in records],
        "seq.out": [" ".join(record.tags) for record in records],
        "label": [record.label for record in records],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def recipe_of(folder: Path, **changes: object) -> Recipe:
    overrides = {**tiny_overrides("tagging", epochs=6), "network.hidden_size": 12, **changes}
    return own_recipe("tagging", "voice", str(folder / "train"), str(folder / "dev"), None, overrides)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice")
    write_folder(folder / "train", sentences(80, 1))
    write_folder(folder / "dev", sentences(20, 2))
    return folder


@pytest.fixture(scope="module")
def published(files: Path) -> Exported:
    """A bundle of a run on the folders, with joint labelling by default."""
    run = start_run(prepare_run(recipe_of(files)), files / "run")
    train_run(run, choose_device("cpu"))
    return publish_run(run, files / "models", say=lambda _: None)


def test_a_folder_with_labels_trains_a_joint_model(published: Exported) -> None:
    """The manifest has both kinds of score with baselines, and the answer has tags, spans and the label."""
    bundle = load_bundle(published.path)
    assert bundle.manifest.text_labels == ("GetWeather", "PlayMusic")
    scores = {score.measure: score for score in bundle.manifest.scores}
    assert scores["label_accuracy"].value > 90
    assert scores["sentence_accuracy"].value <= scores["label_accuracy"].value
    assert scores["label_accuracy"].baseline == 100
    assert "linear SVM" in scores["label_accuracy"].baseline_name
    answer = answer_one(open_bundle(published.path, device="cpu", threads=1), "play some jazz", {}).model_dump()
    assert answer["label"] == "PlayMusic"
    assert 0.5 < answer["label_score"] <= 1
    assert [token["text"] for token in answer["tokens"]] == ["play", "some", "jazz"]


def test_the_card_says_what_it_labels(published: Exported) -> None:
    """The card's purpose and limits name the labels of whole texts."""
    card = (published.path / "README.md").read_text(encoding="utf-8")
    assert "Also gives the whole text one of 2 labels." in card
    assert "Of whole texts it knows these labels and no others: `GetWeather`, `PlayMusic`." in card


def test_a_run_folder_knows_the_labels_again(published: Exported) -> None:
    """A run folder restores the labels of texts that were fitted when the run began."""
    assert RunFolder(published.path.parents[2] / "run").vocabulary().text_labels == ("GetWeather", "PlayMusic")


def test_a_tagger_of_words_alone_sees_no_labels(files: Path) -> None:
    """With `joint` off the texts' labels are ignored: no head, no labels, one baseline."""
    recipe = recipe_of(files, **{"network.joint": False})
    data = load_data(training_task(recipe), recipe)
    assert {record.label for record in (*data.train, *data.dev) if isinstance(record, TaggedSentence)} == {""}
    assert prepare_run(recipe).vocabulary.text_labels == ()
    assert "label_accuracy" not in EVALUATION_TASKS["tagging"].baselines(data.train, data.dev)[-1].measures


def test_joint_without_labels_is_refused(files: Path, tmp_path: Path) -> None:
    """The error says that the data has no labels of texts."""
    write_folder(tmp_path / "train", sentences(20, 1))
    write_folder(tmp_path / "dev", sentences(5, 2))
    for part in ("train", "dev"):
        (tmp_path / part / "label").unlink()
    recipe = recipe_of(tmp_path, **{"network.joint": True})
    with pytest.raises(ConfigFault, match="no text in train has one"):
        start_run(prepare_run(recipe), tmp_path / "run")


def test_whole_sentences_need_all_tags_and_the_label() -> None:
    """Texts without a label are excluded from sentence accuracy and label accuracy."""
    gold = [
        TaggedSentence(("a", "b"), ("X", "Y"), "L"),
        TaggedSentence(("a",), ("X",), "M"),
        TaggedSentence(("a",), ("X",)),
    ]
    scores = joint_scores(gold, [("X", "Z"), ("X",), ("X",)], ["L", "M", "L"])
    assert scores == {"label_accuracy": 100.0, "sentence_accuracy": 50.0}


def test_texts_without_a_label_cost_nothing() -> None:
    """The text loss is the mean over labelled texts; a batch without any has loss 0, not NaN."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    of_first = torch.nn.functional.cross_entropy(logits[:1], torch.tensor([0]))
    assert text_loss(logits, torch.tensor([0, NO_LABEL])) == pytest.approx(float(of_first))
    assert float(text_loss(logits, torch.tensor([NO_LABEL, NO_LABEL]))) == 0.0


def test_json_lines_hold_words_tags_and_a_label(tmp_path: Path) -> None:
    """In JSON Lines the label is optional, and the format is detected from the first line of the file."""
    rows = [{"words": ["play", "jazz"], "tags": ["O", "B-genre"], "label": "Play"}, {"words": ["hi"], "tags": ["O"]}]
    path = tmp_path / "voice.data"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    expected = [TaggedSentence(("play", "jazz"), ("O", "B-genre"), "Play"), TaggedSentence(("hi",), ("O",))]
    assert read_records("tagging", path) == expected
    assert isinstance(network := own_recipe("tagging", "mine", str(path)).network, TaggerConfig)
    assert network.joint


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"words": ["a", "b"], "tags": ["O"]}', "1 tags for 2 words"),
        ('{"words": "a", "tags": ["O"]}', "words and tags must be lists of text"),
        ('{"words": ["a"], "tags": ["O"], "label": 3}', "a label text"),
        ('["a"]', "a JSON list, not an object"),
        ('{"words": ["a"]', "invalid JSON"),
    ],
)
def test_a_faulty_json_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "voice.jsonl"
    path.write_text(f'{{"words": ["a"], "tags": ["O"]}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataFault) as caught:
        read_records("tagging", path)
    assert caught.value.line == 2
    assert what in caught.value.what


def test_check_data_counts_the_labels_of_texts(files: Path, tmp_path: Path) -> None:
    """The report lists the labels of texts next to the tags, and those of dev that train lacks."""
    dev = write_folder(tmp_path / "dev", [TaggedSentence(("play",), ("O",), "New")])
    report = check_data.run("tagging", str(files / "train"), str(dev))
    assert report.splits[0].labels["text: PlayMusic"] + report.splits[0].labels["text: GetWeather"] == 80
    assert report.comparisons[0].unseen_labels == {"text: New": 1}
    console = Console(file=io.StringIO(), width=120, color_system=None)
    check_data.render(report, console)
    assert isinstance(console.file, io.StringIO)
    assert "text: New (1)" in console.file.getvalue()


def test_int8_is_judged_by_whole_sentences(published: Exported, files: Path, tmp_path: Path) -> None:
    """The int8 form of a joint model is accepted by its share of entirely correct texts."""
    copy = copy_bundle(published.path, tmp_path / "models")
    variant = add_variant(copy, "int8", lambda _: None, read_records("tagging", files / "dev"))
    assert variant.measure == "sentence_accuracy"
    assert load_bundle(copy).manifest.variants["int8"] == variant
    assert verify_bundle(copy).passed


def test_long_texts_are_labelled_by_their_first_window(published: Exported) -> None:
    """A text beyond the limit is tagged in windows, and its label is that of the first window."""
    bundle = load_bundle(published.path)
    limits = bundle.manifest.limits.model_copy(update={"max_input_tokens": 2})
    short = replace(bundle, manifest=bundle.manifest.model_copy(update={"limits": limits}))
    record = TaggedSentence(("play", "jazz", "rain", "rome"), ("O", "B-genre", "O", "B-city"), "PlayMusic")
    kept: list[Prediction[TaggedSentence]] = []
    task, runner = evaluation_task(short.manifest), OrtRunner(bundle, "cpu")
    scores = evaluate_records(task, short, runner, [record], keep=kept.append)
    assert (scores["label_accuracy"], scores["windowed"]) == (100.0, 1)
    assert [(one.label, len(one.tags)) for one in kept] == [("PlayMusic", 4)]
