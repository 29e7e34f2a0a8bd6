"""Counters for the live charts of the playground, and model cards as HTML."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from service.bundle.load import CARD_FILE
from tests.live_server import live_server
from tests.tiny_bundles import copy_bundle, renew_digests


def test_traffic_is_the_sum_of_the_metrics_over_all_models(client: TestClient) -> None:
    before = client.get("/playground-traffic").json()
    for model in ("tiny-classifier", "tiny-tagger"):
        assert client.post("/predict", json={"model": model, "inputs": ["hello", "one two"]}).status_code == 200
    after = client.get("/playground-traffic").json()
    assert after["requests"] - before["requests"] == 2
    assert after["batched_inputs"] - before["batched_inputs"] == 4
    assert after["computed_tokens"] >= after["padded_tokens"]
    bounds = [bound for bound, _ in after["durations"]]
    assert bounds[-1] is None
    assert bounds[:-1] == sorted(bounds[:-1])
    assert after["durations"][-1][1] - (before["durations"][-1][1] if before["durations"] else 0) == 2


def test_traffic_costs_a_fraction_of_the_metrics(client: TestClient) -> None:
    """The counters of the live charts take less than a tenth of the bytes of `/metrics`."""
    assert len(client.get("/playground-traffic").content) * 10 < len(client.get("/metrics").content)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("# A title", "<h1>A title</h1>"),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |", "<td>1</td>"),
        ("<script>alert(1)</script>", "&lt;script&gt;"),
        ("a <b onclick=x>b</b>", "&lt;b onclick=x&gt;"),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        ("![a](http://127.0.0.1/a.png)", "!<a href"),
    ],
)
def test_a_card_is_html_without_foreign_markup(tiny_models: Path, tmp_path: Path, markdown: str, html: str) -> None:
    """Markdown is rendered; markup in it, unsafe links and images are not."""
    bundle = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    (bundle / CARD_FILE).write_text(markdown, encoding="utf-8")
    renew_digests(bundle)
    with live_server(tmp_path, lanes=1) as server:
        answer = httpx.get(f"http://127.0.0.1:{server.port}/playground-card/tiny-classifier")
    assert html in answer.text
    assert "<script" not in answer.text


def test_a_card_that_is_missing_is_a_404(client: TestClient) -> None:
    assert client.get("/playground-card/nothing").status_code == 404
