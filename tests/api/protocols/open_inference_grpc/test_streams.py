"""`ModelStreamInfer` under bad input, and with clients that leave, say nothing or read nothing."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from service.api.protocols.open_inference.grpc_service.calls import NAME
from tests.api.protocols.open_inference_grpc.calls import MODEL, SERVICE, infer, number, request, tensor
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import LiveServer, held_runs, live_server


def steps(num_rows: int) -> pb.ModelInferRequest:
    """A request whose response is large, and costs little."""
    state = np.zeros((1, num_rows, 6), np.float32)
    arrays = {"token": np.full(num_rows, 4, np.int64), "hidden": state, "cell": state}
    forms = [tensor(name, "INT64" if name == "token" else "FP32", array.shape) for name, array in arrays.items()]
    raw = [array.tobytes() for array in arrays.values()]
    return pb.ModelInferRequest(model_name="tiny-generator.step", inputs=forms, raw_input_contents=raw)


class Streamed:
    """One stream: messages are sent one by one, or left unsaid."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        stub = channel.stream_stream(
            f"{SERVICE}/ModelStreamInfer", response_deserializer=pb.ModelStreamInferResponse.FromString
        )
        self.call: Any = stub(iter(self._requests.get, None), timeout=PATIENCE_S)

    def send(self, message: pb.ModelInferRequest | bytes) -> None:
        self._requests.put(message if isinstance(message, bytes) else message.SerializeToString())

    def end(self) -> list[pb.ModelStreamInferResponse]:
        """No more requests. The responses that are left."""
        self._requests.put(None)
        return list(self.call)

    @property
    def status(self) -> str:
        """How it ended; waits for that."""
        name: str = self.call.code().name
        return name


@pytest.fixture
def streamed(channel: grpc.Channel) -> Iterator[Streamed]:
    opened = Streamed(channel)
    yield opened
    opened.call.cancel()


def test_bad_messages_are_answered_by_errors_and_the_stream_goes_on(streamed: Streamed) -> None:
    """Each error has the id of its request, as far as that could be read, and the kind of error."""
    streamed.send(b"\xff\xff")
    streamed.send(request(b" ", id="blank"))
    streamed.send(request(b"hello", id="lost", model="absent"))
    streamed.send(request(b"hello", id="good"))
    *refused, good = streamed.end()
    assert [one.infer_response.id for one in refused] == ["", "blank", "lost"]
    assert refused[0].error_message.startswith("[INVALID_ARGUMENT] the request is no message")
    assert refused[2].error_message.startswith("[NOT_FOUND] there is no model 'absent'")
    assert refused[2].infer_response.parameters["error-type"].string_param == "unknown_model"
    assert (good.error_message, good.infer_response.id) == ("", "good")
    assert streamed.status == "OK"


def test_whole_answers_leave_in_the_order_of_their_requests(service: LiveServer, streamed: Streamed) -> None:
    """Although a later one is ready first."""
    tagger = service.engine("tiny-tagger")
    before = tagger.statistics.num_inputs
    with held_runs(service, MODEL) as begun:
        streamed.send(request(b"hello", id="first"))
        assert begun.wait(PATIENCE_S)
        streamed.send(request(b" ", id="second"))
        streamed.send(request(b"hello", id="third", model="tiny-tagger"))
        wait_until(lambda: tagger.statistics.num_inputs == before + 1)
    assert [one.infer_response.id for one in streamed.end()] == ["first", "second", "third"]


def test_several_prompts_are_answered_as_a_whole(streamed: Streamed) -> None:
    forms = [pb.ModelInferRequest.InferInputTensor(name="text_input", datatype="BYTES", shape=[2])]
    prompts = request(b"a", b"Hello ", model="tiny-generator", parameters={"max_new_tokens": number(3)})
    prompts.inputs[0].CopyFrom(forms[0])
    streamed.send(prompts)
    (response,) = streamed.end()
    names = [output.name for output in response.infer_response.outputs]
    assert names == ["text_output", "finish_reason", "generated_tokens"]
    assert response.infer_response.parameters["triton_final_response"].bool_param is True


def test_a_client_that_leaves_ends_the_work_of_its_stream(service: LiveServer, streamed: Streamed) -> None:
    before = service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="cancelled")
    with held_runs(service, MODEL) as begun:
        streamed.send(request(b"hello"))
        assert begun.wait(PATIENCE_S)
        assert service.metric("unroll_stream_connections", protocol=NAME) == 1
        streamed.call.cancel()
        wait_until(lambda: service.app.num_open == 0)
    wait_until(lambda: service.metric("unroll_stream_connections", protocol=NAME) == 0)
    wait_until(
        lambda: service.metric("unroll_protocol_requests_total", protocol=NAME, outcome="cancelled") == before + 1
    )


def test_streams_that_say_or_read_nothing_end(tiny_models: Path) -> None:
    """Nothing more is computed for a client that reads nothing, and nobody else is harmed."""
    settings: dict[str, Any] = {"stream_timeout_s": 1.0, "unread_timeout_s": 1.0}
    with (
        live_server(tiny_models, grpc_port=0, **settings) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}", [("grpc.http2.bdp_probe", 0)]) as channel,
    ):
        silent, deaf = Streamed(channel), Streamed(channel)
        for _ in range(100):  # their responses are larger than what HTTP/2 lets out unread
            deaf.send(steps(num_rows=128))
        assert silent.status == "DEADLINE_EXCEEDED"
        assert "the stream was silent for 1 s" in silent.call.details()
        wait_until(lambda: own.metric("unroll_protocol_requests_total", protocol=NAME, outcome="cancelled") > 0)
        wait_until(lambda: own.app.num_open == 0)
        assert infer(channel, request(b"hello")).status == "OK"
        with pytest.raises(grpc.RpcError):
            deaf.end()
        assert (deaf.status, deaf.call.details()) == ("ABORTED", "no response was read for 1 s")


def test_streams_end_when_the_service_stops_with_what_they_have_read_answered(tiny_models: Path) -> None:
    """A client that leaves its stream open holds up no stop: it is told to open another one."""
    with (
        live_server(tiny_models, grpc_port=0) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}") as channel,
    ):
        idle, asking = Streamed(channel), Streamed(channel)
        wait_until(lambda: own.metric("unroll_stream_connections", protocol=NAME) == 2)
        with held_runs(own, MODEL) as begun:
            asking.send(request(b"hello", id="in flight"))
            assert begun.wait(PATIENCE_S)
            own.stop()
            assert (idle.status, idle.call.details()) == ("UNAVAILABLE", "the service stops: open another one")
            asking.send(request(b"hello", id="too late"))
        assert next(asking.call).infer_response.id == "in flight"
        assert asking.status == "UNAVAILABLE"
