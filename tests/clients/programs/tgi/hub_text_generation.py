"""`InferenceClient(model=URL).text_generation` of huggingface_hub, sync and async. Prints what each call returned."""

import asyncio
import json
import sys

import huggingface_hub
from huggingface_hub import AsyncInferenceClient, InferenceClient

PROMPT = "Hello "


def outcome(call):
    """What a call returned, or the class and the words of its error."""
    try:
        return call()
    except Exception as error:  # the class is what is asked for
        return f"{type(error).__name__}: {error}"


async def asynchronous(base):
    client = AsyncInferenceClient(model=base)
    whole = await client.text_generation(PROMPT, max_new_tokens=6)
    pieces = [piece async for piece in await client.text_generation(PROMPT, max_new_tokens=6, stream=True)]
    return {"text": whole, "stream": "".join(pieces)}


def calls(base):
    """The calls that an address must answer alike."""
    client = InferenceClient(model=base)
    detailed = client.text_generation(PROMPT, max_new_tokens=6, details=True, decoder_input_details=True)
    *_, last = list(client.text_generation(PROMPT, max_new_tokens=6, stream=True, details=True))
    return {
        "text": client.text_generation(PROMPT, max_new_tokens=6),
        "details": [detailed.generated_text, detailed.details.finish_reason, detailed.details.generated_tokens],
        "prefill": [token.text for token in detailed.details.prefill],
        "stream": "".join(client.text_generation(PROMPT, max_new_tokens=6, stream=True)),
        "stream_details": [last.generated_text, last.details.finish_reason, last.details.input_length],
        "every": client.text_generation(
            PROMPT, max_new_tokens=6, do_sample=True, seed=3, temperature=0.8, top_k=10, top_p=0.9, typical_p=0.9,
            repetition_penalty=1.2, frequency_penalty=0.5, return_full_text=True, stop=["\n\n"], truncate=5,
            watermark=False, top_n_tokens=2,
        ),
        "async": asyncio.run(asynchronous(base)),
    }  # fmt: skip


def main(base):
    client = InferenceClient(model=base)
    streaming = InferenceClient(model=f"{base}/generate_stream")  # a stream ends with the client that began it
    best = client.text_generation(PROMPT, max_new_tokens=5, best_of=3, do_sample=True, details=True)
    regex, schema = {"type": "regex", "value": "[0-9]{4}"}, {"type": "json", "value": {"type": "string"}}
    return {
        "version": huggingface_hub.__version__,
        "base": calls(base),
        "by_name": calls(f"{base}/models/tiny-generator"),
        "generate_stream": "".join(streaming.text_generation(PROMPT, max_new_tokens=6, stream=True)),
        "generate": calls(f"{base}/generate"),
        "invocations": calls(f"{base}/invocations"),
        "num_others": len(best.details.best_of_sequences),
        "too_many": outcome(lambda: client.text_generation(PROMPT, max_new_tokens=100_000)),
        "stream_too_many": outcome(lambda: list(client.text_generation(PROMPT, max_new_tokens=100_000, stream=True))),
        "empty": outcome(lambda: client.text_generation("")),
        "watermark": outcome(lambda: client.text_generation(PROMPT, watermark=True)),
        "regex": client.text_generation(PROMPT, grammar=regex, max_new_tokens=10),
        "schema": outcome(lambda: client.text_generation(PROMPT, grammar=schema)),
        "adapter": outcome(lambda: client.text_generation(PROMPT, adapter_id="mine")),
        "best_of_stream": outcome(
            lambda: list(client.text_generation(PROMPT, best_of=2, do_sample=True, stream=True, max_new_tokens=2))
        ),
        "absent": outcome(lambda: InferenceClient(model=f"{base}/models/absent").text_generation(PROMPT)),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
