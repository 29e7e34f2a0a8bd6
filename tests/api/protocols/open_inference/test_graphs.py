"""Runs of single graphs on a caller's tensors: shared by requests, and not changed by the padding of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.bundle.manifest import GraphSpec, TensorSpec
from service.inference.scheduling.graph_queues import batch_of, rows_of, run_rows
from tests.api.protocols.open_inference.requests import data_of, infer, tensor
from tests.conftest import wait_until
from tests.live_server import held_runs, live_server, post


def ids(*rows: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    width = max(map(len, rows))
    padded = [[*row, *[0] * (width - len(row))] for row in rows]
    lengths = tensor("lengths", [len(row) for row in rows], [len(rows)], "INT64")
    return tensor("tokens", padded, [len(rows), width], "INT64"), lengths


def test_a_row_has_the_same_numbers_whatever_is_beside_it(client: TestClient) -> None:
    model = "tiny-classifier.classifier"
    alone = data_of(client, model, *ids([4, 5, 6]))["logits"]
    beside = data_of(client, model, *ids([4, 5, 6], [7] * 30))["logits"]
    assert beside[:3] == pytest.approx(alone, abs=1e-5)


def test_state_goes_in_and_out_as_tensors(client: TestClient) -> None:
    """A prompt read in two parts leaves the logits of the whole; a state has its batch on the second axis."""
    shape = client.get("/v2/models/tiny-generator.step").json()["inputs"][1]["shape"]
    zeros = [tensor(name, [0.0] * shape[2], [1, 1, shape[2]], "FP32") for name in ("hidden", "cell")]
    whole = infer(client, "tiny-generator.prompt", *ids([4, 5, 6]), *zeros)
    first = infer(client, "tiny-generator.prompt", *ids([4, 5]), *zeros)
    state = [tensor(name, first[f"next_{name}"]["data"], [1, 1, shape[2]], "FP32") for name in ("hidden", "cell")]
    last = infer(client, "tiny-generator.step", tensor("token", [6], [1], "INT64"), *state)
    assert last["logits"]["data"] == pytest.approx(whole["logits"]["data"][-len(last["logits"]["data"]) :], abs=1e-4)
    config = client.get("/v2/models/tiny-generator.step/config").json()
    assert (config["max_batch_size"], config["input"][1]["dims"]) == (0, [1, -1, shape[2]])


def test_requests_that_wait_share_a_run(tiny_models: Path) -> None:
    """Rows of different requests and lengths are one batch, and each request gets its own."""
    # Of near lengths: rows of 2 and 3 steps would run apart if one came much later, since age has a weight too.
    body = {"inputs": ids([4, 5] * 5)}
    longer = {"inputs": ids([4, 5] * 5 + [6])}
    with live_server(tiny_models, lanes=1) as server, ThreadPoolExecutor(4) as threads:

        def ask(asked: dict[str, Any]) -> Any:
            with server.connect() as connection:
                return connection.ask(post("/v2/models/tiny-classifier/infer", asked)).json["outputs"][0]["data"]

        alone = [ask(body), ask(longer)]
        engine = server.engine("tiny-classifier")
        with held_runs(server, "tiny-classifier") as begun:
            first = threads.submit(ask, body)
            assert begun.wait(60)
            others = [threads.submit(ask, asked) for asked in (body, longer)]
            wait_until(lambda: engine.graphs.num_pending == 3)
        assert first.result() == pytest.approx(alone[0], abs=1e-5)
        assert [other.result() for other in others] == [pytest.approx(numbers, abs=1e-5) for numbers in alone]
        assert engine.runs.by_size[2].times == 1


def test_a_graph_that_is_not_told_lengths_runs_equal_sizes_together() -> None:
    """Padding would change its result, so rows of another size have a run of their own."""
    spec = GraphSpec(
        file="x.onnx",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", "time")),),
        outputs=(TensorSpec(name="sizes", dtype="float32", shape=("batch", "time")),),
    )
    runs = []

    class Sizes:
        def run(self, graph: str, feeds: Any) -> Any:
            runs.append(feeds["x"].shape)
            return {"sizes": np.full_like(feeds["x"], feeds["x"].shape[1])}

    rows = [*rows_of(spec, {"x": np.zeros((2, 3), np.float32)}), *rows_of(spec, {"x": np.zeros((1, 5), np.float32)})]
    found = run_rows(Sizes(), "x", spec, [rows[0], rows[2], rows[1]])
    assert sorted(runs) == [(1, 5), (2, 3)]
    assert [row["sizes"].tolist() for row in found] == [[3.0] * 3, [5.0] * 5, [3.0] * 3]
    assert batch_of(spec, [found[0], found[2]])["sizes"].shape == (2, 3)


def test_outputs_that_are_too_long_for_json_are_refused_before_the_run(client: TestClient) -> None:
    width = client.get("/v2/models/tiny-generator.prompt").json()["inputs"][2]["shape"][2]
    rows = 128
    zeros = [tensor(name, [0.0] * width * rows, [1, rows, width], "FP32") for name in ("hidden", "cell")]
    body = {"inputs": [*ids(*[[4] * 40] * rows), *zeros]}
    response = client.post("/v2/models/tiny-generator.prompt/infer", json=body)
    assert response.status_code == 400
    assert "ask for binary data" in response.json()["error"]
    as_bytes = client.post(
        "/v2/models/tiny-generator.prompt/infer", json=body | {"parameters": {"binary_data_output": True}}
    )
    assert as_bytes.status_code == 200


def test_the_arcs_of_a_parser_are_rows(client: TestClient) -> None:
    """`relations` takes any number of pairs of what `parser` gives, and each has the same scores as alone."""
    words = tensor("words", [[4, 5, 6]], [1, 3], "INT64"), tensor("lengths", [3], [1], "INT64")
    found = infer(client, "tiny-parser.parser", *words)
    assert found["arc_scores"]["shape"] == [1, 3, 4]
    width = found["heads"]["shape"][2]
    dependents = np.array(found["dependents"]["data"]).reshape(3, width)
    heads = np.array(found["heads"]["data"]).reshape(4, width)[[2, 0, 1]]

    def scored(rows: slice) -> list[float]:
        pairs = [
            tensor(name, side[rows].ravel().tolist(), [len(side[rows]), width], "FP32")
            for name, side in (("dependents", dependents), ("heads", heads))
        ]
        logits: list[float] = data_of(client, "tiny-parser.relations", *pairs)["relation_logits"]
        return logits

    together = scored(slice(None))
    assert together == pytest.approx([score for row in range(3) for score in scored(slice(row, row + 1))], abs=1e-5)


def test_candidates_are_cut_to_the_words_of_each_row() -> None:
    """Rows of different lengths share a run, and each gets the root and its own words as candidate heads."""
    inputs = (
        TensorSpec(name="words", dtype="int64", shape=("batch", "time")),
        TensorSpec(name="lengths", dtype="int64", shape=("batch",)),
    )
    arcs = TensorSpec(name="arc_scores", dtype="float32", shape=("batch", "time", "candidates"))
    spec = GraphSpec(file="x.onnx", inputs=inputs, outputs=(arcs,))

    class Zeros:
        def run(self, graph: str, feeds: Any) -> Any:
            rows, time = feeds["words"].shape
            return {"arc_scores": np.zeros((rows, time, time + 1), np.float32)}

    feeds = [{"words": np.ones((1, size), np.int64), "lengths": np.array([size])} for size in (3, 5)]
    found = run_rows(Zeros(), "x", spec, [row for one in feeds for row in rows_of(spec, one)])
    assert [row["arc_scores"].shape for row in found] == [(3, 4), (5, 6)]
