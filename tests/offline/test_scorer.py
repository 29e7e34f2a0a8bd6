"""`Scorer`: the service's answers as columns of a batch, in any process, with an error for each row that has none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from service.errors import BundleError, InferenceFailed, InvalidInput, UnknownModel
from service.offline import Scorer
from service.offline.row_values import MissingColumn
from service.tasks.single_pass.classification import Classification

TEXTS = ["hello world", "one", "the cat sat on a mat", "one two one", "ada lives in london", "hello " * 30]


@pytest.fixture
def classifier(tiny_models: Path) -> Scorer:
    return Scorer(tiny_models / "tiny-classifier")


def predictions(client: TestClient, model: str, texts: Sequence[Any], **parameters: Any) -> list[dict[str, Any]]:
    body = {"model": model, "inputs": list(texts), "parameters": parameters}
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def test_labels_and_scores_of_a_classifier_are_the_services(client: TestClient, tiny_models: Path) -> None:
    """Whatever rows share a batch: each is compared with a request of its own."""
    scorer = Scorer(tiny_models / "tiny-classifier", parameters={"top_k": 2})
    found = scorer({"text": np.array(TEXTS, dtype=object)})
    for row, text in enumerate(TEXTS):
        (wanted,) = predictions(client, "tiny-classifier", [text], top_k=2)
        assert found["label"][row] == wanted["label"]
        assert found["score"][row] == pytest.approx(wanted["score"], abs=1e-6)
        assert [entry["label"] for entry in found["top_k"][row]] == [entry["label"] for entry in wanted["top_k"]]
    assert found["error"].tolist() == [None] * len(TEXTS)


def test_tags_of_texts_and_of_words_are_the_services(client: TestClient, tiny_models: Path) -> None:
    texts = [*TEXTS, ["Ada", "lives", "in", "London"]]
    chosen = ["tags", "words", "scores", "starts", "spans"]
    found = Scorer(tiny_models / "tiny-tagger", output_columns=chosen)({"text": texts})
    assert list(found) == ["text", *chosen, "error"]
    for row, wanted in enumerate(predictions(client, "tiny-tagger", texts)):
        tokens = wanted["tokens"]
        assert found["tags"][row] == [token["tag"] for token in tokens]
        assert found["words"][row] == [token["text"] for token in tokens]
        assert found["scores"][row] == pytest.approx([token["score"] for token in tokens], abs=1e-6)
        assert [span["label"] for span in found["spans"][row]] == [span["label"] for span in wanted["spans"]]
    assert found["starts"][0] == [0, 6]
    assert found["starts"][-1] is None  # words have no places


def test_trees_are_the_services(client: TestClient, tiny_models: Path) -> None:
    """Heads are numbers from 1, as in CoNLL-U, which is a column on request."""
    usual = ["words", "tags", "scores", "heads", "relations", "head_scores", "features", "lemmas"]
    found = Scorer(tiny_models / "tiny-parser")({"text": TEXTS[:4]})
    assert list(found) == ["text", *usual, "error"]
    sentences = Scorer(tiny_models / "tiny-parser", output_columns=["conllu"])({"text": TEXTS[:4]})["conllu"]
    for row, wanted in enumerate(predictions(client, "tiny-parser", TEXTS[:4], conllu=True)):
        heads = [0 if token["head"] is None else token["head"] + 1 for token in wanted["tokens"]]
        assert found["heads"][row] == heads
        assert found["relations"][row] == [token["relation"] for token in wanted["tokens"]]
        assert found["lemmas"][row] == [token["lemma"] for token in wanted["tokens"]]
        assert sentences[row] == wanted["conllu"]


def test_translations_are_the_services(client: TestClient, tiny_models: Path) -> None:
    parameters = {"num_beams": 2, "max_new_tokens": 9}
    found = Scorer(tiny_models / "tiny-translator", parameters=parameters)({"source": TEXTS[:4]})
    wanted = predictions(client, "tiny-translator", TEXTS[:4], **parameters)
    assert found["text"].tolist() == [answer["text"] for answer in wanted]
    assert found["score"] == pytest.approx([answer["score"] for answer in wanted], abs=1e-6)


def test_texts_are_generated_as_by_the_service(client: TestClient, tiny_models: Path) -> None:
    """Greedy, and drawn with a seed: the same prompt has the same text in every row and in the service."""
    for parameters in ({"max_new_tokens": 6}, {"max_new_tokens": 6, "do_sample": True, "seed": 4}):
        prompts = ["Hello ", "a", "Hello "]
        found = Scorer(tiny_models / "tiny-generator", parameters=parameters)({"prompt": prompts})
        for prompt, text in zip(prompts, found["generated_text"], strict=True):
            response = client.post("/generate", json={"inputs": prompt, "parameters": parameters})
            assert text == response.json()["generated_text"]
    with pytest.raises(InvalidInput, match="seed"):
        Scorer(tiny_models / "tiny-generator", parameters={"do_sample": True})({"prompt": ["a"]})


def test_perplexities_are_columns(tiny_models: Path) -> None:
    parameters = {"max_new_tokens": 0, "details": True, "decoder_input_details": True}
    found = Scorer(tiny_models / "tiny-generator", parameters=parameters)({"text": ["Hello", "Hello world"]})
    assert (found["perplexity"] > 1).all()
    assert (found["bits_per_character"] > 0).all()


def test_a_row_without_answer_has_its_reason_and_harms_no_other(classifier: Scorer) -> None:
    """The messages of null, NaN, blank, too long, no text, bytes that are no UTF-8, half a character."""
    cells = ["hello", None, float("nan"), "", " \n", "word " * 500, 7, b"\xff", b"one", ["one", 2], [], "\ud800", "one"]
    found = classifier({"text": cells})
    errors = found["error"].tolist()
    assert [row for row, error in enumerate(errors) if error is None] == [0, 8, 12]
    assert "null" in errors[1]
    assert "null" in errors[2]
    assert "empty" in errors[3]
    assert "empty" in errors[4]
    assert "at most" in errors[5]
    assert "int" in errors[6]
    assert "UTF-8" in errors[7]
    assert errors[9].startswith("1: ")
    assert "empty" in errors[10]
    assert "surrogate" in errors[11]
    assert found["label"][8] == found["label"][12]
    assert np.isnan(found["score"][1])


def test_a_failing_run_costs_the_row_at_fault_its_answer_and_no_other(
    classifier: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Classification.run

    def failing(self: Classification, runner: Any, examples: Sequence[Any]) -> Any:
        if any(example.length == 2 for example in examples):
            raise InferenceFailed("graph 'classifier' failed: on purpose")
        return usual(self, runner, examples)

    monkeypatch.setattr(Classification, "run", failing)
    assert classifier({"text": ["one", "hello world", "one two one"]})["error"].tolist() == [
        None,
        "graph 'classifier' failed: on purpose",
        None,
    ]


def test_tables_of_arrow_stay_tables_of_arrow(classifier: Scorer) -> None:
    table = pa.table({"id": pa.array([1, 2], pa.int16()), "text": ["hello", None]})
    found = classifier(table)
    assert found.schema.names == ["id", "text", "label", "score", "error"]
    assert [str(kind) for kind in found.schema.types] == ["int16", "string", "string", "double", "string"]
    assert found.column("label").null_count == 1
    batch = classifier(table.to_batches()[0])
    assert isinstance(batch, pa.RecordBatch)
    assert batch.to_pylist() == found.to_pylist()
    assert classifier(table.slice(0, 0)).num_rows == 0
    assert classifier({"text": []})["error"].tolist() == []


def test_what_is_no_batch_is_said(classifier: Scorer) -> None:
    with pytest.raises(InvalidInput, match=r"pandas\.DataFrame, not builtins\.list"):
        classifier(["hello"])
    with pytest.raises(InvalidInput, match="as many rows"):
        classifier({"text": ["a", "b"], "id": [1]})
    with pytest.raises(MissingColumn, match="none has a usual name; the columns are: 'a', 'b'"):
        classifier({"a": ["x"], "b": ["y"]})
    with pytest.raises(MissingColumn, match="did you mean 'Body'"):
        Scorer(classifier.path, text_column="body")({"Body": ["x"], "b": ["y"]})


def test_names_that_are_taken_do_not_replace_columns(classifier: Scorer) -> None:
    found = classifier({"text": ["hello"], "label": ["mine"], "error": ["mine"]})
    assert list(found) == ["text", "label", "error", "predicted_label", "score", "predicted_error"]
    assert found["label"] == ["mine"]
    prefixed = Scorer(classifier.path, prefix="intent_")({"text": ["hello"]})
    assert list(prefixed) == ["text", "intent_label", "intent_score", "intent_error"]


def test_a_copy_carries_options_alone_and_opens_its_bundle_itself(classifier: Scorer) -> None:
    """What Ray and Spark send to their processes is small, before and after the scorer was used."""
    before = classifier({"text": TEXTS})
    sent = pickle.dumps(classifier)
    assert len(sent) < 1_000
    assert sorted(vars(pickle.loads(sent))) == sorted(set(vars(classifier)) - {"_answers"})  # noqa: S301
    assert pickle.loads(sent)({"text": TEXTS})["label"].tolist() == before["label"].tolist()  # noqa: S301


def test_models_are_found_by_path_and_by_name(tiny_models: Path, tmp_path: Path) -> None:
    for model in (tiny_models / "tiny-tagger" / "1", tiny_models / "tiny-tagger"):
        assert Scorer(model).path == (tiny_models / "tiny-tagger" / "1").absolute()
    assert Scorer("tiny-tagger@1", models=tiny_models).manifest.name == "tiny-tagger"
    with pytest.raises(UnknownModel, match="did you mean tiny-tagger"):
        Scorer("tiny-taggr", models=tiny_models)
    with pytest.raises(UnknownModel, match="no version '7'"):
        Scorer("tiny-tagger@7", models=tiny_models)
    with pytest.raises(BundleError):
        Scorer(str(tmp_path / "nothing"))


def test_options_are_checked_before_anything_is_opened(tiny_models: Path) -> None:
    with pytest.raises(InvalidInput, match="valid integer") as refused:
        Scorer(tiny_models / "tiny-classifier", parameters={"top_k": "many"})
    assert refused.value.field == ("parameters", "top_k")
    with pytest.raises(MissingColumn, match="did you mean 'label'"):
        Scorer(tiny_models / "tiny-classifier", output_columns=["lable"])


def test_neither_pyarrow_nor_a_web_framework_is_needed(tiny_models: Path) -> None:
    """A scorer of arrays runs where pyarrow is not installed, and drags in no server."""
    code = f"""
import sys
sys.modules["pyarrow"] = None
from service.offline import Scorer
found = Scorer({str(tiny_models / "tiny-classifier")!r})({{"text": ["hello"]}})
assert found["label"][0]
print(sorted({{"fastapi", "uvicorn", "asyncio", "prometheus_client", "starlette"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
