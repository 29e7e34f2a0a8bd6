"""Contextual taggers refuse unsuitable language models, which may read several data sets, and backwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundle.manifest import DataSource
from tests.training.tiny_character_models import CPU, character_models, contextual_recipe, train_character_models
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import ConfigFault, parse_recipe
from training.data.readers.text import MISSING_WORD, rejoined, spelt_out, turned_round
from training.data.records import Passage, TaggedSentence
from training.fit.run_folder import RunFolderFault
from training.pipeline.pretrained.character_models import read_character_models
from training.pipeline.run import prepare_run, start_run, train_run
from training.preprocessing.load_records import load_data, may_ship
from training.tasks.catalogue import TASKS


def test_the_first_model_must_read_forward(tmp_path: Path) -> None:
    """Two folders in the wrong order are refused, and the message states the expected order."""
    forward, backward = train_character_models(tmp_path)
    with pytest.raises(ConfigFault, match="reads forward, the second backward"):
        read_character_models((backward, forward))


def test_a_model_of_several_layers_is_refused(tmp_path: Path) -> None:
    """A model of several layers is refused with its folder, as the graph reads one layer."""
    folders = train_character_models(tmp_path, network__layers=2)
    with pytest.raises(ConfigFault, match="forward must have one layer"):
        read_character_models(folders)


def test_a_model_of_subwords_is_refused(tmp_path: Path) -> None:
    """A subword model is refused, as both models must read characters."""
    folders = train_character_models(tmp_path, tokenizer__unit="subword", tokenizer__vocabulary_size=64)
    with pytest.raises(ConfigFault, match="forward is not a language model of characters"):
        read_character_models(folders)


def test_both_models_must_know_the_same_characters(tmp_path: Path) -> None:
    """Models with different character sets are refused."""
    folders = train_character_models(tmp_path, tokenizer__min_count=20)
    with pytest.raises(ConfigFault, match="must know the same characters"):
        read_character_models(folders)


def test_text_without_blanks_is_refused(tmp_path: Path) -> None:
    """A model trained on text without blanks is refused."""
    folders = []
    (tmp_path / "text.txt").write_text("abcab\n" * 60, encoding="utf-8")
    for direction in ("forward", "backward"):
        recipe = tiny_recipe("generation", tmp_path / direction, epochs=1, trackers=[])
        data = recipe.data.model_copy(
            update={"train": str(tmp_path / "text.txt"), "dev": "", "reverse": direction == "backward"}
        )
        run = start_run(prepare_run(recipe.model_copy(update={"data": data})), tmp_path / f"run-{direction}")
        train_run(run, CPU)
        folders.append(str(run.folder.path))
    with pytest.raises(ConfigFault, match="both models must know ' '"):
        read_character_models(folders)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    """A folder without a run is refused before training starts."""
    recipe = contextual_recipe(tmp_path, (str(tmp_path / "none"), str(tmp_path / "neither")))
    with pytest.raises(RunFolderFault, match="none is not a run folder"):
        prepare_run(recipe)


def test_a_recipe_names_two_models_or_none() -> None:
    """A recipe with only one model is refused."""
    with pytest.raises(ConfigFault, match="contextual needs two run folders"):
        parse_recipe(_smallest("tagging", {"contextual": ["one"]}), "mine.toml")


def test_only_language_models_read_further_sets_or_backwards() -> None:
    """Only a language model may read further data sets or reversed text."""
    with pytest.raises(ConfigFault, match="is for language models"):
        parse_recipe(_smallest("tagging", {}, reverse=True), "mine.toml")


def _smallest(task: str, network: dict[str, object], **data: object) -> dict[str, object]:
    return {"name": "small", "task": task, "data": {"train": "train.txt", **data}, "network": network}


def test_licences_of_the_models_count(tmp_path: Path) -> None:
    """A tagger whose language models were trained on restricted text may not be shipped either."""
    models = character_models()
    unclear = DataSource(name="wikitext2 + imdb", licence="unknown")
    recipe = contextual_recipe(tmp_path, ("forward", "backward"))
    assert may_ship(recipe, models.sources)
    assert not may_ship(recipe, (unclear,))


def test_wikitext_is_spelt_like_a_treebank() -> None:
    """WikiText is detokenised, with missing words marked, headings removed, and one sentence per line."""
    text = " \n = Title = \n \n The well @-@ known <unk> sold 1 @,@ 000 . It was 3 @.@ 5 % . \n"
    assert rejoined(text) == f"The well-known {MISSING_WORD} sold 1,000 .\nIt was 3.5 % .\n"


def test_tagged_sentences_are_text() -> None:
    """Tagged sentences are read as text, one per line, with blanks between words."""
    sentences = [TaggedSentence(("a", "b"), ("X", "Y")), TaggedSentence(("c",), ("X",))]
    assert spelt_out(sentences) == Passage("a b\nc\n")


def test_text_is_turned_round_as_a_whole() -> None:
    """The whole text is reversed, so that the last character of the last passage comes first."""
    assert turned_round([Passage("ab\n"), Passage("cd\n")]) == [Passage("\ndc"), Passage("\nba")]


def test_a_language_model_learns_from_several_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences of the further set follow the text, and its files are recorded, so that changes are detected."""
    conllu = "1\tone\t_\tNUM" + "\t_" * 6 + "\n\n"
    for part in ("train", "dev"):
        (tmp_path / f"en_ewt-ud-{part}.conllu").write_text(conllu, encoding="utf-8")
    monkeypatch.setattr(
        "training.preprocessing.load_records.locate", lambda _name, part: tmp_path / f"en_ewt-ud-{part}.conllu"
    )
    recipe = tiny_recipe("generation", tmp_path / "data")
    data = recipe.data.model_copy(update={"also": ("ud_english_ewt", "ud_english_ewt")})
    loaded = load_data(TASKS["generation"], recipe.model_copy(update={"data": data}))
    assert loaded.train[1:] == [Passage("one\n"), Passage("one\n")]
    assert loaded.source.name == "train.txt + ud_english_ewt"
    assert "ud_english_ewt/dev/en_ewt-ud-dev.conllu" in loaded.source.splits
