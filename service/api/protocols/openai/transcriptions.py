"""`POST /v1/audio/transcriptions`: speech to text, as OpenAI's clients send it: a form with a sound file."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.validation.form_data import FormField, read_form
from service.bundle.manifest import Manifest
from service.errors import InvalidInput, NotReady, UnknownModel
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.transcription.segments import Segment, segments_of, timed_words
from service.tasks.transcription.subtitles import Cue, cues_of, srt_of, vtt_of

_TASK = "transcription"
#: What a form may have. The last ones are for other models: they are read, and change nothing here.
_FIELDS = ("file", "model", "language", "response_format", "timestamp_granularities", "temperature", "stream")
_IGNORED = ("prompt", "chunking_strategy", "include", "user")
_JSON_TYPE, _TEXT_TYPE, _EVENT_TYPE = "application/json", "text/plain; charset=utf-8", "text/event-stream"

#: The body in the OpenAPI document.
FORM_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "a sound file"},
                    "model": {"type": "string", "description": "may be left out if only one model transcribes"},
                    "language": {"type": "string", "description": "only the language of the model"},
                    "response_format": {
                        "type": "string",
                        "enum": ["json", "text", "srt", "verbose_json", "vtt"],
                        "default": "json",
                    },
                    "timestamp_granularities[]": {
                        "type": "array",
                        "items": {"type": "string", "enum": ["word", "segment"]},
                        "description": "of verbose_json",
                    },
                    "temperature": {"type": "number", "description": "only 0: nothing is drawn"},
                    "stream": {"type": "boolean", "default": False, "description": "as server-sent events, of json"},
                },
            }
        }
    },
}


async def transcribe(call: Call, raw: bytes) -> Response:
    """The text of a sound file, as JSON, as plain text, or as subtitles (SRT, WebVTT).

    `verbose_json` has segments with their times, and words if `timestamp_granularities[]` asks for them.
    """
    form = _fields(read_form(call.record.headers.content_type.decode("latin-1"), raw))
    engine = _engine_for(call, form["model"][0].text if "model" in form else None)
    manifest = engine.opened.bundle.manifest
    _check(form, manifest)
    response_format = form["response_format"][0].text if "response_format" in form else "json"
    write = _FORMATS.get(response_format)
    if write is None:
        raise InvalidInput(f"must be one of {', '.join(_FORMATS)}", ("response_format",))
    inputs = {"wav": base64.b64encode(form["file"][0].value).decode("ascii")}
    try:
        work = engine.predict(inputs, {"words": True}, call.deadline_s, call.sharer)
        prediction = await call.unless_client_leaves(work)
    except InvalidInput as error:
        field = ("file",) if error.field[:1] == ("inputs",) else error.field
        raise InvalidInput(error.message, field) from error
    call.record.note_timings(prediction.timings)
    granularities = [field.text for field in form.get("timestamp_granularities", ())]
    if _is_set(form, "stream"):
        return Response(_events(prediction.answers[0]), media_type=_EVENT_TYPE)
    content = write(prediction.answers[0], manifest, granularities)
    is_json = isinstance(content, bytes)
    return Response(content, media_type=_JSON_TYPE if is_json else _TEXT_TYPE)


def _fields(form: Sequence[FormField]) -> dict[str, list[FormField]]:
    """Fields by name; those of a list may have brackets behind the name."""
    found: dict[str, list[FormField]] = {}
    for field in form:
        found.setdefault(field.name.removesuffix("[]"), []).append(field)
    unknown = next((name for name in found if name not in (*_FIELDS, *_IGNORED)), None)
    if unknown is not None:
        raise InvalidInput(f"there is no such field; there are: {', '.join(_FIELDS)}", (unknown[:64],))
    if len(found.get("file", ())) != 1:
        raise InvalidInput("send one sound file in the field file", ("file",))
    return found


def _check(form: Mapping[str, Sequence[FormField]], manifest: Manifest) -> None:
    """Raises InvalidInput for what this model does not do."""
    for field in form.get("language", ()):
        if field.text and manifest.language and field.text.lower() != manifest.language.lower():
            message = f"{manifest.name} hears {manifest.language}: send that, or leave it out"
            raise InvalidInput(message, ("language",))
    formats = {field.text for field in form.get("response_format", ())}
    if _is_set(form, "stream") and not formats <= {"json"}:
        raise InvalidInput("events carry json: leave out stream or response_format", ("response_format",))
    for field in form.get("temperature", ()):
        if field.text.strip() not in ("0", "0.0", ""):
            raise InvalidInput("nothing is drawn: leave it out, or send 0", ("temperature",))
    for field in form.get("timestamp_granularities", ()):
        if field.text not in ("word", "segment"):
            raise InvalidInput("must be word or segment", ("timestamp_granularities",))


def _is_set(form: Mapping[str, Sequence[FormField]], name: str) -> bool:
    """The value of a yes or no. Raises InvalidInput."""
    texts = {field.text.lower() for field in form.get(name, ())}
    if not texts <= {"true", "1", "false", "0", ""}:
        raise InvalidInput("must be true or false", (name,))
    return bool(texts & {"true", "1"})


def _engine_for(call: Call, name: str | None) -> PredictEngine:
    """The model of this name; for a name that is not known, or none, the only one that transcribes.

    Raises:
        UnknownModel: there is no such model, and a choice of others.
        InvalidInput: it does another task, or none is named and there is a choice.
        NotReady: it has failed, or none that transcribes answers.
    """
    entries = call.registry.entries
    names = sorted({entry.name for entry in entries if entry.manifest and entry.manifest.task == _TASK})
    listed = ", ".join(names) or "none"
    tasks = {entry.task for entry in entries if entry.name == name}
    if tasks & {_TASK, None}:  # of a task that is not known it is told why that is so
        return call.predict_engine(name)
    if tasks:
        raise InvalidInput(f"{name} does not transcribe; models that do: {listed}", ("model",))
    if len(names) == 1:
        return call.predict_engine(names[0])
    if not names and (absent := [entry for entry in entries if entry.obstacle and entry.task in (_TASK, None)]):
        reasons = [entry.obstacle for entry in absent]
        raise NotReady("no model that transcribes is ready", reasons, absent[0].cause)
    if name is None:
        raise InvalidInput(f"name one of the models that transcribe: {listed}", ("model",))
    raise UnknownModel(f"there is no model {name[:64]!r}; those that transcribe: {listed}", names)


def _json(answer: Mapping[str, Any], _: Manifest, __: Sequence[str]) -> bytes:
    return to_json({"text": answer["text"], "usage": _usage(answer)})


def _usage(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(answer["end_s"] or 0)}


def _events(answer: Mapping[str, Any]) -> bytes:
    """The text as the events that clients read which ask for a stream: a file is answered at once, so by one delta."""
    events = [
        {"type": "transcript.text.delta", "delta": answer["text"]},
        {"type": "transcript.text.done", "text": answer["text"], "usage": _usage(answer)},
    ]
    return b"".join([b"data: %s\n\n" % to_json(event) for event in events])


def _text(answer: Mapping[str, Any], _: Manifest, __: Sequence[str]) -> str:
    return f"{answer['text']}\n"


def _verbose(answer: Mapping[str, Any], manifest: Manifest, granularities: Sequence[str]) -> bytes:
    body = {
        "task": "transcribe",
        "language": manifest.language,
        "duration": answer["end_s"] or 0.0,
        "text": answer["text"],
        "usage": _usage(answer),
    }
    if "word" in granularities:
        body["words"] = [
            {"word": word["word"], "start": word["start_s"] or 0.0, "end": word["end_s"] or 0.0}
            for word in answer["words"]
        ]
    if not granularities or "segment" in granularities:
        body["segments"] = [_segment(*pair) for pair in enumerate(segments_of(timed_words(answer["words"])))]
    return to_json(body)


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """A segment with the fields that clients expect; those that have no meaning here are neutral."""
    log_probs = [math.log(max(word.confidence, 1e-9)) for word in segment.words]
    return {
        "id": number,
        "seek": 0,
        "start": segment.start_s or 0.0,
        "end": segment.end_s or 0.0,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": sum(log_probs) / len(log_probs),
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _srt(answer: Mapping[str, Any], _: Manifest, __: Sequence[str]) -> str:
    return srt_of(_cues(answer))


def _vtt(answer: Mapping[str, Any], _: Manifest, __: Sequence[str]) -> str:
    return vtt_of(_cues(answer))


def _cues(answer: Mapping[str, Any]) -> list[Cue]:
    return cues_of(segments_of(timed_words(answer["words"])))


_FORMATS: Mapping[str, Callable[[Mapping[str, Any], Manifest, Sequence[str]], str | bytes]] = {
    "json": _json,
    "text": _text,
    "srt": _srt,
    "verbose_json": _verbose,
    "vtt": _vtt,
}
