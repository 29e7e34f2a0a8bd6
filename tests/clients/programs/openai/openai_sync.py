"""Every call of OpenAI's client that is served, and some that are not. Argument: the base URL, which ends with /v1."""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-none", max_retries=0)
NAME = "tiny-generator"


def made(**wishes):
    return client.completions.create(**{"model": NAME, "prompt": "Romeo, ", "max_tokens": 8, "seed": 7} | wishes)


def texts(**wishes):
    return [choice.text for choice in made(**wishes).choices]


def streamed(**wishes):
    chunks = list(made(stream=True, **wishes))
    pieces = [(choice.index, choice.text, choice.finish_reason) for chunk in chunks for choice in chunk.choices]
    return {"pieces": pieces, "usage": [chunk.usage and chunk.usage.model_dump() for chunk in chunks][-1]}


def refused(call):
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.type, error.param, error.code, bool(error.request_id)]
    return "answered"


one = made(logprobs=2, echo=True, temperature=0)
raw = client.completions.with_raw_response.create(model=NAME, prompt="x", max_tokens=1)
report = {
    "models": [model.id for model in client.models.list()],
    "model": client.models.retrieve(NAME).model_dump(include={"id", "object", "owned_by", "created", "ready", "name"}),
    "completion": one.model_dump(),
    "raw": [raw.headers["content-type"], bool(raw.request_id), raw.parse().object],
    "plain": texts(),
    "again": texts(),
    "several": texts(n=3),
    "list": texts(prompt=["Romeo, ", "Juliet, "], n=2),
    "ids": texts(prompt=[5, 6, 7], temperature=0),
    "id lists": texts(prompt=[[5, 6, 7], [8]], temperature=0),
    "best": texts(n=1, best_of=4),
    "default length": len(texts(max_tokens=openai.omit)[0]),
    "everything": texts(
        n=2,
        best_of=3,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        logit_bias={"5": -100},
        stop=["\n"],
        temperature=0.7,
        user="u",
        extra_body={"top_k": 5, "repetition_penalty": 1.1, "typical_p": 0.9, "session": None},
    ),
    "streamed": streamed(stream_options={"include_usage": True}),
    "streamed several": streamed(n=2),
    "refused": {
        "unknown model": refused(lambda: client.models.retrieve("nope")),
        "other task": refused(lambda: made(model="tiny-tagger")),
        "bad value": refused(lambda: made(temperature=3)),
        "unknown field": refused(lambda: made(extra_body={"temprature": 1})),
        "beyond the vocabulary": refused(lambda: made(prompt=[5, 100_000])),
        "too long": refused(lambda: made(max_tokens=10**6)),
        "in a stream": refused(lambda: made(stream=True, prompt=" ")),
        "chat": refused(
            lambda: client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "hi"}])
        ),
        "moderations": refused(lambda: client.moderations.create(input="hi")),
        "responses": refused(lambda: client.responses.create(model=NAME, input="hi")),
        "delete": refused(lambda: client.models.delete(NAME)),
    },
}
print(json.dumps(report))
