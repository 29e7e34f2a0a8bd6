"""A parser from a treebank with lemmas to a bundle that gives them."""

from __future__ import annotations

from pathlib import Path

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.training.tiny_runs import own_recipe
from tests.training.trees.tiny_trees import write_trees
from training.pipeline.run import choose_device, open_run, prepare_run, publish_run, start_run, train_run


def test_a_parser_is_published_with_lemmas(tmp_path: Path) -> None:
    """They are kept in the run folder, answered, and scored beside a look-up."""
    train, dev = write_trees(tmp_path / "trees")
    changes = {"network.hidden_size": 8, "network.arc_size": 6, "network.relation_size": 4, "training.epochs": 1}
    recipe = own_recipe("parsing", "trees", str(train), str(dev), None, {**changes, "network.lemmas": True})
    train_run(start_run(prepare_run(recipe), tmp_path / "run"), choose_device("cpu"))
    path = publish_run(open_run(tmp_path / "run"), tmp_path / "models", print).path
    bundle = load_bundle(path)
    score = next(score for score in bundle.manifest.scores if score.measure == "lemmas")
    assert score.value > 90
    assert score.baseline is not None
    answer = answer_one(open_bundle(path, "cpu"), ["the", "cat", "sees"], {}).model_dump(mode="json")
    assert [token["lemma"] for token in answer["tokens"]] == ["the", "cat", "see"]
    assert all(token["lemma"] for token in bundle.examples[0].answer["tokens"])
