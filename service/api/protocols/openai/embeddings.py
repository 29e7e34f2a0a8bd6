"""`POST /v1/embeddings`: the hidden state of each input as one vector, of any model that gives it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call, TaskEngine
from service.api.protocols.openai.request_body import Prompt
from service.api.schemas import RequestBody, Version
from service.bundle.hidden_output import embedding_size
from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray
from service.errors import InvalidInput, UnknownModel
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.generation_engine import GenerationEngine
from service.observability.timings import Timings, in_succession
from service.tasks.core.hidden import unit_vector

#: A request may have so many times the inputs of others, 2,048 by default as at OpenAI: clients such as LangChain send
#: a thousand at once. They are taken in parts, one after the other.
MAX_PARTS = 16
#: Answers with more numbers are written in a thread, so that they delay nobody else.
_INLINE_NUMBERS = 20_000
#: An answer is held in memory as a whole, at about this many bytes for each number.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_BYTES_OF_NUMBER = {"float": 24, "base64": 6}


class EmbeddingsRequest(RequestBody):
    """One text or several; for a language model also token ids. OpenAI's clients ask for base64."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="may be left out if only one model gives embeddings"
    )
    version: Version | None = None
    input: Prompt
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="default float; base64 is that of little-endian float32"
    )
    dimensions: int | None = Field(None, ge=1, description="only the size that the model has: vectors are not cut")
    normalize: bool = Field(True, description="scale each vector to length 1; false: as the model computes it")
    user: Any = Field(None, description="ignored")

    @property
    def items(self) -> Sequence[str | list[int]]:
        """The inputs, each as text or as token ids."""
        given: Any = self.input
        return given if self.is_list else [given]

    @property
    def is_list(self) -> bool:
        """Whether the inputs came as a list, even if there is one."""
        return not isinstance(self.input, str) and not isinstance(self.input[0], int)


class EmbeddingObject(BaseModel):
    """The vector of one input: a list of numbers, or float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens read: words, subwords or characters, as the model has them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """One vector for each input, in order."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingsUsage


async def embed(call: Call, body: EmbeddingsRequest) -> Response:
    """One vector for each input: what the output layer of the model reads, averaged or of the last token.

    A classifier's is that of the whole text, a tagger's the mean over its words, a translator's the mean over the
    memory of its encoder, and a language model's that after the last token.
    """
    engine = _engine_for(call, body)
    manifest, items = engine.opened.bundle.manifest, body.items
    _check(body, engine)
    call.note_texts([item for item in items if isinstance(item, str)])
    try:
        vectors, num_tokens = await _in_parts(call, engine, items)
    except InvalidInput as error:
        raise InvalidInput(error.message, _path(error.field, body)) from error

    def written() -> bytes:
        rows = [unit_vector(vector) for vector in vectors] if body.normalize else list(vectors)
        data = [
            {"object": "embedding", "index": index, "embedding": _written(row, body.encoding_format)}
            for index, row in enumerate(rows)
        ]
        usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
        return to_json({"object": "list", "data": data, "model": manifest.name, "usage": usage})

    content = await asyncio.to_thread(written) if vectors.size > _INLINE_NUMBERS else written()
    return Response(content, media_type="application/json")


async def _in_parts(call: Call, engine: TaskEngine, items: Sequence[str | list[int]]) -> tuple[FloatArray, int]:
    """The vectors of all inputs, and how many tokens were read. Raises InvalidInput with the path `inputs.<index>`."""
    size = call.settings.max_inputs_per_request
    found: list[tuple[FloatArray, int, Timings]] = []
    for first in range(0, len(items), size):
        work = engine.embedder.embed(items[first : first + size], call.deadline_s, call.sharer)
        try:
            found.append(await call.unless_client_leaves(work))
        except InvalidInput as error:
            raise InvalidInput(error.message, _moved(error.field, first)) from error
    vectors, num_tokens, timings = zip(*found, strict=True)
    call.record.note_timings(in_succession(timings))
    return np.concatenate(vectors), sum(num_tokens)


def _moved(field: Sequence[str | int], first: int) -> Sequence[str | int]:
    """The path of an input of a part, counted from the first of all."""
    kind, *rest = field or ("",)
    if kind != "inputs" or not rest or not isinstance(rest[0], int):
        return field
    return (kind, rest[0] + first, *rest[1:])


def _written(vector: FloatArray, encoding: str | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.astype(np.float64).tolist()
    return numbers


def _check(body: EmbeddingsRequest, engine: TaskEngine) -> None:
    """Raises InvalidInput for what this model cannot do, and for an answer that would be too large."""
    manifest = engine.opened.bundle.manifest
    size = embedding_size(manifest)
    if size is None:
        return  # the engine says why
    if not _reads_texts(manifest):
        path = f"POST /models/{manifest.name}/pipeline/feature-extraction"
        message = f"{manifest.name} reads no texts, and inputs here are texts: send what it reads to {path}"
        raise InvalidInput(message, ("model",))
    if body.dimensions is not None and body.dimensions != size:
        message = f"the vectors of {manifest.name} have {size} numbers, and cannot be cut: leave it out, or send {size}"
        raise InvalidInput(message, ("dimensions",))
    if not isinstance(engine, GenerationEngine) and not isinstance(body.items[0], str):
        message = (
            f"{manifest.name} takes texts: token ids are read by language models only, as their own tokenizer numbers "
            "them (in LangChain, set check_embedding_ctx_length=False)"
        )
        raise InvalidInput(message, ("input",))
    num_bytes = len(body.items) * size * _BYTES_OF_NUMBER[body.encoding_format or "float"]
    if num_bytes > _MAX_ANSWER_BYTES:
        most = _MAX_ANSWER_BYTES // (num_bytes // len(body.items))
        raise InvalidInput(f"the answer would be too large: send at most {most} inputs at once", ("input",))


def _path(field: Sequence[str | int], body: EmbeddingsRequest) -> Sequence[str | int]:
    """The path of a field in the body, by that which the engine names."""
    if field[:1] != ("inputs",):
        return field
    return ("input", *(field[1:] if body.is_list else field[2:]))


def _engine_for(call: Call, body: EmbeddingsRequest) -> TaskEngine:
    """The model of this name; for a name that is not known, or none, the only model that gives embeddings.

    Raises:
        UnknownModel: there is no such model, and a choice of others.
        InvalidInput: none is named and there is a choice.
        NotReady: it cannot answer now.
    """
    names = sorted({entry.name for entry in call.registry.entries if _gives_embeddings(entry)})
    if body.model is None:
        if len(names) != 1:
            raise InvalidInput(f"name one of the models that give embeddings: {_listed(names)}", ("model",))
        return call.any_engine(names[0], body.version)
    try:
        return call.any_engine(body.model, body.version)
    except UnknownModel as unknown:
        if body.version is not None or len(names) != 1:
            message = f"there is no model {body.model[:64]!r}; those that give embeddings: {_listed(names)}"
            raise unknown if body.version is not None else UnknownModel(message, names) from unknown
        return call.any_engine(names[0])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _reads_texts(manifest: Manifest) -> bool:
    return any(role != "target" for role in manifest.tokenizers)  # a captioner writes texts, and reads none


def _gives_embeddings(entry: BundleEntry) -> bool:
    """Whether a model gives embeddings of texts."""
    manifest = entry.manifest
    return manifest is not None and _reads_texts(manifest) and embedding_size(manifest) is not None
