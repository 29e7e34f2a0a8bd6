"""Request and response formats of each kind of target, with answers converted to a comparable form.

Peers receive and return ids, so they have no cost for tokenization or label names; the service receives words and
text, and returns the same answers as to its own clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.load.places import GENERATOR, TAGGER, TRANSLATOR
from tests.load.workload.corpus import Item, load_corpus

#: Corpus -> its task.
TASKS: Mapping[str, str] = {
    "sentences": "tagging",
    "sentences-20": "tagging",
    "sentences-mixed": "tagging",
    "prompts": "generation",
    "prompts-mixed": "generation",
    "sources": "translation",
}


@dataclass(frozen=True)
class Dialect:
    """Request and response format of one task: path, body, and conversion of item and answer to a comparable form."""

    path: str
    body: Callable[[Item], Any]
    expected: Callable[[Item], Any]
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Question:
    """One request as sent on the wire, and the correct answer."""

    payload: bytes
    expected: Any
    tokens: int


def questions(speech: str, corpus: str, port: int) -> list[Question]:
    """Return every item of a corpus as a request in a dialect to 127.0.0.1:`port`."""
    dialect = DIALECTS[speech, TASKS[corpus]]
    return [
        Question(request(dialect.path, dialect.body(item), port), dialect.expected(item), item["tokens"])
        for item in load_corpus(corpus)
    ]


def request(path: str, body: Any, port: int) -> bytes:
    """Return a complete HTTP/1.1 request that keeps its connection alive."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _labels(item: Item) -> list[int]:
    return list(item["labels"])


def _answer(item: Item) -> str:
    return str(item["answer"])


def _answer_ids(item: Item) -> list[int]:
    return list(item["answer_ids"])


def _unroll_labels(answer: Any) -> list[int]:
    return [int(token["tag"][1:]) for token in answer["predictions"][0]["tokens"]]


def _inference_protocol(item: Item) -> Any:
    """Open Inference Protocol, version 2. Ids are sent as one string: servers batch only tensors of equal shape."""
    data = [" ".join(map(str, item["ids"]))]
    return {"inputs": [{"name": "ids", "shape": [1, 1], "datatype": "BYTES", "data": data}]}


def _graph_tensors(item: Item) -> Any:
    """The same protocol with the tensors of the graph, which Triton needs."""
    ids = item["ids"]
    return {"inputs": [{"name": "words", "shape": [1, len(ids)], "datatype": "INT64", "data": [ids]}]}


def _labels_of_emissions(answer: Any) -> list[int]:
    (output,) = answer["outputs"]
    _, length, num_labels = output["shape"]
    rows = [output["data"][num_labels * row : num_labels * (row + 1)] for row in range(length)]
    return [row.index(max(row)) for row in rows]


#: (target, task) -> format.
DIALECTS: dict[tuple[str, str], Dialect] = {
    ("unroll", "tagging"): Dialect(
        "/predict", lambda item: {"model": TAGGER, "inputs": [item["words"]]}, _labels, _unroll_labels
    ),
    ("unroll", "generation"): Dialect(
        "/generate",
        lambda item: {
            "model": GENERATOR,
            "inputs": item["prompt"],
            "parameters": {"max_new_tokens": item["tokens"]},
        },
        _answer,
        lambda answer: answer["generated_text"],
    ),
    ("unroll", "translation"): Dialect(
        "/predict",
        lambda item: {
            "model": TRANSLATOR,
            "inputs": [item["text"]],
            "parameters": {"num_beams": 1, "max_new_tokens": item["tokens"]},
        },
        _answer,
        lambda answer: answer["predictions"][0]["text"],
    ),
    ("ids", "tagging"): Dialect("/tag", lambda item: {"ids": item["ids"]}, _labels, lambda answer: answer["labels"]),
    ("ids", "generation"): Dialect(
        "/generate",
        lambda item: {"ids": item["ids"], "max_new_tokens": item["tokens"]},
        _answer_ids,
        lambda answer: answer["ids"],
    ),
    ("ids", "translation"): Dialect(
        "/translate",
        lambda item: {"ids": item["ids"], "max_new_tokens": item["tokens"]},
        _answer_ids,
        lambda answer: answer["ids"],
    ),
    ("mosec", "tagging"): Dialect(
        "/inference", lambda item: {"ids": item["ids"]}, _labels, lambda answer: answer["labels"]
    ),
    ("litserve", "tagging"): Dialect(
        "/predict", lambda item: {"ids": item["ids"]}, _labels, lambda answer: answer["labels"]
    ),
    ("bentoml", "tagging"): Dialect("/tag", lambda item: {"ids": [item["ids"]]}, _labels, lambda answer: answer[0]),
    ("inference-protocol", "tagging"): Dialect(
        "/v2/models/tagger/infer",
        _inference_protocol,
        _labels,
        lambda answer: [int(label) for label in answer["outputs"][0]["data"][0].split()],
    ),
    ("graph-tensors", "tagging"): Dialect("/v2/models/tagger/infer", _graph_tensors, _labels, _labels_of_emissions),
    ("floor", "tagging"): Dialect(
        "/predict", lambda item: {"model": TAGGER, "inputs": [item["words"]]}, lambda _: None, lambda _: None
    ),
}
