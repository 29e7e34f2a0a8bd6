"""`POST /models/{name}`: the tasks of Hugging Face endpoints, as `InferenceClient(model=".../models/intent-en")` asks.

A body has `inputs` and `parameters`, or is the sound or the picture itself. Answers have the shapes of the pipelines of
these tasks; a language model answers as on `POST /`. Parameters that would change nothing here are accepted.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

from pydantic import Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm
from service.api.examples.answers import INFO_RESPONSES, TASK_BODY, TASK_RESPONSES
from service.api.protocol import Protocol, Route
from service.api.protocols.hugging_face_features import FEATURE_ROUTES, SimilarityRequest, compare_sentences
from service.api.protocols.text_generation_inference.information import INLINE_CHARACTERS, endpoint_info
from service.api.protocols.text_generation_inference.routes import compatible_response
from service.api.protocols.token_classification import (
    ParsingPipeline,
    TokenClassificationPipeline,
    entities,
    parsed_words,
)
from service.api.schemas import EndpointInfo, GenerateRequest, RequestBody
from service.api.validation.input_forms import Inputs
from service.api.validation.json_body import BodyLimits, BodyT, parse_body
from service.api.validation.sound_body import require_sound
from service.bundle.manifest import Manifest
from service.bundle.task_options import ClassificationOptions, TranslationOptions, WaveformSpec, signal_of
from service.errors import InferenceFailed, InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.core.parameters import check_parameters
from service.tasks.core.task import Parameters
from service.tasks.inputs.json_input import JsonInput, JsonInputs, effort_of, items_of
from service.tasks.tensors.tensors import TensorsParameters
from service.tasks.transcription.segments import Segment, segments_of, timed_words

#: A member of a JSON object, which a text that holds these characters is not: its quotes are escaped.
_KEY_OF_SIMILARITY = re.compile(rb'(?<!\\)"source_sentence"\s*:')
#: What a client calls a body that is a file, or a body that it says nothing about.
_FILE_TYPES = (b"audio/", b"image/", b"application/octet-stream")
_FILE_KEYS = {"captioning": "png", "video": "clip"}
_ACTIONS = ("action", "next_action")


class GenerationFailed(InferenceFailed):
    """A language model failed, for which its clients have a word of their own."""


class TaskRequest(RequestBody):
    """One input or several. A sound or a picture is base64, as the text of `inputs`."""

    inputs: Inputs
    parameters: dict[str, Any] | None = None
    options: dict[str, Any] | None = None  # such as wait_for_model: what models are there is loaded


class TextRequest(GenerateRequest):
    """A prompt for a language model."""

    options: dict[str, Any] | None = None


class ClassificationPipeline(Parameters):
    """Parameters of text and audio classification."""

    top_k: int | None = Field(default=None, ge=1)
    function_to_apply: Literal["softmax"] | None = None


class Search(Parameters):
    """Parameters of beam search. The task checks their values."""

    num_beams: int | None = None
    max_new_tokens: int | None = None
    length_penalty: float | None = None


class CaptioningPipeline(Search):
    """Parameters of image to text."""

    generate_parameters: Search | None = None
    generate_kwargs: Search | None = None


class TranslationPipeline(CaptioningPipeline):
    """Parameters of translation. A model translates between two languages only."""

    src_lang: str | None = None
    tgt_lang: str | None = None
    clean_up_tokenization_spaces: bool | None = None
    truncation: Literal["do_not_truncate"] | None = None


class SpeechRecognitionPipeline(Parameters):
    """Parameters of automatic speech recognition; true is for segments."""

    return_timestamps: bool | Literal["word"] | None = None
    generation_parameters: dict[str, Any] | None = None
    generate_kwargs: dict[str, Any] | None = None


class _Pipeline(NamedTuple):
    """How a task is asked for and answered in the words of Hugging Face.

    Attributes:
        parameters: those that a client may send.
        ours: from those to the parameters of `POST /predict`.
        written: an answer of `POST /predict` to one input, in the shape of the pipeline.
        lists_single: whether the answer to a single input is in a list of one.
    """

    parameters: type[Parameters]
    ours: Callable[[Any, Manifest], dict[str, Any]]
    written: Callable[[dict[str, Any], Any, JsonInput], Any]
    lists_single: bool


async def answer_task(call: Call, raw: bytes) -> Response:
    """The answer in the shape that Hugging Face's clients expect of the model's task.

    | task | answer to one input |
    |---|---|
    | text classification | `[[{"label", "score"}, ...]]` |
    | audio classification | `[{"label", "score"}, ...]` |
    | token classification | `[{"entity_group", "score", "word", "start", "end"}, ...]`; `entity` if not aggregated |
    | dependency parsing | `[{"entity", "score", "index", "word", "start", "end", "head", "relation"}, ...]` |
    | translation | `[{"translation_text"}]` |
    | image to text | `[{"generated_text"}]` |
    | automatic speech recognition | `{"text"}`; with `return_timestamps` also `chunks` of `text` and `timestamp` |
    | text generation | as `POST /`, with `stream` too |
    | forecasting, named arrays | a list with the prediction of `POST /predict` |

    `inputs` with `source_sentence` and `sentences` are answered as sentence similarity, whatever the task.
    """
    name = call.path_values["name"]
    if _KEY_OF_SIMILARITY.search(raw):
        return await compare_sentences(call, _parsed(call, SimilarityRequest, raw))
    engine = _engine(call, name)
    if isinstance(engine, GenerationEngine):
        return await _generated(call, _parsed(call, TextRequest, raw), name)
    manifest = engine.opened.bundle.manifest
    request = _task_request(call, raw, manifest)
    inputs = _plain_inputs(cast(JsonInputs, request.inputs), manifest)
    call.note_texts(inputs)
    pipeline = _pipeline_of(manifest)
    parameters = check_parameters(pipeline.parameters, request.parameters or {})
    work = engine.predict(inputs, pipeline.ours(parameters, manifest), call.deadline_s, call.sharer)
    prediction = await call.unless_client_leaves(work)
    call.record.note_timings(prediction.timings)
    items, is_single = cast(Sequence[JsonInput], items_of(inputs)), isinstance(inputs, (str, dict))

    def body() -> bytes:
        pairs = zip(prediction.answers, items, strict=True)
        written = [pipeline.written(answer, parameters, item) for answer, item in pairs]
        return to_json(written if pipeline.lists_single or not is_single else written[0])

    is_large = sum(map(effort_of, items)) > INLINE_CHARACTERS
    return Response(await asyncio.to_thread(body) if is_large else body(), media_type="application/json")


async def info(call: Call, _: bytes) -> Response:
    """A model and the limits of its requests, as `GET /info` tells them of the default language model."""
    body = endpoint_info(_engine(call, call.path_values["name"]), call.settings)
    return Response(to_json(body), media_type="application/json")


def _engine(call: Call, name: str) -> PredictEngine | GenerationEngine:
    """The engine of a model, whatever its task. Raises UnknownModel, NotReady."""
    try:
        return call.predict_engine(name)
    except InvalidInput:  # the model generates text
        return call.generation_engine(name)


async def _generated(call: Call, body: GenerateRequest, name: str) -> Response:
    try:
        return await compatible_response(call, body, name)
    except InferenceFailed as error:
        raise GenerationFailed(str(error)) from error


def _parsed(call: Call, body_type: type[BodyT], raw: bytes) -> BodyT:
    require_sound(raw, call.settings.max_body_bytes)
    return parse_body(body_type, raw, BodyLimits(call.settings.max_body_bytes, call.settings.max_inputs_per_request))


def _task_request(call: Call, raw: bytes, manifest: Manifest) -> TaskRequest:
    """The request in a JSON body, or a request that is a sound or a picture itself.

    Raises:
        HTTPException: 400, not JSON; 415, a form.
        InvalidInput, RequestValidationError: the body does not fit.
    """
    media_type = call.record.headers.content_type.partition(b";")[0].strip().lower()
    if media_type.startswith(b"multipart/"):
        raise HTTPException(415, "send JSON, or the file itself as the body; forms are not read")
    is_file, key = media_type.startswith(_FILE_TYPES), _file_key(manifest)
    if not is_file and (b"json" in media_type or raw.lstrip()[:1] in (b"{", b"")):
        return _parsed(call, TaskRequest, raw)
    if key is None:
        raise InvalidInput(f'{manifest.name} reads no files: send JSON, such as {{"inputs": ...}}', ("inputs",))
    return TaskRequest.model_construct(inputs={key: base64.b64encode(raw).decode("ascii")})


def _file_key(manifest: Manifest) -> str | None:
    """The name of the object in which `POST /predict` takes files of this model; None if it reads none."""
    if manifest.task in _FILE_KEYS:
        return _FILE_KEYS[manifest.task]
    return "wav" if isinstance(signal_of(manifest.options), WaveformSpec) else None


def _plain_inputs(inputs: JsonInputs, manifest: Manifest) -> JsonInputs:
    """The inputs of `POST /predict`: base64 for a model that reads files becomes an object."""
    key = _file_key(manifest)
    if key is None or isinstance(inputs, dict):
        return inputs
    if isinstance(inputs, str):
        return _file_object(key, inputs)
    return [_file_object(key, item) if isinstance(item, str) else item for item in inputs]


def _file_object(key: str, text: str) -> JsonInput:
    """Base64, which may be a data URL, as an object."""
    return {key: text.partition(",")[2] if text.startswith("data:") else text}


def _pipeline_of(manifest: Manifest) -> _Pipeline:
    if isinstance(manifest.options, ClassificationOptions) and manifest.options.signal is not None:
        return _PIPELINES["classification"]._replace(lists_single=False)
    return _PIPELINES[manifest.task]


def _all_labels(parameters: ClassificationPipeline, manifest: Manifest) -> dict[str, Any]:
    return {"top_k": parameters.top_k or len(manifest.labels)}


def _no_parameters(_: Parameters, __: Manifest) -> dict[str, Any]:
    return {}


def _as_given(parameters: Parameters, _: Manifest) -> dict[str, Any]:
    return parameters.model_dump(exclude_none=True)


def _search(parameters: CaptioningPipeline, _: Manifest) -> dict[str, Any]:
    """The parameters of beam search, wherever they stand."""
    given: dict[str, Any] = {}
    for source in (parameters, parameters.generate_parameters, parameters.generate_kwargs):
        if source is not None:
            given |= source.model_dump(include={*Search.model_fields}, exclude_none=True)
    return given


def _between_languages(parameters: TranslationPipeline, manifest: Manifest) -> dict[str, Any]:
    """Raises InvalidInput if other languages are asked for than those of the model."""
    options = manifest.options
    assert isinstance(options, TranslationOptions), "this pipeline is that of translation"
    named = {"src_lang": options.source_language, "tgt_lang": options.target_language}
    for name, language in named.items():
        asked = getattr(parameters, name)
        if asked is not None and not _is_language(asked, language):
            pair = f"from {options.source_language} to {options.target_language}"
            raise InvalidInput(f"this model translates {pair}: send {language}, or leave it out", ("parameters", name))
    return _search(parameters, manifest)


def _is_language(asked: str, language: str) -> bool:
    """Whether `en`, `en_XX`, `en-GB`, `eng` or `eng_Latn` is the language `en`."""
    code = asked.replace("_", "-").partition("-")[0].lower()
    return code == language.lower() or (len(code) == 3 and code[:2] == language.lower())


def _label_scores(answer: dict[str, Any], _: Any, __: JsonInput) -> Any:
    return answer["top_k"]


def _translation(answer: dict[str, Any], _: Any, __: JsonInput) -> Any:
    return {"translation_text": answer["text"]}


def _caption(answer: dict[str, Any], _: Any, __: JsonInput) -> Any:
    """The text; of a clip also the action and the next one."""
    return {"generated_text": answer["text"], **{key: answer[key] for key in _ACTIONS if key in answer}}


def _with_words(parameters: SpeechRecognitionPipeline, _: Manifest) -> dict[str, Any]:
    """Those of our own may stand among the parameters of generation. The task checks them."""
    given = (parameters.generation_parameters or {}) | (parameters.generate_kwargs or {})
    return given | {"words": True} if parameters.return_timestamps else given


def _spoken(answer: dict[str, Any], parameters: SpeechRecognitionPipeline, _: JsonInput) -> Any:
    if not parameters.return_timestamps:
        return {"text": answer["text"]}
    is_by_word = parameters.return_timestamps == "word"
    words = timed_words(answer["words"])
    parts = [Segment([word]) for word in words] if is_by_word else segments_of(words)
    chunks = [{"text": part.text, "timestamp": [part.start_s, part.end_s]} for part in parts]
    return {"text": answer["text"], "chunks": chunks}


def _prediction(answer: dict[str, Any], _: Any, __: JsonInput) -> Any:
    return answer


_PIPELINES = {
    "classification": _Pipeline(ClassificationPipeline, _all_labels, _label_scores, lists_single=True),
    "tagging": _Pipeline(TokenClassificationPipeline, _no_parameters, entities, lists_single=False),
    "parsing": _Pipeline(ParsingPipeline, _no_parameters, parsed_words, lists_single=False),
    "translation": _Pipeline(TranslationPipeline, _between_languages, _translation, lists_single=True),
    "captioning": _Pipeline(CaptioningPipeline, _search, _caption, lists_single=True),
    "video": _Pipeline(CaptioningPipeline, _search, _caption, lists_single=True),
    "transcription": _Pipeline(SpeechRecognitionPipeline, _with_words, _spoken, lists_single=False),
    "forecasting": _Pipeline(Parameters, _no_parameters, _prediction, lists_single=True),
    "tensors": _Pipeline(TensorsParameters, _as_given, _prediction, lists_single=True),
}

PROTOCOL = Protocol(
    name="hugging-face-tasks",
    tag="inference",
    errors=ErrorForm(rows={GenerationFailed: (424, "generation")}, names={"max_prompt_tokens": "truncate"}),
    routes=[
        Route(
            "/models/{name}",
            answer_task,
            bytes,
            scope="any",  # the engine of the model asks for `predict` or `generate`
            takes_sound=True,
            operation_id="run_task",
            summary="Any task, for clients of Hugging Face endpoints",
            request_body=TASK_BODY,
            responses=TASK_RESPONSES,
        ),
        Route(
            "/models/{name}/info",
            info,
            bytes,
            method="GET",
            answer=EndpointInfo,
            operation_id="get_model_info",
            summary="One model and its limits",
            responses=INFO_RESPONSES,
        ),
        *FEATURE_ROUTES,
    ],
)
