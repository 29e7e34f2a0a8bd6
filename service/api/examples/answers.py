"""Examples in `/docs`: requests to try, responses and errors."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

from service.api.examples.files import short_sound, small_picture, week_of_air
from service.api.schemas import ErrorResponse, Health

Responses = dict[int | str, dict[str, Any]]

PREDICT_EXAMPLES: dict[str, Example] = {
    "classify": {
        "summary": "Classify one text, with the three most likely labels",
        "value": {"model": "intent-en", "inputs": "wake me up at seven tomorrow", "parameters": {"top_k": 3}},
    },
    "tag": {
        "summary": "Tag the parts of speech of several texts",
        "value": {"model": "pos-en", "inputs": ["The cat sat down.", "Time flies!"]},
    },
    "tag words": {
        "summary": "Tag text that is already split into words",
        "value": {"model": "ner-en", "inputs": [["Ada", "Lovelace", "lived", "in", "London", "."]]},
    },
    "parse": {
        "summary": "Cut a text into sentences, and parse each into a dependency tree, as CoNLL-U too",
        "value": {
            "model": "parse-en",
            "inputs": "The cat sat on a mat. It purrs.",
            "parameters": {"conllu": True},
        },
    },
    "translate": {
        "summary": "Translate, with attention weights",
        "value": {
            "model": "translate-en-de",
            "inputs": "I have never seen such a big dog.",
            "parameters": {"num_beams": 4, "return_attention": True},
        },
    },
    "frames": {
        "summary": "Classify sensor readings, one list of numbers per time step",
        "value": {
            "model": "activity",
            "inputs": {"frames": [[1.01, -0.12, 0.09, 0.03, -0.01, 0.02], [1.02, -0.13, 0.1, 0.02, 0.0, 0.01]]},
            "parameters": {"top_k": 3},
        },
    },
    "arrays": {
        "summary": "Run a model of named arrays, such as an imported one, and return one of its outputs",
        "description": "`GET /models/{name}` lists the inputs and outputs with their shapes.",
        "value": {
            "model": "torque",
            "inputs": {"tensors": {"x": [[0.1, 0.0, 9.8], [0.2, 0.0, 9.7]]}},
            "parameters": {"outputs": ["y"]},
        },
    },
    "sound": {
        "summary": "Classify a spoken digit, a wave file in base64",
        "description": 'From a shell: `curl http://127.0.0.1:8000/predict -H "Content-Type: application/json" '
        '-d "{\\"model\\": \\"digits-en\\", \\"inputs\\": {\\"wav\\": \\"$(base64 -w0 seven.wav)\\"}}"`',
        "value": {"model": "digits-en", "inputs": {"wav": short_sound()}},
    },
    "forecast": {
        "summary": "Forecast the next day from a week of hourly readings, with quantiles",
        "description": "A frame has the model's channels in order: `GET /models/air-beijing` names them.",
        "value": {"model": "air-beijing", "inputs": {"frames": week_of_air()}},
    },
    "describe": {
        "summary": "Caption an image, a PNG file in base64, with attention weights",
        "description": 'From a shell: `curl http://127.0.0.1:8000/predict -H "Content-Type: application/json" '
        '-d "{\\"model\\": \\"captions-emoji\\", \\"inputs\\": {\\"png\\": \\"$(base64 -w0 face.png)\\"}}"`',
        "value": {
            "model": "captions-emoji",
            "inputs": {"png": small_picture()},
            "parameters": {"return_attention": True},
        },
    },
}

GENERATE_EXAMPLES: dict[str, Example] = {
    "sample": {
        "summary": "Sample with a seed: the same text every time",
        "value": {
            "inputs": "ROMEO:",
            "parameters": {"max_new_tokens": 120, "do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 7},
        },
    },
    "greedy": {
        "summary": "Greedy decoding up to the first full stop, with details of every token",
        "value": {"inputs": "To be, or not", "parameters": {"max_new_tokens": 80, "stop": ["."], "details": True}},
    },
}

_PREDICTION = {
    "model": "intent-en",
    "version": "1",
    "task": "classification",
    "predictions": [{"label": "alarm", "score": 0.98}],
    "timings": {
        "preprocess_ms": 0.05,
        "queue_ms": 0.1,
        "inference_ms": 0.7,
        "postprocess_ms": 0.04,
        "total_ms": 0.95,
        "batch_size": 1,
    },
}

_FRAMES = (
    'data:{"index":1,"token":{"id":7,"text":"A","logprob":-0.1,"special":false},"generated_text":null,"details":null}'
    "\n\n"
    'data:{"index":2,"token":{"id":9,"text":"y","logprob":-0.3,"special":false},"generated_text":"Ay","details":null}'
    "\n\n"
)
_STREAMED = {"schema": {"type": "string"}, "example": _FRAMES}


def _refusal(description: str, error: str, error_type: str, field: str = "") -> dict[str, Any]:
    body: dict[str, Any] = {"error": f"{field}: {error}" if field else error, "error_type": error_type}
    if field:
        body["detail"] = [{"field": field, "message": error}]
    body["request_id"] = "4f0c3f2e"
    return {"model": ErrorResponse, "description": description, "content": {"application/json": {"example": body}}}


_REFUSALS: Responses = {
    400: _refusal("The body is not JSON", "the body is not JSON: Expecting value at character 12", "malformed_json"),
    401: _refusal("No valid API key, where keys are needed", "the API key is unknown", "unauthenticated"),
    403: _refusal("The API key lacks a scope", "the key search may not do this", "forbidden"),
    404: _refusal("No such model", "there is no model 'intent'; there are: intent-en, pos-en", "unknown_model"),
    413: _refusal("The request body is too large", "the body is larger than 2097152 bytes", "body_too_large"),
    415: _refusal(
        "The body is not declared as JSON", "send JSON, and say so with the header", "unsupported_media_type"
    ),
    422: _refusal("A value is invalid", "the text is empty", "validation", "inputs.2"),
    429: _refusal(
        "The queue is full, or a limit of the API key is reached; Retry-After says when",
        "intent-en has 1024 inputs waiting",
        "overloaded",
    ),
    503: _refusal("Not ready: loading, failed or stopping", "the service is not ready", "not_ready"),
    504: _refusal("Deadline exceeded", "the answer was not ready before the request's deadline", "deadline_exceeded"),
}

PREDICT_RESPONSES: Responses = {
    200: {"description": "One prediction per input", "content": {"application/json": {"example": _PREDICTION}}},
    **_REFUSALS,
    500: _refusal("The model failed", "graph 'classifier' failed", "inference_failed"),
}

_GENERATION_REFUSALS: Responses = {
    **_REFUSALS,
    409: _refusal("Another request holds the session", "the session is in use by another request", "session_busy"),
    424: _refusal("The model failed", "graph 'step' failed", "generation"),
    500: _refusal("A fault of the service", "internal error; the request id finds its cause in the log", "internal"),
}

GENERATE_RESPONSES: Responses = {
    200: {
        "description": "The continuation",
        "content": {
            "application/json": {"example": {"generated_text": "\nWhat say you to the king?"}},
            "text/event-stream": _STREAMED,
        },
    },
    **_GENERATION_REFUSALS,
}

#: As the clients of text-generation-inference read it: a list of one, or events.
TGI_RESPONSES: Responses = {
    200: {
        "description": "A list with the continuation, or server-sent events if `stream` is true",
        "content": {
            "application/json": {"example": [{"generated_text": "\nWhat say you to the king?"}]},
            "text/event-stream": _STREAMED,
        },
    },
    **_GENERATION_REFUSALS,
}

TOKENIZE_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": [{"id": 33, "text": "R", "start": 0, "stop": 1}]}}},
    **_REFUSALS,
}

TASK_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON; or for a model that reads sounds or pictures, the WAV or PNG file itself",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "additionalProperties": False,
                "properties": {
                    "inputs": {"description": "as for /predict; a sound or a picture in base64, as text"},
                    "parameters": {"type": "object", "description": "those of the pipeline of the model's task"},
                    "options": {"type": "object", "description": "accepted, and not used"},
                    "stream": {"type": "boolean", "description": "for language models: answer with events"},
                },
            },
            "examples": {
                "classify": {"value": {"inputs": "wake me up at seven tomorrow", "parameters": {"top_k": 3}}},
                "tag": {"value": {"inputs": "Ada lives in London.", "parameters": {"aggregation_strategy": "simple"}}},
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}

TASK_RESPONSES: Responses = {
    200: {
        "description": "In the shape of the task; events from a language model if `stream` is true",
        "content": {
            "application/json": {"example": [[{"label": "alarm", "score": 0.98}]]},
            "text/event-stream": _STREAMED,
        },
    },
    **_GENERATION_REFUSALS,
}

INFO_RESPONSES: Responses = {number: _REFUSALS[number] for number in (404, 422, 429, 503)}

STREAM_RESPONSES: Responses = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": _STREAMED}},
    **_GENERATION_REFUSALS,
}

_MODEL = {
    "name": "pos-en",
    "version": "1",
    "state": "ready",
    "reason": None,
    "is_default": True,
    "task": "tagging",
    "description": "Parts of speech for English",
    "language": "en",
    "licence": "CC BY-SA 4.0",
}

MODELS_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": {"models": [_MODEL]}}}},
    401: _REFUSALS[401],
}

MODEL_RESPONSES: Responses = {
    200: {
        "content": {
            "application/json": {
                "example": _MODEL
                | {
                    "versions": ["1"],
                    "options": {"task": "tagging", "decoder": "softmax", "scheme": None, "max_word_characters": 24},
                    "limits": {"max_input_tokens": 512, "max_new_tokens": 256},
                    "labels": ["ADJ", "ADP", "ADV"],
                    "scores": [{"measure": "accuracy", "value": 95.1, "baseline": 86.2, "split": "dev"}],
                    "provider": "CPUExecutionProvider",
                    "card": "# pos-en",
                }
            }
        }
    },
    401: _REFUSALS[401],
    404: _REFUSALS[404],
    422: _refusal("A name or version is too long", "must have at most 64 characters", "validation", "version"),
}

LIVE_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": {"status": "live", "reasons": []}}}},
    503: {
        "model": Health,
        "description": "Not live: a restart is needed",
        "content": {"application/json": {"example": {"status": "not_live", "reasons": ["a graph has run for 75 s"]}}},
    },
}

READY_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": {"status": "ready", "reasons": []}}}},
    503: {
        "model": Health,
        "description": "Not ready",
        "content": {
            "application/json": {
                "example": {"status": "not_ready", "reasons": ["pos-en version 1 failed: tagger.onnx is missing"]}
            }
        },
    },
}

HEALTH_RESPONSES: Responses = {
    200: {"description": "Ready"},
    503: _refusal("Not ready", "pos-en version 1 is still loading", "healthcheck"),
}

_COUNTED = 'unroll_requests_total{model="intent-en",outcome="ok",task="classification"} 12.0\n'

METRICS_RESPONSES: Responses = {
    200: {
        "description": "Prometheus text format, or OpenMetrics if the client accepts it",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": _COUNTED},
            "application/openmetrics-text": {"schema": {"type": "string"}, "example": f"{_COUNTED}# EOF\n"},
        },
    },
    401: _REFUSALS[401],
    403: _REFUSALS[403],
}

_SESSION = {"name": "play-1", "model": "shakespeare", "version": "1", "state_bytes": 12040, "expires_in_s": 3541.2}

SESSIONS_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": {"sessions": [_SESSION]}}}},
    **{status: _REFUSALS[status] for status in (401, 403, 422, 429, 503)},
}

SESSION_RESPONSES: Responses = {
    200: {"content": {"application/json": {"example": {"name": "play-1", "deleted": 1}}}},
    **{status: _REFUSALS[status] for status in (401, 403, 422, 429, 503)},
    404: _refusal("No such session", "there is no session 'play-1' of yours, or no longer", "unknown_session"),
    409: _GENERATION_REFUSALS[409],
}
