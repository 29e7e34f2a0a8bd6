"""Examples of the Open Inference Protocol and of KServe's first one, as the shipped models answer."""

from __future__ import annotations

from typing import Any

Responses = dict[int | str, dict[str, Any]]


def answered(value: Any) -> Responses:
    """The documentation of an answer, by an example."""
    return {200: {"content": {"application/json": {"example": value}}}}


def refused(message: str, status: int = 400) -> Responses:
    """The documentation of a route that refuses every request."""
    example = {"error": message, "error_type": "refused" if status == 400 else "not_found"}
    return {status: {"description": "Always", "content": {"application/json": {"example": example}}}}


_TEXT = {"name": "text", "datatype": "BYTES", "shape": [-1]}
_SCORES = [
    {"name": "score", "datatype": "FP32", "shape": [-1]},
    {"name": "scores", "datatype": "FP32", "shape": [-1, 2]},
]
_COUNT, _NONE = {"count": 1, "ns": 1401000}, {"count": 0, "ns": 0}
_RUNS = {"batch_size": 1, "compute_input": _NONE, "compute_infer": _COUNT, "compute_output": _NONE}

SERVER_RESPONSES = answered(
    {"name": "unroll", "version": "0.1.0", "extensions": ["binary_tensor_data", "classification", "statistics"]}
)
METADATA_RESPONSES = answered(
    {
        "name": "spam-en",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [_TEXT],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}, *_SCORES],
    }
)
CONFIG_RESPONSES = answered(
    {
        "name": "spam-en",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 128,
        "input": [{"name": "text", "data_type": "TYPE_STRING", "dims": []}],
        "output": [{"name": "label", "data_type": "TYPE_STRING", "dims": []}],
    }
)
INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON; or JSON and raw tensors after it, with its length in Inference-Header-Content-Length",
    "content": {
        "application/json": {
            "example": {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["win a prize"]}]},
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
INFER_RESPONSES = answered(
    {
        "model_name": "spam-en",
        "model_version": "1",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["spam"]},
            {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.8391]},
        ],
    }
)
STATISTICS_RESPONSES = answered(
    {
        "model_stats": [
            {
                "name": "spam-en",
                "version": "1",
                "last_inference": 1796022552000,
                "inference_count": 1,
                "execution_count": 1,
                "inference_stats": {"success": _COUNT, "compute_infer": _COUNT},
                "batch_stats": [_RUNS],
            }
        ]
    }
)
GENERATE_RESPONSES = answered(
    {"model_name": "shakespeare", "model_version": "1", "text_output": "\nWhat sh", "finish_reason": "length"}
)
_EVENT = 'data: {"model_name": "shakespeare", "text_output": "W"}\n\n'
STREAM_RESPONSES: Responses = {
    200: {
        "description": "Events",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}},
    }
}
INDEX_RESPONSES = answered([{"name": "spam-en", "version": "1", "state": "READY", "reason": ""}])
LOAD_RESPONSES = answered({})
TRACE_RESPONSES = answered(
    {"trace_level": ["OFF"], "trace_rate": "0", "trace_count": "0", "log_frequency": "0", "trace_file": ""}
)
_LEVELS = {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0}
LOG_RESPONSES = answered({"log_file": "", **_LEVELS, "log_format": "default"})
NO_REGIONS = answered([])
FORGOTTEN = answered({})
PREDICT_RESPONSES = answered({"predictions": [{"label": "spam", "score": 0.8391}]})
LIVE_RESPONSES = answered({"live": True})
READY_RESPONSES = answered({"ready": True})
MODEL_READY_RESPONSES = answered({"name": "spam-en", "ready": True})
