"""Graphs are added to a bundle under new names only; recorded answers keep their numbers. See also test_lemmas."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from tests.training.exportable import draft_of, questions_of, tagger
from training.publish.added_graphs import Addition, add_graphs, kept
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
