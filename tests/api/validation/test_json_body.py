"""Refusing a body costs little, whatever it holds: few problems, little memory, a short answer."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from service.api.schemas import PredictRequest
from service.api.validation.json_body import BodyLimits, parse_body
from service.api.validation.problems import MAX_PROBLEMS
from service.errors import InvalidInput
from service.settings import Settings

JSON = {"Content-Type": "application/json"}
MAX_BYTES = Settings.model_fields["max_body_bytes"].default
LIMITS = BodyLimits(MAX_BYTES, Settings.model_fields["max_inputs_per_request"].default)
MAX_ANSWER_BYTES = 64 * 1024
MAX_PEAK_BYTES = 100 * 1024 * 1024
#: Problems that validation may find in the whole of a body, of which few are told.
MAX_FOUND = LIMITS.max_names

HEAD, TAIL = b'{"model":"tiny-tagger","inputs":', b"}"
FACE = "\U0001f600"


def filled(unit: bytes, before: bytes = b"[", after: bytes = b"]", max_bytes: int = MAX_BYTES) -> bytes:
    """A body of the given size that repeats one element in `inputs`."""
    head, tail = HEAD + before, after + TAIL
    return head + b",".join([unit] * ((max_bytes - len(head) - len(tail)) // (len(unit) + 1))) + tail


def members(member: bytes, number: int, head: bytes = b'{"inputs":"a",', tail: bytes = b"}") -> bytes:
    return head + b",".join(member % index for index in range(number)) + tail


#: All of up to the maximal size, and none of them a request.
FORMS = {
    "a list of words of ones": filled(b"1", b"[[", b"]]"),
    "ones": filled(b"1"),
    "nulls": filled(b"null"),
    "empty objects": filled(b"{}"),
    "empty lists": filled(b"[]"),
    "frames that are a number": filled(b'{"frames":1}'),
    "objects of two kinds": filled(b'{"frames":1,"png":""}'),
    "lists of one number": filled(b"[1]"),
    "rows without numbers": filled(b"[]", b'{"frames":[', b"]}"),
    "rows of texts": filled(b'"a"', b'{"frames":[[', b"]]}"),
    "rows of not-a-number": filled(b"NaN", b'{"frames":[[', b"]]}"),
    "rows of objects": filled(b"{}", b'{"frames":[[', b"]]}", 1_000_000),
    "empty texts": filled(b'""'),
    "many texts": filled(b'"a"'),
    "texts of brackets": filled(b'"["'),
    "halves of surrogate pairs": filled(rb'"\ud800"'),
    "huge exponents": filled(b"1e999"),
    "integers of 4,000 digits": filled(b"9" * 4000),
    "an integer of two million digits": HEAD + b"9" * (MAX_BYTES - 100) + TAIL,
    "lists in a hundred lists": filled(b"[" * 100 + b"]" * 100),
    "objects in fifty objects": filled(b'{"a":' * 50 + b"1" + b"}" * 50),
    "only opening brackets": b"[" * MAX_BYTES,
    "only quotes": b'"' * MAX_BYTES,
    "only backslashes": HEAD + b'"' + b"\\" * (MAX_BYTES - 100),
    "unknown fields": members(b'"%06d":1', 190_000),
    "as many unknown fields as are read": members(b'"%06d":1', LIMITS.max_names - 2),
    "one unknown field, again and again": members(b'"":%d', 200_000),
    "unknown fields with long names": members(b'"%%d%s":1' % (FACE.encode() * 4000), 120),
    "a name of two megabytes": b'{"inputs":"a","' + b"k" * (MAX_BYTES - 100) + b'":1}',
    "unknown parameters": members(b'"%06d":1', 190_000, b'{"inputs":"a","parameters":{', b"}}"),
    "stop strings that are numbers": filled(b"1", b'"a","parameters":{"stop":[', b"]}"),
    "a model of two megabytes": b'{"inputs":"a","model":"' + b"m" * (MAX_BYTES - 100) + b'"}',
    "a session of two megabytes": b'{"inputs":"a","session":"' + b"s" * (MAX_BYTES - 100) + b'"}',
    "a list in place of the object": b"[" + b",".join([b"1"] * 1_000_000) + b"]",
    "bytes that are not UTF-8": HEAD + b'"' + b"\xff" * (MAX_BYTES - 100) + b'"' + TAIL,
    "no JSON": b"a" * MAX_BYTES,
}


@pytest.mark.parametrize("form", FORMS)
def test_refusing_a_body_finds_few_problems_in_little_memory(form: str) -> None:
    """However many values do not fit, problems and Python's objects are few."""
    raw = FORMS[form]
    assert len(raw) <= MAX_BYTES
    found = 0
    tracemalloc.start()
    try:
        parse_body(PredictRequest, raw, LIMITS)
    except RequestValidationError as error:
        found = len(error.errors())
    except (HTTPException, InvalidInput):
        pass
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found <= MAX_FOUND
    assert peak_bytes < MAX_PEAK_BYTES


@pytest.mark.parametrize("path", ["/predict", "/generate"])
@pytest.mark.parametrize("form", FORMS)
def test_the_answer_to_a_bad_request_is_short(client: TestClient, form: str, path: str) -> None:
    """Its size does not depend on what was sent, and few problems are told."""
    response = client.post(path, content=FORMS[form], headers=JSON)
    assert response.status_code in (400, 422)
    assert len(response.content) <= MAX_ANSWER_BYTES
    assert len(response.json().get("detail", [])) <= MAX_PROBLEMS


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (members(b'"%06d":1', 1000), "and 980 more"),
        (filled(b"1"), " inputs in one request, at most 128 are allowed"),
        (filled(b"{}"), "lists and objects: at most 104857 are read, and at most 128 inputs"),
        (members(b'"%06d":1', 190_000), "190001 names of fields: at most 10741 are read"),
        (b'{"imputs":"a"}', "imputs: there is no such field; did you mean 'inputs'?"),
        (b'{"inputs":"a","parameters":{},"x":1}', "x: there is no such field; there are: model, version, inputs"),
    ],
    ids=["problems", "inputs", "objects", "names", "a misspelt name", "an unknown name"],
)
def test_a_refusal_says_how_much_was_sent_and_what_is_read(client: TestClient, body: bytes, message: str) -> None:
    assert message in client.post("/predict", content=body, headers=JSON).json()["error"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"temprature": 1}, "did you mean 'temperature'?"), ({"top-k": 1}, "did you mean 'top_k'?")],
)
def test_a_misspelt_parameter_is_answered_with_the_nearest(client: TestClient, parameters: Any, message: str) -> None:
    answer = client.post("/generate", json={"inputs": "a", "parameters": parameters}).json()
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark (BOM: EF BB BF); send UTF-8 without one"),
        ('{"inputs":"a"}'.encode("utf-16"), "byte order mark of UTF-16 (FF FE)"),
        (b"\xfe\xff\0{\0}", "byte order mark of UTF-16 (FE FF)"),
        ('{"inputs":"a"}'.encode("utf-32"), "byte order mark of UTF-32 (FF FE 00 00)"),
        ('{"inputs":"a"}'.encode("utf-16-le"), "zero byte, as UTF-16 and UTF-32 do; send UTF-8"),
        ('{"inputs":"a"}'.encode("utf-32-be"), "zero byte, as UTF-16 and UTF-32 do; send UTF-8"),
        (b"{", "the body is not JSON: EOF"),
        (b"inputs=a", "the body is not JSON: expected value at line 1 column 1"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/generate", "/generate_stream"])
def test_a_byte_order_mark_and_another_encoding_are_named(
    client: TestClient, path: str, raw: bytes, named: str
) -> None:
    response = client.post(path, content=raw, headers=JSON)
    assert (response.status_code, response.json()["error_type"]) == (400, "malformed_json")
    assert named in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ["[{:" * 5000] * 120},
        {"inputs": ['"' * 8000 + "\\" * 7] * 60},
        {"inputs": {"frames": [[0.5] * 8] * 20_000}},
        {"inputs": [{"frames": [[1]] * 800}] * 128},
        {"inputs": [["word"] * 500] * 128},
        {"inputs": [{"wav": "A" * 10_000}] * 128},
    ],
    ids=["texts of signs", "texts of quotes", "frames", "lists of frames", "words", "sounds"],
)
def test_large_bodies_that_fit_are_read_whole(body: Any) -> None:
    """What is counted are lists, objects and names of fields, not what texts hold."""
    read = parse_body(PredictRequest, json.dumps(body, separators=(",", ":")).encode(), LIMITS)
    assert read.inputs == body["inputs"]


@settings(max_examples=100)
@given(
    st.lists(
        st.text(st.sampled_from('[]{}:"\\,a\n\u00e9'), max_size=30) | st.lists(st.text('[{:"\\', max_size=9)),
        min_size=1,
    )
)
def test_no_text_is_counted_as_structure(inputs: list[Any]) -> None:
    """A body of exactly as many lists and names as are allowed is read, whatever its texts hold."""
    raw = json.dumps({"inputs": inputs, "model": " " * 64}).encode()
    padded = raw + b" " * (16 * 1024)
    number = sum(isinstance(value, list) for value in inputs) + 2
    limits = BodyLimits(number * 20, len(inputs))
    assert parse_body(PredictRequest, padded, limits).inputs == inputs
    with pytest.raises(InvalidInput, match=f"holds {number} lists and objects"):
        parse_body(PredictRequest, padded, BodyLimits((number - 1) * 20, len(inputs)))
