"""Request and response bodies. The answers of the tasks are defined with the tasks."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.api.validation.input_forms import Inputs
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


class ArrayDetails(BaseModel):
    """A named array without its batch axis: `time` in the shape is any number of steps, the same for all arrays."""

    name: str
    dtype: str
    shape: list[int | str]
    description: str | None = Field(None, exclude_if=lambda value: value is None)
    minimum: int | float | None = Field(
        None, exclude_if=lambda value: value is None, description="the least number taken"
    )
    maximum: int | float | None = Field(
        None, exclude_if=lambda value: value is None, description="the largest number taken"
    )


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
    inputs: list[ArrayDetails] | None = Field(None, description="of a model of named arrays")
    outputs: list[ArrayDetails] | None = Field(None, description="of a model of named arrays")
    precision: str | None = Field(None, description="precision in which the graphs run: fp32, bf16 or int8")
    provider: str | None = Field(None, description="the onnxruntime execution provider in use")
    digest: str | None = Field(None, description="SHA-256 of the bundle's manifest, which has the digests of its files")
    examples: list[ModelExample] | None = Field(None, description="some of the recorded examples")
    card: str | None = Field(None, description="the model card, in Markdown")


class ModelList(BaseModel):
    """All versions of all models, in any state."""

    models: list[ModelVersion]
