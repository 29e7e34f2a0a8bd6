"""What text-generation-inference tells about a model: its name, its limits, and the tokens of a text."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json

from service.api.call import Call
from service.bundle.task_options import ClassificationOptions, TaskName, WaveformSpec
from service.distribution import installed_version
from service.inference.engines.engine import Engine
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.runtime.device import CUDA_PROVIDER
from service.settings import Settings
from service.tasks.generation.recorded_form import MAX_STOP_STRINGS

#: Answers to more text than this are written in a thread, so that a large one does not delay small ones.
INLINE_CHARACTERS = 2_000

#: The names of the Hugging Face Hub for our tasks.
_PIPELINE_TAGS: dict[TaskName, str] = {
    "tagging": "token-classification",
    "classification": "text-classification",
    "translation": "translation",
    "generation": "text-generation",
    "forecasting": "time-series-forecasting",
    "captioning": "image-to-text",
    "video": "video-text-to-text",
    "transcription": "automatic-speech-recognition",
    "parsing": "token-classification",
    "tensors": "other",
}


def endpoint_info(engine: Engine, settings: Settings) -> dict[str, Any]:
    """An `EndpointInfo`."""
    manifest, runner = engine.opened.bundle.manifest, engine.opened.runner
    limits, is_generation = manifest.limits, manifest.task == "generation"
    return {
        "model_id": manifest.name,
        "model_sha": engine.opened.bundle.digest,
        "model_version": manifest.version,
        "model_dtype": runner.precision,
        "model_device_type": "cuda" if runner.provider == CUDA_PROVIDER else "cpu",
        "model_pipeline_tag": _pipeline_tag(engine),
        "max_concurrent_requests": settings.max_open_requests,
        "max_client_batch_size": 1 if is_generation else settings.max_inputs_per_request,
        "max_best_of": settings.max_continuations if is_generation else 1,
        "max_stop_sequences": MAX_STOP_STRINGS if is_generation else 0,
        "max_input_tokens": limits.max_input_tokens,
        "max_input_length": limits.max_input_tokens,
        "max_total_tokens": limits.max_input_tokens + limits.max_new_tokens,
        "router": "unroll",
        "version": installed_version(),
        "sha": None,
        "docker_label": None,
    }


async def tokenized(call: Call, engine: GenerationEngine, text: str) -> bytes:
    """The tokens of a text, as the JSON of a list of `TextToken`. Raises InvalidInput, DeadlineExceeded."""
    tokens = await engine.tokenize(text, call.deadline_s, call.sharer)

    def written() -> bytes:
        return to_json(
            [{"id": number, "text": text[start:end], "start": start, "stop": end} for number, start, end in tokens]
        )

    return await asyncio.to_thread(written) if len(text) > INLINE_CHARACTERS else written()


def _pipeline_tag(engine: Engine) -> str:
    manifest = engine.opened.bundle.manifest
    options = manifest.options
    if isinstance(options, ClassificationOptions) and options.signal is not None:
        return "audio-classification" if isinstance(options.signal, WaveformSpec) else "time-series-classification"
    return _PIPELINE_TAGS[manifest.task]
