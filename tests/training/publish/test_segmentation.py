"""A published parser learns to cut raw text; its graphs, and what it answers to lists of words, stay what they were."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from service.bundle.manifest import TrainingFacts
from service.bundle.task_options import ParsingOptions
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.offline import Scorer
from tests.training.cli.test_commands import refused
from tests.training.exportable import draft_of, questions_of, tagger
from tests.training.publish.test_lemmas import QUESTIONS
from tests.training.tiny_runs import own_recipe
from tests.training.trees.tiny_parsers import draft_of_parser, parser
from tests.training.trees.tiny_trees import write_trees
from training.data.read import read_records
from training.data.readers.treebanks.raw_text import NoRawText, raw_text
from training.data.records import ParsedSentence
from training.evaluation.evaluate import evaluate_bundle
from training.evaluation.tasks.parsing import ParsingEvaluation
from training.preprocessing.load_records import load_data
from training.publish.additions import segmentation
from training.publish.additions.segmentation import NoSegmentation, add_segmenter
from training.publish.export import export_bundle


def with_text(treebank: str) -> str:
    """The treebank with the comments `# text`; every third sentence begins a paragraph, words end with the sentence."""
    blocks = []
    for number, block in enumerate(treebank.strip().split("\n\n")):
        words = re.findall(r"^\d+\t(\S+)", block, re.MULTILINE)
        opening = "# newpar\n" if number % 3 == 0 else ""
        blocks.append(f"{opening}# text = {' '.join(words)}\n{block}\n\n")
    return "".join(blocks)


def published_parser(folder: Path, *, has_text: bool = True) -> Path:
    """A parser with random weights, whose manifest says that it was trained on files in `folder`."""
    train, dev = write_trees(folder / "trees")
    for path in (train, dev) if has_text else ():
        path.write_text(with_text(path.read_text(encoding="utf-8")), encoding="utf-8")
    recipe = own_recipe("parsing", "tiny", str(train), str(dev))
    source = load_data(ParsingEvaluation(), recipe).source
    facts = TrainingFacts(config=recipe.model_dump(mode="json"), data=(source,), parameters=1)
    draft = replace(draft_of_parser(parser(), "tiny"), training=facts)
    return export_bundle(parser(), draft, QUESTIONS, folder / "models").path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A bundle as it was, the same with a segmenter, and what was said; to be read only."""
    home = tmp_path_factory.mktemp("segmentation")
    path = published_parser(home)
    before = Path(shutil.copytree(path, home / "before"))
    said = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "_SIZE", 24)
        assert add_segmenter(path, said.append, updates=40) == path
    return before, path, said


def test_only_what_is_new_changes(bundles: tuple[Path, Path, list[str]]) -> None:
    """A graph and its alphabet are added; those of the parser are the same bytes; so are answers to lists of words."""
    before, after, _ = bundles
    same = {file.name for file in before.iterdir() if file.read_bytes() == (after / file.name).read_bytes()}
    assert same == {file.name for file in before.iterdir()} - {"manifest.json", "README.md", "examples.jsonl"}
    added = {file.name for file in after.iterdir()} - {file.name for file in before.iterdir()}
    assert added == {"segmenter.onnx", "tokenizer_segmenter.json"}
    old, new = load_bundle(before).examples, load_bundle(after).examples
    assert [each for each in new if not isinstance(each.inputs, str)] == [
        each for each in old if not isinstance(each.inputs, str)
    ]
    assert len(new) == len(old) + 2
    assert all(len(example.answer["sentences"]) >= 1 for example in new if isinstance(example.inputs, str))


def test_raw_text_is_cut_and_parsed(bundles: tuple[Path, Path, list[str]]) -> None:
    """One block of CoNLL-U for each sentence, in the service and offline; without `segment` it is one sentence."""
    opened = open_bundle(bundles[1], "cpu")
    text = "the cat sees a dog\n\na bird hears the cat"
    answered = answer_one(opened, text, {"conllu": True}).model_dump(mode="json")
    assert [token["text"] for token in answered["tokens"]] == text.split()
    assert 5 in [sentence["first_token"] for sentence in answered["sentences"]]
    assert answered["conllu"].count("# sent_id") == len(answered["sentences"])
    whole = answer_one(opened, text, {"segment": False}).model_dump(mode="json")
    assert "sentences" not in whole
    columns = Scorer(bundles[1])({"text": [text, "the cat"]})
    assert [list(words) for words in columns["words"]] == [text.split(), ["the", "cat"]]


def test_conllu_of_raw_text_is_read_again(bundles: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """Sentences, words and their places in the text are those of the answer."""
    answered = answer_one(open_bundle(bundles[1], "cpu"), "the cat  sees a dog\n\na bird", {"conllu": True})
    path = tmp_path / "answer.conllu"
    path.write_text(answered.model_dump()["conllu"], encoding="utf-8")
    records = [record for record in read_records("parsing", path) if isinstance(record, ParsedSentence)]
    words = [token["text"] for token in answered.model_dump()["tokens"]]
    assert [word for record in records for word in record.words] == words
    assert " ".join(raw_text(records, "it").text.split()) == "the cat sees a dog a bird"


def test_manifest_and_card_have_options_and_scores(bundles: tuple[Path, Path, list[str]]) -> None:
    """The scores stand beside those of rules, and `unroll evaluate` gives the same, beside those with gold words."""
    before, after, said = bundles
    manifest = load_bundle(after).manifest
    assert isinstance(manifest.options, ParsingOptions)
    assert manifest.options.segmenter is not None
    names = ("raw_tokens", "raw_sentences", "raw_words", "raw_upos", "raw_ufeats", "raw_uas", "raw_las")
    scores = {score.measure: score for score in manifest.scores if score.measure.startswith("raw_")}
    assert tuple(scores) == names
    assert scores["raw_tokens"].baseline == 100.0
    assert scores["raw_tokens"].value == 100.0
    assert said[-1].startswith("dev raw_las ")
    found = evaluate_bundle(after, after.parents[2] / "trees" / "dev.conllu")
    assert {name: found[name] for name in names} == {name: score.value for name, score in scores.items()}
    assert "las" in found
    assert "raw_las" not in evaluate_bundle(before, after.parents[2] / "trees" / "dev.conllu")
    assert "segmenter" in manifest.graphs
    assert "torch" in (manifest.parity.checks if manifest.parity else {})
    card = (after / "README.md").read_text(encoding="utf-8")
    assert "| raw_sentences | dev |" in card
    assert "cuts raw text" in card


def test_what_cannot_cut_text_is_told_why(bundles: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """A parser that does, and a bundle of another task."""
    with pytest.raises(NoSegmentation, match="cuts text into sentences already"):
        add_segmenter(bundles[1], print)
    other = export_bundle(tagger(), draft_of(tagger()), questions_of(tagger()), tmp_path).path
    with pytest.raises(NoSegmentation, match="tagging cuts no text into sentences, a parser does"):
        add_segmenter(other, print)


def test_a_treebank_without_text_is_refused(tmp_path: Path) -> None:
    """The command says which comment is missing; the bundle stays as it was, and no part of a new one is left."""
    path = published_parser(tmp_path, has_text=False)
    before = (path / "manifest.json").read_bytes()
    said = refused("export", "--segmenter", path)
    assert "sentences have no raw text (the first begins " in said
    assert "); write it above each as a comment, `# text = ...`" in said
    assert (path / "manifest.json").read_bytes() == before
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == ["tiny"]
    with pytest.raises(NoRawText, match="train: "):
        add_segmenter(path, print)
