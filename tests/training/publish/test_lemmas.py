"""A published parser gets lemmas; its graphs and all that it answered stay what they were."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from service.api.protocols.open_inference.tensors.task_outputs import task_outputs
from service.bundle.load import load_bundle
from service.bundle.manifest import TrainingFacts
from service.bundle.task_options import ParsingOptions
from service.errors import UnrollError
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.offline import Scorer
from tests.training.cli.test_commands import refused
from tests.training.exportable import draft_of, questions_of, tagger
from tests.training.tiny_runs import own_recipe
from tests.training.trees.tiny_parsers import draft_of_parser, parser
from tests.training.trees.tiny_trees import write_trees
from training.config.parser import ParserConfig
from training.config.recipe import parse_recipe
from training.evaluation.evaluate import evaluate_bundle
from training.evaluation.task import Question
from training.evaluation.tasks.parsing import ParsingEvaluation
from training.preprocessing.load_records import load_data
from training.preprocessing.parsing.lemma_types import NoLemmas
from training.publish.additions.lemmas import add_lemmas
from training.publish.export import export_bundle

QUESTIONS = [Question("the big cat sat on the mat", {"conllu": True}), Question(["a", "zebra", "ran", "99"])]


def published_parser(folder: Path, *, has_lemmas: bool = True) -> Path:
    """A parser with random weights, whose manifest says that it was trained on files in `folder`."""
    train, dev = write_trees(folder / "trees")
    if not has_lemmas:
        train.write_text(
            re.sub(r"^(\d+\t\S+\t)\S+", r"\1_", train.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8"
        )
    recipe = own_recipe("parsing", "tiny", str(train), str(dev))
    source = load_data(ParsingEvaluation(), recipe).source
    facts = TrainingFacts(config=recipe.model_dump(mode="json"), data=(source,), parameters=1)
    draft = replace(draft_of_parser(parser(), "tiny"), training=facts)
    return export_bundle(parser(), draft, QUESTIONS, folder / "models").path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A bundle as it was, the same with lemmas, and what was said; to be read only."""
    home = tmp_path_factory.mktemp("lemmas")
    path = published_parser(home)
    before = Path(shutil.copytree(path, home / "before"))
    said = list[str]()
    assert add_lemmas(path, said.append) == path
    return before, path, said


def test_only_what_is_new_changes(bundles: tuple[Path, Path, list[str]]) -> None:
    """No file of a graph or a tokenizer is added or changed by a byte, and answers lose and change nothing."""
    before, after, _ = bundles
    same = {file.name for file in before.iterdir() if file.read_bytes() == (after / file.name).read_bytes()}
    assert same == {file.name for file in before.iterdir()} - {"manifest.json", "README.md", "examples.jsonl"}
    assert {file.name for file in after.iterdir()} == {file.name for file in before.iterdir()}
    for old, new in zip(load_bundle(before).examples, load_bundle(after).examples, strict=True):
        without = [{key: token[key] for key in token if key != "lemma"} for token in new.answer["tokens"]]
        assert without == old.answer["tokens"]
        assert all(token["lemma"] for token in new.answer["tokens"])
        assert (new.label_scores, new.embedding) == (old.label_scores, old.embedding)


def test_answers_have_lemmas_in_every_form(bundles: tuple[Path, Path, list[str]]) -> None:
    """Of each token and in CoNLL-U; a number is its own lemma; alone and in a batch with others they are the same."""
    opened = open_bundle(bundles[1], "cpu")
    answered = answer_one(opened, "the cat sees 99 Birds", {"conllu": True}).model_dump(mode="json")
    lemmas = [token["lemma"] for token in answered["tokens"]]
    assert (lemmas[0], lemmas[3]) == ("the", "99")
    rows = [line.split("\t") for line in answered["conllu"].splitlines() if line and line[0] != "#"]
    assert [row[2] for row in rows] == lemmas
    columns = Scorer(bundles[1])({"words": [["the", "cat", "sees", "99", "Birds"], ["sees"]]})
    assert columns["lemmas"][0] == lemmas
    described = task_outputs(opened.bundle.manifest)
    assert "lemmas" in {each.name for each in described.metadata}


def test_manifest_and_card_have_table_and_score(bundles: tuple[Path, Path, list[str]]) -> None:
    """The score stands beside that of the look-up; what was said names both; a new run would have lemmas too."""
    before, after, said = bundles
    manifest = load_bundle(after).manifest
    assert isinstance(manifest.options, ParsingOptions)
    assert manifest.options.lemmatizer is not None
    assert "sees" in str(manifest.options.lemmatizer.table)
    score = manifest.scores[-1]
    assert (score.measure, score.baseline_name[:19]) == ("lemmas", "most frequent lemma")
    assert manifest.training.config["network"]["lemmas"] is True
    assert parse_recipe(dict(manifest.training.config), "manifest").network_as(ParserConfig).lemmas
    assert said[-1].startswith("dev lemmas ")
    dev = after.parents[2] / "trees" / "dev.conllu"
    assert evaluate_bundle(after, dev)["lemmas"] == score.value
    assert "lemmas" not in evaluate_bundle(before, dev)
    assert "| lemmas | dev |" in (after / "README.md").read_text(encoding="utf-8")


def test_what_cannot_get_lemmas_is_told_why(bundles: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """A parser that has them, a bundle of another task, and one that does not tell its data."""
    with pytest.raises(NoLemmas, match="gives lemmas already"):
        add_lemmas(bundles[1], print)
    other = export_bundle(tagger(), draft_of(tagger()), questions_of(tagger()), tmp_path).path
    with pytest.raises(NoLemmas, match="tagging gives no lemmas, a parser does"):
        add_lemmas(other, print)
    bare = export_bundle(parser(), draft_of_parser(parser(), "bare"), QUESTIONS, tmp_path).path
    with pytest.raises(UnrollError, match="does not say which data"):
        add_lemmas(bare, print)


def test_a_treebank_without_lemmas_is_refused(tmp_path: Path) -> None:
    """The command says which column is empty; the bundle stays as it was, and no part of a new one is left."""
    path = published_parser(tmp_path, has_lemmas=False)
    before = (path / "manifest.json").read_bytes()
    said = refused("export", "--lemmas", path)
    assert "no word of train has a lemma, at least 100 are needed; they stand in column 3 of CoNLL-U" in said
    assert (path / "manifest.json").read_bytes() == before
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == ["tiny"]


def test_other_data_than_that_of_the_parser_is_refused(tmp_path: Path) -> None:
    """What is dev now may have been train; nothing is learned from it."""
    path = published_parser(tmp_path)
    dev = tmp_path / "trees" / "dev.conllu"
    dev.write_text(dev.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(UnrollError, match="the data has changed since it was trained"):
        add_lemmas(path, print)
