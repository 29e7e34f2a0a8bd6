"""The naive server: a pydantic body, a plain `def` endpoint, and one request at a time without batching."""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI
from graphs import PORT, LanguageModel, Tagger, Translator
from pydantic import BaseModel

app = FastAPI()
model = {"tagging": Tagger, "generation": LanguageModel, "translation": Translator}[os.environ["BENCH_TASK"]]()


class Sentence(BaseModel):
    """Word ids."""

    ids: list[int]


class Start(BaseModel):
    """Prompt ids and number of tokens."""

    ids: list[int]
    max_new_tokens: int


@app.post("/tag")
def tag(body: Sentence) -> dict[str, list[int]]:
    """One run per sentence."""
    assert isinstance(model, Tagger)
    return {"labels": model.tag([body.ids])[0]}


@app.post("/generate")
def generate(body: Start) -> dict[str, list[int]]:
    """One decoding loop per text."""
    assert isinstance(model, LanguageModel)
    token, state = model.read([body.ids])
    produced = [int(token[0])]
    while len(produced) < body.max_new_tokens:
        token, state = model.step(token, state)
        produced.append(int(token[0]))
    return {"ids": produced}


@app.post("/translate")
def translate(body: Start) -> dict[str, list[int]]:
    """One encoder run and one decoding loop per text."""
    assert isinstance(model, Translator)
    return {"ids": model.translate([body.ids], body.max_new_tokens)[0].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
