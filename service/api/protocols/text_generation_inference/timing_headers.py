"""Response headers with sizes and times of a generation, by the names and in the units of text-generation-inference."""

from __future__ import annotations

from service.api.request_record import RequestRecord
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.runtime.device import CUDA_PROVIDER
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import GenerationRequest

Headers = list[tuple[bytes, bytes]]

_NAMES = (
    b"x-compute-time",
    b"x-total-time",
    b"x-validation-time",
    b"x-queue-time",
    b"x-inference-time",
    b"x-time-per-token",
    b"x-prompt-tokens",
    b"x-generated-tokens",
)
#: All values at once, as one formatting of bytes costs about as much as another.
_FORM = b"%.6f" + b" %d" * (len(_NAMES) - 1)


def size_headers(engine: GenerationEngine, prompt: str) -> Headers:
    """What is known before a stream begins: the device, and the characters of the prompt."""
    device = b"gpu" if engine.opened.runner.provider == CUDA_PROVIDER else b"cpu"
    return [(b"x-compute-type", device), (b"x-compute-characters", b"%d" % len(prompt))]


def timing_headers(stream: Stream[GenerationRequest], record: RequestRecord) -> Headers:
    """Of a finished generation: whole milliseconds, but for `x-compute-time`, which is in seconds."""
    request, joined_s, ended_s = stream.request, stream.started_s or stream.ended_s, stream.ended_s
    arrived_s, enqueued_s, num_tokens = record.started_s, stream.enqueued_s, request.num_produced
    inference_s, total_s = ended_s - joined_s, ended_s - arrived_s
    times = (
        total_s,
        round(total_s * 1000),
        round((enqueued_s - arrived_s) * 1000),
        round((joined_s - enqueued_s) * 1000),
        round(inference_s * 1000),
        round(inference_s * 1000 / max(1, num_tokens)),
        len(request.prompt_ids),
        num_tokens,
    )
    return list(zip(_NAMES, (_FORM % times).split(), strict=True))
