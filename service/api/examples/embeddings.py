"""Examples of embeddings in the OpenAPI document, in the shapes of Hugging Face's pipelines."""

from __future__ import annotations

from fastapi.openapi.models import Example

from service.api.examples.answers import TASK_RESPONSES
from service.api.protocol import Responses

FEATURE_EXAMPLES: dict[str, Example] = {
    "one": {"summary": "One text", "value": {"inputs": "book a flight to Rome", "normalize": True}},
    "several": {"summary": "Several texts", "value": {"inputs": ["book a flight", "order a pizza"]}},
}
SIMILARITY_EXAMPLES: dict[str, Example] = {
    "sentences": {
        "summary": "A sentence beside two others",
        "value": {
            "inputs": {
                "source_sentence": "book a flight",
                "sentences": ["i need a plane ticket to rome", "order a pizza"],
            }
        },
    }
}

_REFUSALS: Responses = {status: answer for status, answer in TASK_RESPONSES.items() if status != 200}
_VECTORS = [[0.0412, -0.0173, 0.0958]]
FEATURE_RESPONSES: Responses = {
    200: {"description": "A vector for each input", "content": {"application/json": {"example": _VECTORS}}},
    **_REFUSALS,
}
SIMILARITY_RESPONSES: Responses = {
    200: {"description": "A number for each sentence", "content": {"application/json": {"example": [0.83, 0.12]}}},
    **_REFUSALS,
}
