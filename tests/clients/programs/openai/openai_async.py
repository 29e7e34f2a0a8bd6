"""OpenAI's asynchronous client: calls at the same time, streams, and one that is left. Argument: the base URL."""

import asyncio
import json
import sys

import openai

WISHES = {"model": "tiny-generator", "prompt": "Romeo, ", "max_tokens": 20, "seed": 7}


async def main():
    async with openai.AsyncOpenAI(base_url=sys.argv[1], api_key="sk-none", max_retries=0) as client:
        calls = [client.completions.create(**WISHES | {"seed": seed}) for seed in range(8)]
        together = [answer.choices[0].text for answer in await asyncio.gather(*calls)]
        stream = await client.completions.create(stream=True, **WISHES)
        streamed = "".join([chunk.choices[0].text async for chunk in stream])
        left = await client.completions.create(stream=True, **WISHES)
        first = await anext(aiter(left))
        await left.close()
        whole = await client.completions.create(**WISHES)
        models = [model.id async for model in client.models.list()]
    return {
        "together": together,
        "streamed": streamed,
        "first": first.choices[0].text,
        "whole": whole.choices[0].text,
        "models": models,
    }


print(json.dumps(asyncio.run(main())))
