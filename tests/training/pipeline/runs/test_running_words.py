"""Word-level language models: tokenisation, comparable losses, and text from tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from service.bundle.tokenizer import EOS, UNK, TextTokenizer
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import TokenizerConfig
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import Passage
from training.evaluation.scoring import num_words, perplexity_per_word
from training.fit import run_folder
from training.pipeline.run import prepare_run, publish_run, start_run, train_run
from training.preprocessing.vocabulary import fit_running_words
from training.tasks.generation import generation_vocabulary

WHITESPACE = TokenizerConfig(unit="word", cut="whitespace", lowercase=False, zero_digits=False)
TEXT = " = A title = \n \n The cat sat <unk> the mat .\n The end ."


def cut(tokenizer: TextTokenizer, text: str) -> list[str]:
    return tokenizer.encode_with_tokens(text)[1]


def test_line_ends_are_words() -> None:
    """Each line end is one token and blanks are none, as in published WikiText figures."""
    tokenizer = fit_running_words([TEXT], WHITESPACE)
    words = "= A title = | | The cat sat <unk> the mat . | The end ."
    assert cut(tokenizer, TEXT) == words.replace("|", "\n").split(" ")
    assert tokenizer.encode("<unk> strange")[:2] == [UNK, UNK]


def test_the_most_frequent_words_have_the_smallest_ids() -> None:
    """Ids are sorted by descending word frequency, as the sampled softmax assumes."""
    tokenizer = fit_running_words(["b a b c b a\n"], WHITESPACE)
    assert [tokenizer.token(EOS + n) for n in (1, 2)] == ["b", "a"]
    rare = fit_running_words(["b a b c b a\n"], TokenizerConfig(unit="word", cut="whitespace", min_count=2))
    assert rare.vocabulary_size == EOS + 1 + 2


def test_words_come_back_with_blanks_between_them() -> None:
    tokenizer = fit_running_words([TEXT], WHITESPACE)
    assert tokenizer.decode(tokenizer.encode("The  cat\nsat")) == "The cat \n sat"


def test_raw_text_is_cut_as_the_language_is_written() -> None:
    """Raw text is tokenised with punctuation and clitics as separate words."""
    tokenizer = fit_running_words(["It isn't over.\n"], TokenizerConfig(unit="word", lowercase=False))
    assert cut(tokenizer, "It isn't over.\n") == ["It", "is", "n't", "over", ".", "\n"]


def test_the_unit_of_a_recipe_decides() -> None:
    """The recipe's unit splits the same text into words, subwords or characters."""
    text = Passage("the cat sat on the mat\n" * 30)
    sizes = {
        unit: len(
            generation_vocabulary(TokenizerConfig.model_validate({"unit": unit}), [text])
            .tokenizers["text"]
            .encode("the mat\n")
        )
        for unit in ("word", "character")
    }
    assert sizes == {"word": 3, "character": 8}


def test_perplexity_is_counted_by_words_whatever_the_tokens() -> None:
    """Perplexity is per word for any tokens; the first word and line ends count, and infinite values are left out."""
    assert num_words(" a b\n c\n") == 5
    assert perplexity_per_word(8.0, ["a b\n", "c d e"]) == {"perplexity_per_word": pytest.approx(math.exp(8 / 4))}
    assert perplexity_per_word(1e6, ["word"]) == {}


def test_a_model_of_words_is_scored_by_words_beside_its_baselines(tmp_path: Path) -> None:
    """The perplexity per word of the trained model is reported next to those of both n-gram models."""
    recipe = tiny_recipe("generation", tmp_path / "data", epochs=1)
    recipe = recipe.model_copy(update={"tokenizer": WHITESPACE})
    run = start_run(prepare_run(recipe), tmp_path / "run")
    train_run(run, next(run.network.parameters()).device)
    (row,) = [json.loads(line) for line in run.folder.metrics.read_text().splitlines() if '"epoch"' in line][-1:]
    assert row["dev_perplexity_per_word"] == pytest.approx(math.exp(row["dev_loss"]))
    exported = publish_run(run, tmp_path / "models", lambda _: None)
    scores = {score.measure: score for score in load_bundle(exported.path).manifest.scores}
    assert scores["perplexity_per_word"].value == pytest.approx(scores["perplexity"].value)
    score = scores["perplexity_per_word"]
    both = f"{score.baseline_name}, {score.detail}"
    assert score.baseline_name.endswith("-gram model of tokens")
    assert "Kneser-Ney 5-gram model of tokens" in both
    assert "3-gram model of tokens" in both


def test_a_table_becomes_lines(tmp_path: Path) -> None:
    """The rows of a table become lines, without the label column and in a fixed shuffled order."""
    path = tmp_path / "names.tsv"
    path.write_text("name\tlanguage\n" + "".join(f"name{n}\tlanguage{n // 10}\n" for n in range(20)))
    plain = read_records("generation", path, ReadOptions(format="tsv"))
    labelled = read_records("generation", path, ReadOptions(format="tsv", label_column="language"))
    (text,), (both,) = plain[0], labelled[0]  # type: ignore[misc]
    names = [f"name{n}" for n in range(20)]
    assert sorted(text.splitlines()) == sorted(names)
    assert text.splitlines() != names
    assert sorted(both.splitlines()) == sorted(f"language{n // 10}: name{n}" for n in range(20))
    assert read_records("generation", path, ReadOptions(format="tsv")) == plain


def test_a_table_without_a_text_column_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(DataFault, match="no text column among: x, y"):
        read_records("generation", path, ReadOptions(format="csv"))
