"""A sound of more than two megabytes passes by every protocol, and nothing else that is as large."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import grpc
import httpx
import pytest

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from service.api.protocols.open_inference.grpc_service.message_size import require_raw_tensors
from service.api.validation.sound_body import require_sound
from service.errors import BodyTooLarge
from service.settings import Settings
from tests.api.streaming.speech.test_speech_protocols import MODEL, wav
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer

LIMIT = Settings().max_body_bytes
#: 25 seconds at 48 kHz, and the same in base64.
TEXT = wav(b"\0\0" * 1_200_000, 48_000)
FILE = base64.b64decode(TEXT)
TENSOR = {"name": "wav", "datatype": "BYTES", "shape": [1]}
INFER = f"/v2/models/{MODEL}/infer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"model": MODEL, "inputs": [{"audio": TEXT}]}),
        (f"/v1/models/{MODEL}:predict", {"instances": [{"b64": TEXT}]}),
        (f"/models/{MODEL}", {"inputs": TEXT}),
        (f"/models/{MODEL}", {"inputs": [f"data:audio/wav;base64,{TEXT}"]}),
        (INFER, {"inputs": [{**TENSOR, "data": [TEXT]}]}),
    ],
)
def test_a_large_sound_in_json_passes(http: httpx.Client, path: str, body: Any) -> None:
    assert len(TEXT) > len(FILE) > LIMIT
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text[:500]


def test_a_large_sound_in_raw_bytes_passes(http: httpx.Client) -> None:
    head = json.dumps({"inputs": [{**TENSOR, "parameters": {"binary_data_size": len(FILE) + 4}}]}).encode()
    content = head + len(FILE).to_bytes(4, "little") + FILE
    response = http.post(INFER, content=content, headers={"Inference-Header-Content-Length": str(len(head))})
    assert response.status_code == 200, response.text[:500]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (INFER, {"inputs": [{"name": "samples", "datatype": "FP32", "shape": [1, 500_000], "data": [0.25] * 500_000}]}),
        (f"/v1/models/{MODEL}:predict", {"instances": [{"wav": "word " * 500_000}]}),
        (f"/v1/models/{MODEL}:predict", {"instances": [TEXT[:1000]] * 3000}),
        (f"/models/{MODEL}", {"inputs": [",".join("1" * 1_200_000)]}),
        ("/v1/models/tiny-tagger:predict", {"instances": [TEXT]}),
        ("/models/tiny-tagger", {"inputs": TEXT}),
        ("/v2/models/tiny-tagger/infer", {"inputs": [{**TENSOR, "name": "text", "data": [TEXT]}]}),
    ],
)
def test_nothing_else_may_be_as_large(http: httpx.Client, path: str, body: Any) -> None:
    """Numbers, texts, many short strings; nor a sound for a model that reads none."""
    response = http.post(path, json=body)
    assert response.status_code == 413, response.text[:500]
    assert response.json()["error_type"] == "body_too_large"


@pytest.mark.parametrize("path", [f"/v1/models/{MODEL}:predict", f"/models/{MODEL}", INFER])
def test_a_body_beyond_the_limit_on_sound_is_refused_by_its_head(server: LiveServer, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(2**24 + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error_type"]) == (413, "body_too_large")
    connection.close()


def test_a_large_sound_passes_by_grpc_and_other_messages_do_not(server: LiveServer) -> None:
    def call(method: str, message: Any) -> grpc.StatusCode:
        path = f"/inference.GRPCInferenceService/{method}"
        ask = channel.unary_unary(path, request_serializer=lambda one: one.SerializeToString())
        try:
            ask(message, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            found: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
            return found
        return grpc.StatusCode.OK

    tensor = pb.ModelInferRequest.InferInputTensor(**TENSOR)
    raw = len(FILE).to_bytes(4, "little") + FILE
    typed = pb.ModelInferRequest.InferInputTensor(**TENSOR, contents=pb.InferTensorContents(bytes_contents=[FILE]))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = pb.ModelInferRequest(model_name=MODEL, inputs=[tensor], raw_input_contents=[raw])
        assert call("ModelInfer", infer) == grpc.StatusCode.OK
        refused = [
            ("ModelInfer", pb.ModelInferRequest(model_name=MODEL, inputs=[typed])),
            ("ModelInfer", pb.ModelInferRequest(model_name="tiny-tagger", inputs=[tensor], raw_input_contents=[raw])),
            ("ModelInfer", pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[b"\0" * 2**24])),
            ("ModelStatistics", pb.ModelStatisticsRequest(name="x" * 3_000_000)),
        ]
        for method, message in refused:
            assert call(method, message) == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "raw",
    [
        b'["x,",' + b"1," * 2000 + b"1]",
        b"[" + b'"",' * 2000 + b'""]',
        b"[" + b'"%b",' % (b"A" * 1023) * 5 + b'""]',
        b'{"t":"' + b',\\"' + b"a" * 5000 + b'"}',
        b'{"t":"' + b"a " * 2500 + b'"}',
        b"[" + b" " * 5000 + b"]",
    ],
)
def test_what_only_looks_like_a_file_counts(raw: bytes) -> None:
    """Quotes behind commas, within strings, strings that are too short, and nothing at all."""
    with pytest.raises(BodyTooLarge):
        require_sound(raw, 2000)


@pytest.mark.parametrize("num_before", [0, 1, 510, 511, 512, 513, 1023, 1024])
def test_a_file_is_found_wherever_it_begins(num_before: int) -> None:
    body = b'{"%b": ["%b", "%b"]}' % (b"k" * num_before, b"A" * 1024, b"A" * 3000)
    require_sound(body, 2000)
    with pytest.raises(BodyTooLarge):
        require_sound(body.replace(b"A", b"A "), 2000)


@pytest.mark.parametrize("message", [b":\0" * 2000, b"\xff" * 10**6, b"\x3a\xff", b"\x08" * 4000])
def test_a_message_of_tiny_fields_or_that_is_none_is_refused(message: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        require_raw_tensors(message + b"\xff" * 3000, 2000)
