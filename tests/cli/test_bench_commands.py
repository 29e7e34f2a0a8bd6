"""`unroll bench` on servers that answer, refuse, hang up and are interrupted."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli import commands as cli
from tests.cli.bench.tiny_server import Handler, answer, serving_in_a_thread

MODELS = {"models": [{"name": "spam", "state": "ready"}, {"name": "broken", "state": "failed"}]}
DETAILS: dict[str, Any] = {
    "name": "spam",
    "version": "2",
    "task": "classification",
    "examples": [{"inputs": "buy now"}],
    "limits": {"max_new_tokens": 256},
}
EVENTS = (
    b'data:{"index":1,"generated_text":null}\n\ndata:{"index":2,"generated_text":null}\n\n',
    b'data:{"index":3,"generated_text":"abc"}\n\n',
)
QUICK = ("--warm-up", "0s", "-n", "20", "-c", "2")


def content(value: Any, status: int = 200) -> bytes:
    return answer(json.dumps(value).encode(), status)


def model_server(predict: Handler, details: dict[str, Any] = DETAILS) -> Handler:
    """A server with one model that answers; the first request to it is the trial of the workload."""
    asked = iter(range(1_000_000))

    async def handle(head: str, number: int) -> bytes:
        path = head.split(" ")[1]
        if path == "/models":
            return content(MODELS)
        if path == "/metrics":
            return answer(b"", 404)
        return content(details) if path.startswith("/models/") else await predict(head, next(asked))

    return handle


async def at_once(head: str, number: int) -> bytes:
    return content({"predictions": []})


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["bench", *arguments])


def test_models_are_found_measured_and_shown(tmp_path: Path) -> None:
    """Counts are exact, in the table, in JSON and in CSV; models that do not answer are not measured."""
    with serving_in_a_thread(model_server(at_once)) as address:
        files = ("--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "a.csv"))
        result = bench(address.url, *QUICK, "-c", "1,4", *files)
    assert result.exit_code == 0, result.output
    assert [line.split()[:4] for line in result.stdout.splitlines()[1:]] == [
        ["spam", "c", "=", "1"],
        ["spam", "c", "=", "4"],
    ]
    document = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    first, second = document["cases"]
    assert (first["total"]["answered"], second["total"]["answered"]) == (20, 20)
    assert sum(bucket["count"] for bucket in first["histogram"]) == 20
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["model"], row["load"], row["answered"]) for row in rows] == [
        ("spam", "c = 1", "20"),
        ("spam", "c = 4", "20"),
    ]


def test_the_tokens_of_a_stream_are_measured() -> None:
    async def stream(head: str, number: int) -> bytes:
        assert head.startswith("POST /generate_stream ")
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*EVENTS, b""))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces

    with serving_in_a_thread(model_server(stream, DETAILS | {"task": "generation"})) as address:
        result = bench(address.url, *QUICK, "--json", "-")
    (case,) = json.loads(result.stdout)["cases"]
    total = case["total"]
    assert total["answered"] == 20
    assert total["tokens_per_s"] == pytest.approx(3 * total["rate"])
    assert 0 < total["time_to_first_token_p50_ms"] <= total["p50_ms"]


def test_errors_are_told_by_kind_and_all_of_them_fail_the_command() -> None:
    async def then_fail(head: str, number: int) -> bytes:
        refusal = {"error": "the graph failed", "error_type": "inference_failed"}
        return content({}) if not number else content(refusal, 500) if number % 2 else b""

    with serving_in_a_thread(model_server(then_fail)) as address:
        result = bench(address.url, *QUICK)
    assert result.exit_code == 1, result.output
    assert "10 x HTTP 500 inference_failed: the graph failed" in result.stderr
    assert "10 x connection lost" in result.stderr


def test_ctrl_c_prints_what_was_measured() -> None:
    """The first Ctrl-C ends the run at once, although its time is an hour."""

    async def interrupt(head: str, number: int) -> bytes:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return content({})

    with serving_in_a_thread(model_server(interrupt)) as address:
        result = bench(address.url, "-m", "spam", "-c", "1,2", "-d", "60m", "--warm-up", "0")
    assert result.exit_code == 130, result.output
    assert result.stdout.splitlines()[1].split()[:4] == ["spam", "c", "=", "1"]
    assert "interrupted after" in result.stderr


def test_two_servers_take_turns_and_are_compared(tmp_path: Path) -> None:
    """Every round asks both, the other one first in every second round; a recorded run can be compared as well."""
    order: list[str] = []

    def noting(name: str) -> Handler:
        async def note(head: str, number: int) -> bytes:
            if number and order[-1:] != [name]:
                order.append(name)
            return content({})

        return model_server(note)

    recorded = str(tmp_path / "a.json")
    with serving_in_a_thread(noting("a")) as first, serving_in_a_thread(noting("b")) as second:
        result = bench(first.url, second.url, *QUICK, "--rounds", "3", "--json", recorded)
        later = bench(first.url, *QUICK, "--baseline", recorded)
    assert result.exit_code == 0, result.output
    assert order[:4] == ["a", "b", "a", "b"]  # a b, b a, a b
    assert f"{second.url} beside {first.url}" in result.stdout
    (compared,) = json.loads(Path(recorded).read_text(encoding="utf-8"))["comparisons"]
    assert compared["ratios"]["rate"]["low"] < compared["ratios"]["rate"]["ratio"] < compared["ratios"]["rate"]["high"]
    assert f"{first.url} beside {recorded}" in later.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "0"), "--concurrency 0: write whole numbers"),
        (("-c", "1.5"), "write whole numbers"),
        (("-c", "1,,2"), "write whole numbers"),
        (("--rate", "nan"), "--rate nan: write numbers"),
        (("--rate", "5", "-c", "5"), "not both"),
        (("-d", "5 parsecs"), "--duration 5 parsecs: write seconds or minutes"),
        (("-d", "5s", "-n", "5"), "not both"),
        (("-d", "0"), "--duration 0: measure for some time"),
        (("--warm-up", "99999m"), "--warm-up 99999m: at most a day"),
        (("-p", "top_k"), "--parameter top_k: write KEY=VALUE"),
        (("ftp://host",), "is no URL"),
        (("http://b:1", "http://c:1"), "give one URL, or two"),
    ],
)
def test_wrong_options_are_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    result = bench("http://127.0.0.1:1", *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())


def test_a_server_that_refuses_is_one_sentence() -> None:
    """A model that is not there, a request that is refused, a server of another kind, and none at all."""

    async def refuse(head: str, number: int) -> bytes:
        return content({"error": "give an API key", "error_type": "unauthorized"}, 401)

    async def other(head: str, number: int) -> bytes:
        return answer(b"<html>")

    with serving_in_a_thread(model_server(refuse)) as address:
        result = bench(address.url, "-m", "spam")
        assert "401 give an API key; the key is read from UNROLL_API_KEY" in result.stderr
    with serving_in_a_thread(other) as address:
        strange = bench(address.url)
        assert "is it an Unroll server?" in strange.stderr
    nobody = bench(address.url)
    assert nobody.stderr.splitlines()[-1] == f"unroll: {address.url}: connection refused"
    assert [each.exit_code for each in (result, strange, nobody)] == [2, 2, 2]
