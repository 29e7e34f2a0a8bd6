"""What goes over the wire. Answers of the tasks are defined with the tasks."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag
from typing_extensions import TypedDict  # of `typing` from Python 3.12 on

from service.tasks.catalogue import tasks_of_route
from service.tasks.core.task import Answer
from service.tasks.generation.recorded_form import GenerationParameters

if TYPE_CHECKING:
    PredictTaskName = str
    PredictAnswer = Answer
else:
    # Made from the list of tasks, so that a new task is in the OpenAPI document without a line here.
    _PREDICT_TASKS = tasks_of_route("predict")
    PredictTaskName = Literal[tuple(_PREDICT_TASKS)]
    PredictAnswer = reduce(or_, (task.answer_type for task in _PREDICT_TASKS.values()))

Text = Annotated[str, Field(description="one text")]
Words = Annotated[list[str], Field(description="one text that is already cut into words")]

# The first number that is none is enough to say: there may be a hundred thousand of them.
Frame = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), FailFast()]
FrameList = Annotated[list[Frame], Field(min_length=1, description="all of the same length"), FailFast()]


class FramesObject(TypedDict):
    """A sequence of feature vectors, such as the readings of sensors, the earliest first."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    frames: FrameList


class WavObject(TypedDict):
    """Sound: a RIFF wave file (PCM or float), in base64."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    wav: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class PngObject(TypedDict):
    """A picture: a PNG file of any mode, in base64."""

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
    return "item_png" if "png" in value else None


def _inputs_tag(value: Any) -> str | None:
    return "list_of_inputs" if isinstance(value, list) else _item_tag(value)


_OBJECT_KINDS = (
    Annotated[FramesObject, Tag("item_frames")]
    | Annotated[WavObject, Tag("item_wav")]
    | Annotated[PngObject, Tag("item_png")]
)
_NO_KIND: dict[str, Any] = {
    "custom_error_type": "unknown_input_object",
    "custom_error_message": 'an object as input has "frames", "wav" or "png"',
}
# The tags choose the branch before validation, so that a wrong item is reported at its own place, and once.
Item = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Words, Tag("item_words")] | _OBJECT_KINDS,
    Discriminator(_item_tag, **_NO_KIND),
]
Items = Annotated[
    list[Item], Field(min_length=1, description="texts, lists of words, or objects with numbers or pictures")
]
Inputs = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Items, Tag("list_of_inputs")] | _OBJECT_KINDS,
    Discriminator(_inputs_tag, **_NO_KIND),
]

ModelName = Annotated[str, Field(max_length=64, description="may be left out when only one model can answer")]
Version = Annotated[str, Field(max_length=9, description="the highest version if left out")]

#: A state is as long as a hundred events; and so many of a slow reader's are kept as fit into his backlog.
MIN_STATE_EVERY_TOKENS = 8

State = Annotated[str, Field(min_length=1)]
SessionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


class RequestBody(BaseModel):
    """A misspelt field is an error, never a default."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(RequestBody):
    """Texts for a tagger, a classifier or a translator; numbers or pictures for models that read those.

    A model that reads forward only (`GET /models/{name}` says `reads_chunks`) may be sent one text in parts: ask for
    the state with the first, and send it back with the next.
    """

    model: ModelName | None = None
    version: Version | None = None
    inputs: Inputs
    parameters: dict[str, Any] | None = Field(
        None, description="depends on the task; GET /models/{name} lists them with their limits"
    )
    state: State | None = Field(None, description="go on reading where the answer with this state ended")
    return_state: bool = Field(False, description="also return the state, to go on from with the next part")


class StageTimings(BaseModel):
    """Where the time went, in milliseconds, and how many inputs shared the graph run."""

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


class PredictResponse(BaseModel):
    """One prediction per input, in order; one text alone gives a list of one."""

    model: str
    version: str
    task: PredictTaskName
    predictions: list[PredictAnswer]
    timings: StageTimings
    state: str | None = Field(None, exclude_if=lambda state: state is None, description="if it was asked for")


class GenerateRequest(RequestBody):
    """A prompt for a language model. Without `parameters` the text is sampled; with them it is not, unless asked."""

    model: ModelName | None = None
    version: Version | None = None
    inputs: str = Field(description="the prompt; may be empty where the text goes on from a state or a session")
    parameters: GenerationParameters | None = None
    n: int = Field(1, ge=1, description="continue the prompt so many times, with seeds that count up from the seed")
    state: State | None = Field(None, description="go on where the text that gave this state ended")
    return_state: bool = Field(False, description="also return the state, to go on from on this or another replica")
    state_every: int | None = Field(
        None,
        ge=MIN_STATE_EVERY_TOKENS,
        description="of a stream: send the state along with every so many tokens, and how many tokens are left then",
    )
    session: SessionName | None = Field(
        None, description="keep the state here under this name, and go on from it where there is one already"
    )


class FieldError(BaseModel):
    """One field that was refused, such as `inputs.2` or `parameters.top_k`."""

    field: str
    message: str


class ErrorResponse(BaseModel):
    """Every refusal has this shape."""

    error: str
    error_type: str
    detail: list[FieldError] | None = None
    request_id: str | None = None


HealthStatus = Literal["live", "not_live", "ready", "not_ready"]


class Health(BaseModel):
    """`reasons` says what stands in the way, one sentence each."""

    status: HealthStatus
    reasons: list[str] = []


class ModelVersion(BaseModel):
    """One version of a model and its state; `reason` says why it failed."""

    name: str
    version: str
    state: Literal["loading", "ready", "failed"]
    reason: str | None = None
    is_default: bool = Field(description="whether requests without a version go here")
    task: str | None = None
    description: str | None = None
    language: str | None = None
    licence: str | None = None


class ModelExample(BaseModel):
    """A request that the bundle proves itself with: something to try."""

    inputs: Any
    parameters: dict[str, Any] = {}


class ModelDetails(ModelVersion):
    """Everything the bundle says about itself."""

    versions: list[str]
    options: dict[str, Any] | None = None
    limits: dict[str, int] | None = None
    labels: list[str] | None = None
    text_labels: list[str] | None = Field(None, description="of a tagger that also labels the whole text")
    scores: list[dict[str, Any]] | None = None
    parity: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON schema of what `parameters` may hold")
    reads_chunks: bool | None = Field(None, description="whether /predict reads a text in parts, carrying the state")
    precision: str | None = Field(None, description="in which numbers the graphs compute: fp32, bf16 or int8")
    provider: str | None = Field(None, description="the onnxruntime execution provider in use")
    digest: str | None = Field(None, description="sha256 over the bundle's manifest, which has those of its files")
    examples: list[ModelExample] | None = Field(None, description="some of the inputs whose answers are recorded")
    card: str | None = Field(None, description="the model card, Markdown")


class ModelList(BaseModel):
    """All versions of all models, whatever their state."""

    models: list[ModelVersion]
