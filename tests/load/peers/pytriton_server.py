"""PyTriton: Triton's HTTP frontend and dynamic batcher, which batches only equal shapes: ids are sent as one string."""

from __future__ import annotations

from typing import Any

import numpy as np
from graphs import MAX_BATCH, PORT, WAIT_MS, Tagger
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

graph = Tagger()


def tag(requests: list[Any]) -> list[dict[str, Any]]:
    """Tag all requests of one dynamic batch; each has one row."""
    rows = [[int(word) for word in bytes(request["ids"].reshape(-1)[0]).split()] for request in requests]
    encoded = [" ".join(map(str, labels)).encode() for labels in graph.tag(rows)]
    return [{"labels": np.array([[text]], dtype=object)} for text in encoded]


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=PORT,
        grpc_address="127.0.0.1",
        grpc_port=PORT + 1,
        metrics_port=PORT + 2,
        allow_metrics=False,
        http_thread_count=4,
    )
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(WAIT_MS * 1000))
    with Triton(config=config) as triton:
        triton.bind(
            model_name="tagger",
            infer_func=tag,
            inputs=[Tensor(name="ids", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="labels", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=batcher),
        )
        triton.serve()
