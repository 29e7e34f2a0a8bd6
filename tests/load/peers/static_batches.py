"""Static batching of a language model: a batch starts with the waiting requests, and runs until the longest ends.

Otherwise optimized like the other peers: prompts are read as one padded batch, steps are batched, and each caller is
answered when its own text is complete. But no request joins a running batch, and no row is freed before its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import uvicorn
from fastapi import FastAPI
from graphs import PORT, LanguageModel
from pydantic import BaseModel

MAX_ROWS = 32
model = LanguageModel()
waiting: asyncio.Queue[tuple[Start, asyncio.Future[list[int]]]] = asyncio.Queue()


class Start(BaseModel):
    """Prompt ids and number of tokens."""

    ids: list[int]
    max_new_tokens: int


@asynccontextmanager
async def batches(_: FastAPI) -> AsyncIterator[None]:
    """Run batches while the server is up."""
    task = asyncio.create_task(_run_batches())
    yield
    task.cancel()


app = FastAPI(lifespan=batches)


@app.post("/generate")
async def generate(body: Start) -> dict[str, list[int]]:
    """Wait for a batch, then for this request's end in it."""
    answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
    await waiting.put((body, answer))
    return {"ids": await answer}


async def _run_batches() -> None:
    while True:
        batch = [await waiting.get()]
        while len(batch) < MAX_ROWS and not waiting.empty():
            batch.append(waiting.get_nowait())
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(_run_batch, [body for body, _ in batch], [answer for _, answer in batch], loop)


def _run_batch(bodies: list[Start], answers: list[asyncio.Future[list[int]]], loop: asyncio.AbstractEventLoop) -> None:
    tokens, state = model.read([body.ids for body in bodies])
    produced = [tokens]
    longest = max(body.max_new_tokens for body in bodies)
    for number in range(1, longest + 1):
        for row, (body, answer) in enumerate(zip(bodies, answers, strict=True)):
            if body.max_new_tokens == number:
                loop.call_soon_threadsafe(answer.set_result, np.stack(produced)[:, row].tolist())
        if number < longest:
            tokens, state = model.step(tokens, state)
            produced.append(tokens)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
