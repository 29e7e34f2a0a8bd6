"""Streams texts to a service with the `websockets` library, sync and asyncio, and prints what came back as JSON.

Arguments: the address of the service, a tagger that reads in chunks, one that reads whole texts, a language model.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version
from typing import Any

import httpx
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TEXT = ["The ca", "t sat on", " a mat. "]


def read(url: str, model: str) -> list[dict[str, Any]]:
    """With the default options of the library: compression is offered, pings are sent."""
    with connect(url) as socket:
        received = []
        for message in [
            {"type": "start", "model": model},
            *[{"type": "text", "text": piece} for piece in TEXT],
            {"type": "state"},
            {"type": "end", "return_state": True},
        ]:
            socket.send(json.dumps(message))
            received.append(json.loads(socket.recv()))
        return received


def generate(url: str, model: str) -> list[dict[str, Any]]:
    """Messages are sent without waiting, and answers iterated over."""
    with connect(url, compression=None, additional_headers={"X-Request-Id": "from-a-client"}) as socket:
        for message in [
            {"type": "start", "model": model, "parameters": {"max_new_tokens": 5}},
            {"type": "text", "text": "hello"},
            {"type": "end"},
        ]:
            socket.send(json.dumps(message))
        received = []
        for text in socket:
            received.append(json.loads(text))
            if received[-1]["type"] == "final":
                break
        return received


async def read_many(url: str, model: str, number: int) -> list[list[str]]:
    """Many connections at once, each with messages in parts and a ping."""

    async def one() -> list[str]:
        async with connect_async(url) as socket:
            await (await socket.ping())
            await socket.send(['{"type": "start", ', f'"model": "{model}"', "}"])
            kinds = [json.loads(await socket.recv())["type"]]
            for piece in TEXT:
                await socket.send(json.dumps({"type": "text", "text": piece}))
                kinds.append(json.loads(await socket.recv())["type"])
            return kinds

    return await asyncio.gather(*[one() for _ in range(number)])


def refused(url: str) -> dict[str, Any]:
    with connect(url) as socket:
        socket.send("no JSON")
        error = json.loads(socket.recv())
        try:
            socket.recv()
        except ConnectionClosed as closed:
            end = closed.rcvd
            return {"error": error, "code": end and end.code, "reason": end and end.reason}
    raise AssertionError("the stream goes on")


def main(address: str, tagger: str, whole: str, generator: str) -> None:
    url = address.replace("http://", "ws://") + "/stream"
    in_pieces = read(url, tagger)
    state = in_pieces[-1]["state"]
    body = {"model": tagger, "inputs": "ada", "state": state}
    print(
        json.dumps(
            {
                "version": version("websockets"),
                "pieces": in_pieces,
                "whole": read(url, whole),
                "continued": httpx.post(address + "/predict", json=body).json(),
                "generated": generate(url, generator),
                "many": asyncio.run(read_many(url, tagger, 20)),
                "refused": refused(url),
            }
        )
    )


main(*sys.argv[1:])
