"""Every call of the `text-generation` client on one service, sync, async and streamed. Prints what each returned."""

import asyncio
import json
import sys

from text_generation import AsyncClient, Client
from text_generation.types import Grammar, GrammarType

PROMPT = "Hello "
#: The client gives up after ten seconds by default.
PATIENCE_S = 60


def outcome(call):
    """What a call returned, or the class and the words of its error."""
    try:
        return call()
    except Exception as error:  # the class is what is asked for
        return f"{type(error).__name__}: {error}"


def streamed(events):
    """The texts of the tokens, and the last event."""
    events = list(events)
    last = events[-1]
    return {
        "tokens": [event.token.text for event in events],
        "text": last.generated_text,
        "finish_reason": last.details.finish_reason.value,
        "seed": last.details.seed,
    }


async def asynchronous(client):
    whole = await client.generate(PROMPT, max_new_tokens=6)
    events = [event async for event in client.generate_stream(PROMPT, max_new_tokens=6)]
    many = await asyncio.gather(*[client.generate(PROMPT, max_new_tokens=6) for _ in range(20)])
    return {
        "text": whole.generated_text,
        "stream": "".join(event.token.text for event in events),
        "end": events[-1].generated_text,
        "many": sorted({answer.generated_text for answer in many}),
    }


async def asynchronous_error(client):
    return await client.generate(PROMPT, max_new_tokens=100_000)


async def asynchronous_stream_error(client):
    return [event async for event in client.generate_stream(PROMPT, max_new_tokens=100_000)]


def main(base):
    client, other = Client(base, timeout=PATIENCE_S), AsyncClient(base, timeout=PATIENCE_S)
    named = Client(f"{base}/models/tiny-generator", timeout=PATIENCE_S)
    greedy = client.generate(PROMPT, max_new_tokens=6)
    sampled = [client.generate(PROMPT, max_new_tokens=6, do_sample=True, seed=7) for _ in range(2)]
    detailed = client.generate(PROMPT, max_new_tokens=4, decoder_input_details=True, top_n_tokens=3).details
    best = client.generate(PROMPT, max_new_tokens=5, best_of=3, temperature=1.2)
    every = {
        "repetition_penalty": 1.2, "frequency_penalty": 0.5, "return_full_text": True, "seed": 3,
        "stop_sequences": ["\n\n"], "temperature": 0.8, "top_k": 10, "top_p": 0.9, "typical_p": 0.9, "truncate": 5,
        "max_new_tokens": 6, "do_sample": True, "top_n_tokens": 2,
    }  # fmt: skip
    regex = Grammar(type=GrammarType.Regex, value="[0-9]{4}")
    schema = Grammar(type=GrammarType.Json, value={"type": "string"})
    return {
        "greedy": greedy.generated_text,
        "greedy_tokens": "".join(token.text for token in greedy.details.tokens),
        "finish_reason": greedy.details.finish_reason.value,
        "num_tokens": greedy.details.generated_tokens,
        "sampled": [[answer.generated_text, answer.details.seed] for answer in sampled],
        "prefill": [token.text for token in detailed.prefill],
        "top_tokens": [len(tokens) for tokens in detailed.top_tokens],
        "best": mean(best.details.tokens),
        "best_text": best.generated_text,
        "others": [mean(one.tokens) for one in best.details.best_of_sequences],
        "other_texts": [one.generated_text for one in best.details.best_of_sequences],
        "every": client.generate(PROMPT, **every, watermark=False).generated_text,
        "stream": streamed(client.generate_stream(PROMPT, max_new_tokens=6)),
        "stream_every": streamed(client.generate_stream(PROMPT, **every)),
        "async": asyncio.run(asynchronous(other)),
        "too_many": outcome(lambda: client.generate(PROMPT, max_new_tokens=100_000)),
        "stream_too_many": outcome(lambda: list(client.generate_stream(PROMPT, max_new_tokens=100_000))),
        "async_too_many": outcome(lambda: asyncio.run(asynchronous_error(other))),
        "async_stream_too_many": outcome(lambda: asyncio.run(asynchronous_stream_error(other))),
        "blank": outcome(lambda: client.generate(" ")),
        "too_long": outcome(lambda: client.generate("a" * 5000)),
        "watermark": outcome(lambda: client.generate(PROMPT, watermark=True)),
        "regex": client.generate(PROMPT, grammar=regex, max_new_tokens=10).generated_text,
        "schema": outcome(lambda: client.generate(PROMPT, grammar=schema)),
        "absent": outcome(lambda: Client(f"{base}/models/absent", timeout=PATIENCE_S).generate(PROMPT)),
        "no_path": outcome(lambda: Client(f"{base}/nothing", timeout=PATIENCE_S).generate(PROMPT)),
        "by_name": named.generate(PROMPT, max_new_tokens=6).generated_text,
        "stream_by_name": streamed(named.generate_stream(PROMPT, max_new_tokens=6))["text"],
    }


def mean(tokens):
    return sum(token.logprob for token in tokens) / len(tokens)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
