"""The protocol of OpenAI: its routes and its errors."""

from __future__ import annotations

from service.api.protocol import Protocol, Route
from service.api.protocols.openai.answer import CompletionResponse
from service.api.protocols.openai.completions import complete
from service.api.protocols.openai.embeddings import MAX_PARTS, EmbeddingsRequest, EmbeddingsResponse, embed
from service.api.protocols.openai.error_form import OPENAI_ERRORS
from service.api.protocols.openai.examples import (
    COMPLETION_EXAMPLES,
    COMPLETION_RESPONSES,
    EMBEDDING_EXAMPLES,
    EMBEDDING_RESPONSES,
    MODEL_RESPONSES,
    TRANSCRIPTION_RESPONSES,
)
from service.api.protocols.openai.models import ModelObject, ModelObjects, list_models, retrieve_model
from service.api.protocols.openai.request_body import CompletionRequest
from service.api.protocols.openai.transcriptions import FORM_BODY, transcribe

PROTOCOL = Protocol(
    name="openai",
    tag="OpenAI",
    root="/v1/",
    errors=OPENAI_ERRORS,
    routes=[
        Route(
            "/v1/models",
            list_models,
            bytes,
            method="GET",
            answer=ModelObjects,
            operation_id="openai_list_models",
            summary="List the models, as OpenAI and KServe do",
            responses=MODEL_RESPONSES,
        ),
        Route(
            "/v1/models/{model}",
            retrieve_model,
            bytes,
            method="GET",
            answer=ModelObject,
            operation_id="openai_retrieve_model",
            summary="One model, as OpenAI and KServe describe it",
            responses=MODEL_RESPONSES,
        ),
        Route(
            "/v1/completions",
            complete,
            CompletionRequest,
            scope="generate",
            answer=CompletionResponse,
            operation_id="openai_create_completion",
            names_model=True,
            summary="Continue prompts, as OpenAI does",
            examples=COMPLETION_EXAMPLES,
            responses=COMPLETION_RESPONSES,
        ),
        Route(
            "/v1/embeddings",
            embed,
            EmbeddingsRequest,
            scope="any",  # the engine of the model asks for `predict` or `generate`
            answer=EmbeddingsResponse,
            parts=MAX_PARTS,
            summary="Texts as vectors, as OpenAI does",
            examples=EMBEDDING_EXAMPLES,
            responses=EMBEDDING_RESPONSES,
        ),
        Route(
            "/v1/audio/transcriptions",
            transcribe,
            bytes,
            takes_sound=True,
            request_body=FORM_BODY,
            operation_id="openai_create_transcription",
            summary="Speech to text, as OpenAI does",
            responses=TRANSCRIPTION_RESPONSES,
        ),
    ],
)
