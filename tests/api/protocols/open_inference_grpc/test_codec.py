"""The bytes of an answer over gRPC, which are joined from parts that are kept."""

import numpy as np
import pytest

from service.api.protocols.open_inference.grpc_service.codec import response_bytes, response_message
from service.api.protocols.open_inference.grpc_service.open_inference_pb2 import ModelInferResponse
from service.api.protocols.open_inference.tensors.messages import InferResponse, Tensor, numbers, texts

ANSWERS = {
    "nothing": InferResponse("m", "1", []),
    "named": InferResponse("größe", "2", [texts("label", ["joy", ""])], "request 7"),
    "no elements": InferResponse("m", "1", [Tensor("scores", "FP32", (1, 0), [])]),
    "one byte of length": InferResponse("m", "1", [numbers("x", np.zeros((1, 31), np.float32))]),
    "two bytes of length": InferResponse("m", "1", [numbers("x", np.zeros((1, 32), np.float32))]),
    "three bytes of length": InferResponse("m", "1", [numbers("x", np.ones((4096, 1), np.float32))]),
    "several": InferResponse("m", "1", [Tensor("lengths", "INT64", (2,), [1, -1]), texts("t", ["a", "b\0c"], (2, 1))]),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_joined_parts_are_the_message_that_protobuf_writes(kind: str) -> None:
    """Whatever the names, shapes and lengths of an answer, its parts are read as the message that has them."""
    expected = response_message(ANSWERS[kind])
    for _ in range(2):  # the second time all parts are kept ones
        assert ModelInferResponse.FromString(response_bytes(ANSWERS[kind])) == expected
        assert response_bytes(ANSWERS[kind]) == expected.SerializeToString(deterministic=True)
