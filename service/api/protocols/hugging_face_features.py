"""`POST /models/{name}/pipeline/feature-extraction` and `.../sentence-similarity`, as Hugging Face's router has them.

`InferenceClient(model=".../models/intent-en/pipeline/feature-extraction").feature_extraction(text)` asks here: at the
path of the model itself nothing in a request says that a vector is wanted and not a label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.examples.embeddings import (
    FEATURE_EXAMPLES,
    FEATURE_RESPONSES,
    SIMILARITY_EXAMPLES,
    SIMILARITY_RESPONSES,
)
from service.api.protocol import Route
from service.api.schemas import RequestBody
from service.api.validation.input_forms import Inputs, Text, require_few
from service.bundle.padding import FloatArray
from service.errors import InvalidInput
from service.inference.scheduling.embedder import EmbeddingInput
from service.tasks.core.hidden import unit_vector
from service.tasks.inputs.json_input import ReadInputs, items_of

#: Answers with more numbers are written in a thread, so that they delay nobody else.
_INLINE_NUMBERS = 20_000
_NOT_CUT = "texts are not cut here: leave it out, and send less text"
_NO_PROMPTS = "these models have no prompts for embeddings: leave it out"


class FeatureOptions(RequestBody):
    """Options of feature extraction; `parameters` may hold them too."""

    normalize: bool | None = Field(None, description="scale each vector to length 1; default false")
    truncate: bool | None = Field(None, description="only null or false")
    truncation_direction: str | None = Field(None, description="ignored, as nothing is cut")
    prompt_name: str | None = Field(None, description="only null")
    dimensions: int | None = Field(None, description="only null")


class FeatureRequest(FeatureOptions):
    """One input or several."""

    inputs: Inputs
    parameters: FeatureOptions | None = None
    options: dict[str, Any] | None = None


class Sentences(RequestBody):
    """A sentence, and those that it is compared with."""

    source_sentence: Text
    sentences: Annotated[list[Text], Field(min_length=1), BeforeValidator(require_few)]


class NoParameters(RequestBody):
    """There are none."""


class SimilarityRequest(RequestBody):
    """Texts to compare."""

    inputs: Sentences
    parameters: NoParameters | None = None
    options: dict[str, Any] | None = None


async def extract_features(call: Call, body: FeatureRequest) -> Response:
    """The hidden state of each input as one vector: a list of vectors, of one if there is one input."""
    normalizes = any([_checked(body, ()), body.parameters is not None and _checked(body.parameters, ("parameters",))])
    inputs = cast(ReadInputs, body.inputs)
    vectors = await _vectors(call, items_of(inputs))

    def written() -> list[Any]:
        rows = np.stack([unit_vector(vector) for vector in vectors]) if normalizes else vectors
        return list(rows.astype(np.float64).tolist())

    return await _response(written, vectors.size)


async def compare_sentences(call: Call, body: SimilarityRequest) -> Response:
    """The cosine of the angle between the vector of the source and that of each sentence, -1 to 1."""
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    try:
        vectors = await _vectors(call, texts)
    except InvalidInput as error:
        raise InvalidInput(error.message, _path_of_sentence(error.field)) from error

    def written() -> list[Any]:
        source, *others = np.stack([unit_vector(vector) for vector in vectors]).astype(np.float64)
        return list(np.clip(np.stack(others) @ source, -1.0, 1.0).tolist())

    return await _response(written, vectors.size)


async def _vectors(call: Call, items: Sequence[Any]) -> FloatArray:
    engine = call.any_engine(call.path_values["name"])
    call.note_texts([item for item in items if isinstance(item, str)])
    work = engine.embedder.embed(cast(Sequence[EmbeddingInput], items), call.deadline_s, call.sharer)
    vectors, _, timings = await call.unless_client_leaves(work)
    call.record.note_timings(timings)
    return vectors


async def _response(written: Callable[[], list[Any]], num_numbers: int) -> Response:
    numbers = await asyncio.to_thread(written) if num_numbers > _INLINE_NUMBERS else written()
    return Response(to_json(numbers), media_type="application/json")


def _checked(options: FeatureOptions, path: tuple[str, ...]) -> bool:
    """Whether the vectors are to be normalised. Raises InvalidInput for what is not supported."""
    refused = {"truncate": _NOT_CUT, "dimensions": "vectors are not cut: leave it out", "prompt_name": _NO_PROMPTS}
    for name, message in refused.items():
        if getattr(options, name):
            raise InvalidInput(message, (*path, name))
    return bool(options.normalize)


def _path_of_sentence(field: Sequence[str | int]) -> Sequence[str | int]:
    """The path of a text in the body, by its number among all."""
    if len(field) < 2 or not isinstance(field[1], int):
        return field
    number = field[1]
    return ("inputs", "sentences", number - 1, *field[2:]) if number else ("inputs", "source_sentence", *field[2:])


FEATURE_ROUTES = (
    Route(
        "/models/{name}/pipeline/feature-extraction",
        extract_features,
        FeatureRequest,
        scope="any",  # the engine of the model asks for `predict` or `generate`
        any_media_type=True,
        answer=list[list[float]],
        summary="Texts as vectors, for clients of Hugging Face endpoints",
        examples=FEATURE_EXAMPLES,
        responses=FEATURE_RESPONSES,
    ),
    Route(
        "/models/{name}/pipeline/sentence-similarity",
        compare_sentences,
        SimilarityRequest,
        scope="any",
        any_media_type=True,
        answer=list[float],
        summary="How near texts are, for clients of Hugging Face endpoints",
        examples=SIMILARITY_EXAMPLES,
        responses=SIMILARITY_RESPONSES,
    ),
)
