"""Graphs are added to a bundle under new names only; recorded answers keep their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from service.bundle.manifest import Score
from service.bundle.task_options import ParsingOptions
from tests.training.exportable import characters_tokenizer, draft_of, questions_of, tagger
from tests.training.trees.tiny_parsers import draft_of_parser, parser
from training.evaluation.task import Question
from training.publish.additions.added_graphs import Addition, add_graphs, kept
from training.publish.export import export_bundle


def test_numbers_within_the_tolerance_stay_as_recorded() -> None:
    """What differs, what is new and what has another length is the new answer's; what is gone is gone."""
    recorded = {"tokens": [{"score": 0.5, "tag": "A"}, {"score": 0.7, "tag": "B"}], "spans": [1.0], "gone": 1}
    found = {"tokens": [{"score": 0.50001, "tag": "A", "lemma": "a"}, {"score": 0.8, "tag": "C"}], "spans": [1.0, 2.0]}
    assert kept(recorded, found) == {
        "tokens": [{"score": 0.5, "tag": "A", "lemma": "a"}, {"score": 0.8, "tag": "C"}],
        "spans": [1.0, 2.0],
    }


def test_a_graph_is_never_replaced(tmp_path: Path) -> None:
    """A network whose graph has a name that the bundle has is refused, and so is a tokenizer; nothing is left over."""
    path = export_bundle(tagger(), draft_of(tagger()), questions_of(tagger()), tmp_path).path
    bundle = load_bundle(path)
    options = bundle.manifest.options
    with pytest.raises(ValueError, match="has a graph 'tagger' already"):
        add_graphs(bundle, Addition(tagger(), options), lambda _: [])
    assert [each.name for each in tmp_path.iterdir()] == [path.parent.name]


def graphs_with_tagger(options: ParsingOptions) -> tuple[str, ...]:
    """In place of `required_graphs`: another limit of characters stands for options that ask for a further graph."""
    return ("parser", "relations", *(["tagger"] if options.max_word_characters == 23 else []))


def test_a_further_network_is_added_with_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger beside a parser: its graph is verified and its weights counted; what was there is the same bytes."""
    monkeypatch.setattr(ParsingOptions, "required_graphs", property(graphs_with_tagger))
    path = export_bundle(parser(), draft_of_parser(parser(), "tiny"), [Question("the big cat sat")], tmp_path).path
    before, files = load_bundle(path), {file.name: file.read_bytes() for file in path.iterdir()}
    score = Score(measure="accuracy", value=12.5)
    addition = Addition(
        tagger(),
        before.manifest.options.model_copy(update={"max_word_characters": 23}),
        {"text": characters_tokenizer()},
        {"tagger": True},
    )
    assert add_graphs(before, addition, lambda _: [score]) == path
    after = load_bundle(path)
    same = {name for name, content in files.items() if (path / name).read_bytes() == content}
    assert same == files.keys() - {"manifest.json", "README.md"}
    assert after.manifest.graphs.keys() - before.manifest.graphs.keys() == {"tagger"}
    assert after.tokenizers["text"].encode("the") == characters_tokenizer().encode("the")
    size = sum(parameter.numel() for parameter in tagger().parameters())
    assert after.manifest.training.parameters == before.manifest.training.parameters + size
    assert after.manifest.training.config["network"]["tagger"] is True
    assert after.manifest.scores[-1] == score
    with pytest.raises(ValueError, match="has a tokenizer 'text' already"):
        add_graphs(after, Addition(None, after.manifest.options, {"text": characters_tokenizer()}), lambda _: [])
