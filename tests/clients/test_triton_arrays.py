"""Triton's clients with a model's own tensors: NumPy in and out, over HTTP and gRPC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.clients.conftest import RunClient
from tests.live_server import live_server
from tests.tasks.tensors.tiny_tensors import sample, write_tensors_bundle


def test_arrays_have_the_answers_that_each_row_has_alone(tmp_path: Path, run_client: RunClient) -> None:
    """A batch of two lengths, and a sequence of two chunks, have the outputs of the rows alone, in both transports."""
    bundle = open_bundle(write_tensors_bundle(tmp_path / "models", "lstm"))
    short, long = (sample("lstm", length)["x"] for length in (3, 6))
    alone = [answer_one(bundle, {"tensors": {"x": rows}}, {}).model_dump()["outputs"] for rows in (short, long)]
    padded = json.dumps([[*short, *[[9.0, 9.0, 9.0]] * 3], long])
    with live_server(tmp_path / "models", grpc_port=0) as server:
        addresses = (f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}")
        found = run_client("triton", "triton/triton_arrays", *addresses, padded, "[3, 6]")
    for transport in ("http", "grpc"):
        report = found[transport]
        assert np.allclose(report["z"][0][:3], alone[0]["z"], atol=1e-5)
        assert np.allclose(report["z"][1], alone[1]["z"], atol=1e-5)
        assert np.allclose(report["last"], [one["last"] for one in alone], atol=1e-5)
        assert report["chunked"][0] == pytest.approx(alone[1]["last"], abs=1e-5)
