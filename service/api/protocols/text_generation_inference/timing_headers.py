"""Response headers with sizes and times of a generation, by the names and in the units of text-generation-inference."""

from __future__ import annotations

from service.api.request_record import RequestRecord
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.runtime.device import CUDA_PROVIDER
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import GenerationRequest

Headers = list[tuple[bytes, bytes]]


def size_headers(engine: GenerationEngine, prompt: str) -> Headers:
    """What is known before a stream begins: the device, and the characters of the prompt."""
    device = b"gpu" if engine.opened.runner.provider == CUDA_PROVIDER else b"cpu"
    return [(b"x-compute-type", device), (b"x-compute-characters", b"%d" % len(prompt))]


def timing_headers(stream: Stream[GenerationRequest], record: RequestRecord) -> Headers:
    """Of a finished generation: whole milliseconds, but for `x-compute-time`, which is in seconds."""
    request, joined_s = stream.request, stream.started_s or stream.ended_s
    inference_s, total_s = stream.ended_s - joined_s, stream.ended_s - record.started_s
    return [
        (b"x-compute-time", b"%.6f" % total_s),
        (b"x-total-time", _ms(total_s)),
        (b"x-validation-time", _ms(stream.enqueued_s - record.started_s)),
        (b"x-queue-time", _ms(joined_s - stream.enqueued_s)),
        (b"x-inference-time", _ms(inference_s)),
        (b"x-time-per-token", _ms(inference_s / max(1, request.num_produced))),
        (b"x-prompt-tokens", b"%d" % len(request.prompt_ids)),
        (b"x-generated-tokens", b"%d" % request.num_produced),
    ]


def _ms(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)
