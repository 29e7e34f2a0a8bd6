"""Request and response bodies. The answers of the tasks are defined with the tasks."""

from __future__ import annotations

from functools import reduce
from math import isfinite
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # of `typing` from Python 3.12 on

from service.api.validation.json_body import BodyLimits
from service.tasks.catalogue import tasks_of_route
from service.tasks.core.task import Answer
from service.tasks.generation.recorded_form import GenerationAnswer, GenerationParameters

if TYPE_CHECKING:
    PredictTaskName = str
    PredictAnswer = Answer
else:
    # Made from the list of tasks, so that a new task is in the OpenAPI document without a line here.
    _PREDICT_TASKS = tasks_of_route("predict")
    PredictTaskName = Literal[tuple(_PREDICT_TASKS)]
    PredictAnswer = reduce(or_, (task.answer_type for task in _PREDICT_TASKS.values()))

#: Only for the document: the model that answers decides which of them holds, and refuses what is not among its own.
_PREDICT_PARAMETERS = {
    "anyOf": [task.parameters_type.model_json_schema() for task in tasks_of_route("predict").values()]
}

#: A text that is all white space is refused by the task, which names the input; the document says it too.
_NOT_BLANK = {"pattern": r"\S"}
Text = Annotated[str, Field(description="one text", json_schema_extra=_NOT_BLANK)]
_NUMBERS = frozenset({int, float})

# One error is enough in these lists: there may be a hundred thousand words or numbers.
Words = Annotated[
    list[Annotated[str, Field(json_schema_extra=_NOT_BLANK)]],
    Field(fail_fast=True, description="one text, already split into words", json_schema_extra={"minItems": 1}),
]
Frame = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), FailFast()]


def _as_numbers(rows: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Pass lists of plain numbers, ten times as fast as one by one; leave all else to pydantic, which says where."""
    return rows if isinstance(rows, list) and rows and _are_rows_of_numbers(rows) else handler(rows)


def _are_rows_of_numbers(rows: list[Any]) -> bool:
    """Whether all are lists of finite numbers and none is empty. It may say no to numbers near the largest."""
    try:
        return all(
            type(row) is list and row and _NUMBERS.issuperset(map(type, row)) and isfinite(sum(row)) for row in rows
        )
    except OverflowError:  # an integer larger than any float
        return False


FrameList = Annotated[
    list[Frame], Field(min_length=1, description="all of the same length"), FailFast(), WrapValidator(_as_numbers)
]


# Times of the last frames: texts such as 2024-01-31T10:00:00, or numbers.
Time = Annotated[str, Field(max_length=64)] | int | float
Times = Annotated[list[Time], Field(min_length=1, description="of the last frames, in order"), FailFast()]


class FramesObject(TypedDict):
    """A sequence of feature vectors, such as sensor readings, the earliest first.

    With the times of its frames, or of the last ones, the answer of a forecaster has times too.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    frames: FrameList
    times: NotRequired[Times]


class WavObject(TypedDict):
    """A sound file in base64: WAV (PCM, float, mu-law, A-law), FLAC, Ogg (Vorbis, Opus), MP3, AIFF or AU."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    wav: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class AudioObject(TypedDict):
    """A sound file in base64, as `wav` has it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    audio: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class PngObject(TypedDict):
    """An image: a PNG file of any mode, in base64."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    png: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


def _item_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "item_text"
    if isinstance(value, dict):
        return _object_tag(value)
    return "item_words" if isinstance(value, list) else "item_text"


def _object_tag(value: dict[str, Any]) -> str | None:
    if "frames" in value:
        return "item_frames"
    if "wav" in value:
        return "item_wav"
    if "audio" in value:
        return "item_audio"
    return "item_png" if "png" in value else None


def _inputs_tag(value: Any) -> str | None:
    return "list_of_inputs" if isinstance(value, list) else _item_tag(value)


_OBJECT_KINDS = (
    Annotated[FramesObject, Tag("item_frames")]
    | Annotated[WavObject, Tag("item_wav")]
    | Annotated[AudioObject, Tag("item_audio")]
    | Annotated[PngObject, Tag("item_png")]
)
_NO_KIND: dict[str, Any] = {
    "custom_error_type": "unknown_input_object",
    "custom_error_message": 'an object as input has "frames", "wav" or "png"; "audio" is another name of "wav"',
}
# The tags choose the branch before validation, so that a wrong item is reported once, with its own path.
Item = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Words, Tag("item_words")] | _OBJECT_KINDS,
    Discriminator(_item_tag, **_NO_KIND),
]
Items = Annotated[
    list[Item], Field(min_length=1, description="texts, lists of words, or objects with numbers, audio or images")
]


def require_few(value: Any, info: ValidationInfo) -> Any:
    """Count the inputs before any of them is looked at."""
    limits: BodyLimits | None = info.context
    if limits is not None and isinstance(value, list) and len(value) > limits.max_inputs:
        counts = {"number": len(value), "limit": limits.max_inputs}
        message = "{number} inputs in one request, at most {limit} are allowed"
        raise PydanticCustomError("too_many_inputs", message, counts)
    return value


Inputs = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Items, Tag("list_of_inputs")] | _OBJECT_KINDS,
    Discriminator(_inputs_tag, **_NO_KIND),
    BeforeValidator(require_few),
]

ModelName = Annotated[str, Field(max_length=64, description="optional if only one model can answer")]
Version = Annotated[
    str,
    Field(
        max_length=64,
        description="a version or an alias of one; default: the highest version, or by the model's traffic weights",
    ),
]

#: A state is as long as a hundred events, and the backlog of a slow client is counted in events.
MIN_STATE_EVERY_TOKENS = 8

State = Annotated[str, Field(min_length=1)]
SessionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


class RequestBody(BaseModel):
    """Base of request bodies: a misspelt field is an error, never a default."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(RequestBody):
    """Texts for a tagger, classifier or translator; numbers, audio or images for models that take those.

    A model that reads forward only (`reads_chunks` in `GET /models/{name}`) accepts one text in chunks: ask for the
    state with the first, and send it back with the next.
    """

    model: ModelName | None = None
    version: Version | None = None
    inputs: Inputs
    parameters: Annotated[dict[str, Any], WithJsonSchema(_PREDICT_PARAMETERS)] | None = Field(
        None, description="depends on the task; GET /models/{name} lists them with their limits"
    )
    state: State | None = Field(None, description="continue where the answer with this state ended")
    return_state: bool = Field(False, description="also return the state, to continue with the next chunk")


class StageTimings(BaseModel):
    """Duration of each stage in milliseconds, and the number of inputs in the batch."""

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


class PredictResponse(BaseModel):
    """One prediction per input, in order; a single input gives a list of one."""

    model: str
    version: str
    task: PredictTaskName
    predictions: list[PredictAnswer]
    timings: StageTimings
    audio_s: float | None = Field(
        None, exclude_if=lambda seconds: seconds is None, description="duration of the sounds, where inputs are sounds"
    )
    real_time_factor: float | None = Field(
        None, exclude_if=lambda factor: factor is None, description="total time over `audio_s`"
    )
    state: str | None = Field(None, exclude_if=lambda state: state is None, description="if requested")


def _false_if_null(value: Any) -> Any:
    return False if value is None else value


class GenerateRequest(RequestBody):
    """A prompt for a language model. Without `parameters` the text is sampled; with them it is greedy by default."""

    model: ModelName | None = None
    version: Version | None = None
    inputs: str = Field(description="the prompt; may be empty when continuing from a state or a session")
    parameters: GenerationParameters | None = None
    stream: Annotated[bool, BeforeValidator(_false_if_null)] = Field(
        False, description="answer with server-sent events; /generate_stream always does"
    )
    n: int = Field(1, ge=1, description="number of continuations of the prompt, with consecutive seeds")
    state: State | None = Field(None, description="continue where the text that returned this state ended")
    return_state: bool = Field(False, description="also return the state, to continue on this or another replica")
    state_every: int | None = Field(
        None,
        ge=MIN_STATE_EVERY_TOKENS,
        description="for streams: send the state and the number of tokens left after each such number of tokens",
    )
    session: SessionName | None = Field(
        None,
        description="keep the state on the server under this name, and continue from it if there is one; without an "
        "Authorization header, continue with the `session` of the answer before",
    )


class GenerateResponse(GenerationAnswer):
    """The text, and the session that keeps its state, if one was named."""

    session: str | None = Field(
        None,
        exclude_if=lambda session: session is None,
        description="the name to continue with; without an Authorization header, one that nobody can guess",
    )
    session_kept: bool = Field(
        True,
        exclude_if=bool,
        description="false if there was no room for the session: continue with `state`, which is then returned",
    )


class TokenizeRequest(RequestBody):
    """A text for the tokenizer of a language model."""

    model: ModelName | None = None
    version: Version | None = None
    inputs: str
    parameters: GenerationParameters | None = Field(None, description="accepted, and not used")
    add_special_tokens: bool = Field(True, description="accepted; the models of this service read none")


class TextToken(BaseModel):
    """A token: `inputs[start:stop]`, in code points."""

    id: int
    text: str
    start: int
    stop: int


class EndpointInfo(BaseModel):
    """A model and the limits that hold for its requests."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str = Field(description="SHA-256 of the bundle's manifest")
    model_version: str
    model_dtype: str = Field(description="precision in which the graphs run: fp32, bf16 or int8")
    model_device_type: str = Field(description="cpu or cuda")
    model_pipeline_tag: str = Field(description="the task, as the Hugging Face Hub names it")
    max_concurrent_requests: int
    max_client_batch_size: int = Field(description="inputs in one request")
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_input_length: int = Field(description="the same, by its older name")
    max_total_tokens: int
    router: str
    version: str
    sha: None = None
    docker_label: None = None


class FieldError(BaseModel):
    """One invalid field, such as `inputs.2` or `parameters.top_k`."""

    field: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every error. What does not belong to a kind of error is left out."""

    error: str = Field(description="the whole sentence")
    error_type: str = Field(description="one word for programs")
    detail: list[FieldError] | None = Field(None, description="each invalid field")
    request_id: str | None = Field(None, description="finds the line in the log")
    available: list[str] | None = Field(None, description="of an unknown model: those that there are")
    reasons: list[str] | None = Field(None, description="why the service or a model is not ready")
    reason: str | None = Field(None, description="of a refused state: why, as one word")


HealthStatus = Literal["live", "not_live", "ready", "not_ready"]


class Health(BaseModel):
    """Health status; `reasons` says why it is not live or not ready, one sentence each."""

    status: HealthStatus
    reasons: list[str] = []


class ModelVersion(BaseModel):
    """One version of a model and its state; `reason` says why it failed."""

    name: str
    version: str
    state: Literal["loading", "ready", "idle", "failed", "unloaded"]
    reason: str | None = None
    is_default: bool = Field(description="whether it answers requests without a version, or most of them")
    aliases: list[str] = Field([], description="names by which requests may ask for this version")
    traffic_share: float | None = Field(
        None, description="share of the requests without a version, where the model's traffic is split"
    )
    task: str | None = None
    description: str | None = None
    language: str | None = None
    licence: str | None = None


class ModelExample(BaseModel):
    """A recorded example of the bundle, to try."""

    inputs: Any
    parameters: dict[str, Any] = {}
    answer: Any = Field(None, description="the answer that the self-check expects")


class ModelDetails(ModelVersion):
    """Everything known about one model."""

    versions: list[str]
    options: dict[str, Any] | None = None
    limits: dict[str, int] | None = None
    labels: list[str] | None = None
    text_labels: list[str] | None = Field(None, description="labels of the whole text, if the tagger classifies it too")
    scores: list[dict[str, Any]] | None = None
    parity: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON schema of `parameters`")
    reads_chunks: bool | None = Field(None, description="whether /predict accepts a text in chunks, with states")
    embedding_size: int | None = Field(None, description="numbers of an embedding; null: the model gives none")
    precision: str | None = Field(None, description="precision in which the graphs run: fp32, bf16 or int8")
    provider: str | None = Field(None, description="the onnxruntime execution provider in use")
    digest: str | None = Field(None, description="SHA-256 of the bundle's manifest, which has the digests of its files")
    examples: list[ModelExample] | None = Field(None, description="some of the recorded examples")
    card: str | None = Field(None, description="the model card, in Markdown")


class ModelList(BaseModel):
    """All versions of all models, in any state."""

    models: list[ModelVersion]
