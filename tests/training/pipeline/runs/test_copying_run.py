"""A whole run of a translator that copies: trained, published, scored by exact match, and asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.bundle.load import Bundle, load_bundle
from service.bundle.task_options import TranslationOptions
from service.inference.runtime.ort_runner import OrtRunner
from service.offline.answer_columns import answer_columns
from service.tasks.catalogue import answer, task_of
from service.tasks.seq2seq.translation import Translation, TranslationParameters
from training.config.recipe import parse_recipe
from training.pipeline.run import prepare_run, publish_run, start_run, train_run
from training.publish.variants import chosen_by

_NETWORK = {
    "embedding_size": 16,
    "encoder_hidden_size": 12,
    "decoder_hidden_size": 16,
    "decoder_layers": 1,
    "attention": "dot",
    "attention_size": 12,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "copying": True,
    "num_beams": 1,
    "tokens_beyond_source": 7,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Numbers of courses to a query, each number once, so that none is in the vocabulary."""
    folder = tmp_path_factory.mktemp("copying")
    for part, numbers in (("train", range(100, 148)), ("dev", range(500, 508))):
        rows = [f'Who teaches {number} ?\tSELECT MIN( x ) = "{number}" ;\n' for number in numbers]
        (folder / f"{part}.tsv").write_text("source\ttarget\n" + "".join(rows), encoding="utf-8")
    values = {
        "name": "tiny-sql",
        "task": "translation",
        "data": {"train": str(folder / "train.tsv"), "dev": str(folder / "dev.tsv")},
        "tokenizer": {"unit": "word", "cut": "code", "min_count": 2},
        "network": _NETWORK,
        "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.02, "chosen_by": "exact", "threads": 1},
        "examples": ["Who teaches 999 ?", "Who teaches 7 ?"],
    }
    run = start_run(prepare_run(parse_recipe(values, "tiny-sql")), folder / "run")
    train_run(run, torch.device("cpu"))
    return load_bundle(publish_run(run, folder / "models", lambda _line: None).path)


def test_numbers_that_were_never_seen_are_copied(bundle: Bundle) -> None:
    """All of dev is right to the letter, which the score says, with the nearest template beside it."""
    scores = {score.measure: score for score in bundle.manifest.scores}
    assert scores["exact"].value == 100.0
    assert scores["exact"].baseline_name == "nearest template"
    assert chosen_by(bundle.manifest) == "exact"


def test_the_published_bundle_answers_with_the_word_as_written(bundle: Bundle) -> None:
    """A number is copied with its own digits, which the encoder does not read; answer and columns of files say whence."""
    found = answer(task_of(bundle), OrtRunner(bundle, "cpu", threads=1), "Who teaches 999 ?", {})
    assert found.model_dump()["text"] == 'SELECT MIN( x ) = "999" ;'
    places = [(copied["source_start"], copied["source_end"]) for copied in found.model_dump()["copied"]]
    assert (12, 15) in places
    assert "copied" in [column.name for column in answer_columns(bundle.manifest, {}, ("copied",))]


def test_the_bundle_says_how_long_an_answer_may_be(bundle: Bundle) -> None:
    """Without `max_new_tokens` a request may write twice its source and what the recipe adds."""
    options = bundle.manifest.options
    assert isinstance(options, TranslationOptions)
    assert options.tokens_beyond_source == 7
    assert Translation(bundle).preprocess("Who teaches 7 ?", TranslationParameters()).plan.max_steps == 2 * 4 + 7
