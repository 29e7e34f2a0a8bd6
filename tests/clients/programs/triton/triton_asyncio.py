"""Triton's client for asyncio. Argument: host and port. Prints what it got as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
import tritonclient.http.aio as triton
from tritonclient.utils import InferenceServerException


def texts(values: list[str]) -> triton.InferInput:
    made = triton.InferInput("text", [len(values)], "BYTES")
    made.set_data_from_numpy(np.array(values, dtype=object))
    return made


async def main() -> dict[str, object]:
    async with triton.InferenceServerClient(sys.argv[1]) as client:
        batch = [client.infer("tiny-classifier", [texts(["hello world"] * (1 + n))]) for n in range(6)]
        results = await asyncio.gather(*batch)
        gzipped = await client.infer(
            "tiny-classifier",
            [texts(["hello world"] * 100)],
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
        try:
            await client.infer("tiny-classifier", [texts([""])])
            refused = "accepted"
        except InferenceServerException as error:
            refused = error.message()
        return {
            "ready": [await client.is_server_live(), await client.is_server_ready()],
            "metadata": await client.get_model_metadata("tiny-tagger"),
            "labels": [result.as_numpy("label").tolist()[0].decode() for result in results],
            "counts": [len(result.as_numpy("score")) for result in results],
            "gzip": len(gzipped.as_numpy("label")),
            "refused": refused,
        }


print(json.dumps(asyncio.run(main())))
