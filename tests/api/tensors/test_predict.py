"""`POST /predict` with named arrays: answers, chunks, refusals and the description of the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.api.tensors.conftest import KINDS, predict, refused
from tests.live_server import LiveServer
from tests.tasks.tensors.tiny_tensors import WIDE, WIDTH, sample


def num_runs(server: LiveServer, model: str) -> int:
    """Runs of the graph so far."""
    return sum(total.times for total in server.engine(model).runs.by_size.values())


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_answers_are_given_alone_and_together(kind: str, http: httpx.Client, models: Path) -> None:
    """The answers that the bundle recorded, for one input and for several of different lengths."""
    examples = load_bundle(models / f"tiny-{kind}" / "1").examples
    together = predict(http, kind, [example.inputs for example in examples])["predictions"]
    for example, found in zip(examples, together, strict=True):
        (alone,) = predict(http, kind, example.inputs)["predictions"]
        assert differences(example.answer, found, 1e-5) == []
        assert differences(example.answer, alone, 1e-5) == []


def test_lengths_are_not_mixed_where_the_graph_would_read_padding(http: httpx.Client, server: LiveServer) -> None:
    """Inputs of many lengths at once have the answers that they have alone, and share runs with their like."""
    arrays = [{"tensors": sample("equal", length, seed=seed)} for seed in range(4) for length in (2, 3, 5)]
    alone = [predict(http, "equal", one)["predictions"][0] for one in arrays]
    before = num_runs(server, "tiny-equal")
    together = predict(http, "equal", arrays)["predictions"]
    assert differences(alone, together, 1e-5) == []
    assert 3 <= num_runs(server, "tiny-equal") - before < len(arrays)
    with ThreadPoolExecutor(8) as threads:
        found = [answer["predictions"][0] for answer in threads.map(lambda one: predict(http, "equal", one), arrays)]
    assert differences(alone, found, 1e-5) == []


def test_chunks_give_what_the_whole_gives(http: httpx.Client) -> None:
    """Rows of chunks that carry their state are those of the whole."""
    arrays = sample("lstm", 9)
    (whole,) = predict(http, "lstm", {"tensors": arrays})["predictions"]
    rows: list[Any] = []
    state: dict[str, Any] = {}
    for start, end in [(0, 4), (4, 5), (5, 9)]:
        part = {"tensors": {"x": arrays["x"][start:end]}}
        answer = predict(http, "lstm", part, return_state=True, **state)
        rows += answer["predictions"][0]["outputs"]["z"]
        state = {"state": answer["state"]}
    assert np.allclose(rows, whole["outputs"]["z"], atol=1e-5)
    assert np.allclose(answer["predictions"][0]["outputs"]["last"], whole["outputs"]["last"], atol=1e-5)
    status, message = refused(http, "masked", {"tensors": sample("masked", 2)}, return_state=True)
    assert (status, "tiny-masked reads its input as a whole" in message) == (422, True)


def test_outputs_are_chosen(http: httpx.Client) -> None:
    """`outputs` among the parameters chooses what is answered."""
    (found,) = predict(http, "masked", {"tensors": sample("masked", 3)}, parameters={"outputs": ["last"]})[
        "predictions"
    ]
    assert list(found["outputs"]) == ["last"]


ROW = [0.0] * WIDTH
REFUSALS = [
    ({"tensors": {}}, "inputs.tensors: "),
    ({"tensors": {"x": [ROW], "y": 1}}, "inputs.tensors.y: there is no such input; there are: x float32 [time, 3]"),
    ({"tensors": {"x": [ROW, [1.0, 2.0]]}}, "inputs.tensors.x.1: this list has length 2"),
    ({"tensors": {"x": [["a", 0.0, 0.0]]}}, "inputs.tensors.x.0.0: this is the text 'a'"),
    ({"tensors": {"x": [[True, 0.0, 0.0]]}}, "inputs.tensors.x.0.0: this is true"),
    ({"tensors": {"x": []}}, "inputs.tensors.x: there are no steps"),
    ({"tensors": {"x": [[1e300, 0.0, 0.0]]}}, "inputs.tensors.x.0.0: this number is 1e+300"),
    ({"tensors": [[ROW]]}, "inputs.tensors: must be"),
    ({"tensors": {"x": [ROW]}, "more": 1}, "inputs.more: there is no such field"),
    ("hello", 'inputs: this model takes named arrays as {"tensors": {"x": ...}}, not text'),
    ({"frames": [ROW]}, "inputs: this model takes named arrays"),
]


@pytest.mark.parametrize(("inputs", "message"), REFUSALS)
def test_bad_arrays_are_refused_with_their_place(inputs: Any, message: str, http: httpx.Client) -> None:
    """Each fault of an input is a 422 that names the field."""
    status, found = refused(http, "masked", inputs)
    assert status == 422
    assert found.startswith(message)


def test_an_input_of_several_is_named_by_its_number(http: httpx.Client) -> None:
    """The second input is at fault, and the path says so."""
    status, found = refused(http, "masked", [{"tensors": {"x": [ROW]}}, {"tensors": {"x": [[0.0, None, 0.0]]}}])
    assert (status, found[:28]) == (422, "inputs.1.tensors.x.0.1: this")


def test_other_models_take_no_arrays(http: httpx.Client) -> None:
    """A model of texts refuses named arrays in its own words."""
    status, found = refused(http, "classifier", {"tensors": {"x": [ROW]}})
    assert (status, "this model takes text, not named arrays" in found) == (422, True)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_has_not_are_refused(literal: str, http: httpx.Client) -> None:
    """NaN and infinities, spelled as Python does or written too large, are refused and not computed with."""
    body = f'{{"model": "tiny-masked", "inputs": {{"tensors": {{"x": [[{literal}, 0, 0]]}}}}}}'
    response = http.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert "error" in response.json()


def test_deep_and_large_bodies_are_refused_at_once(http: httpx.Client) -> None:
    """A thousand levels of lists, and ten million numbers, are answered with an error of the caller."""
    deep = '{"model": "tiny-masked", "inputs": {"tensors": {"x": ' + "[" * 1000 + "]" * 1000 + "}}}"
    response = http.post("/predict", content=deep, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    large = '{"model": "tiny-masked", "inputs": {"tensors": {"x": [' + "0," * 10_000_000 + "0]}}}"
    assert http.post("/predict", content=large, headers={"Content-Type": "application/json"}).status_code == 413
    many = {"tensors": {"x": [0] * 300_000}}
    assert refused(http, "masked", many)[0] == 422


def test_an_answer_of_too_many_numbers_is_refused_before_it_is_computed(http: httpx.Client, server: LiveServer) -> None:
    """JSON of so many numbers would hold up all others; the binary protocol is named."""
    steps = (1 << 18) // WIDE + 1
    before = num_runs(server, "tiny-wide")
    status, message = refused(http, "wide", {"tensors": {"x": [[0.0]] * steps}})
    assert status == 422
    assert f"the answer would hold {steps * WIDE:,} numbers, as JSON at most 262,144 are sent" in message
    assert num_runs(server, "tiny-wide") == before


def test_a_model_tells_its_arrays(http: httpx.Client) -> None:
    """The description has the inputs and outputs with dtype, shape and notes, and says whether it reads chunks."""
    details = http.get("/models/tiny-lstm").json()
    assert (details["task"], details["reads_chunks"]) == ("tensors", True)
    assert details["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": ["time", 3], "description": "acceleration, m/s^2"}
    ]
    assert details["outputs"][1] == {"name": "last", "dtype": "float32", "shape": [2]}
    tokens = http.get("/models/tiny-labels").json()["inputs"][0]
    assert tokens == {"name": "tokens", "dtype": "int64", "shape": ["time"], "minimum": 0, "maximum": 6}
    assert type(tokens["maximum"]) is int
