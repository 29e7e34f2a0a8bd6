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
    request, joined_s, ended_s = stream.request, stream.started_s or stream.ended_s, stream.ended_s
    arrived_s, enqueued_s, num_tokens = record.started_s, stream.enqueued_s, request.num_produced
    inference_s, total_s = ended_s - joined_s, ended_s - arrived_s
    return [
        (b"x-compute-time", b"%.6f" % total_s),
        (b"x-total-time", b"%d" % round(total_s * 1000)),
        (b"x-validation-time", b"%d" % round((enqueued_s - arrived_s) * 1000)),
        (b"x-queue-time", b"%d" % round((joined_s - enqueued_s) * 1000)),
        (b"x-inference-time", b"%d" % round(inference_s * 1000)),
        (b"x-time-per-token", b"%d" % round(inference_s * 1000 / max(1, num_tokens))),
        (b"x-prompt-tokens", b"%d" % len(request.prompt_ids)),
        (b"x-generated-tokens", b"%d" % num_tokens),
    ]
