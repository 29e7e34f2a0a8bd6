"""The workload of a load test: requests made of a model's own examples, or of the inputs in a file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from service.cli.bench.load.address import Address
from service.cli.bench.load.connection import Reply, fetch
from service.cli.bench.load.tally import OK
from service.errors import UnrollError

#: Different texts, so that no cache answers them.
NUM_TEXTS = 512
#: Spread of the logarithm of their lengths, like that of sentences: a few are several times as long as most.
_SIGMA = 0.6
_LONGEST = 4
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_UNAUTHORIZED = 401


@dataclass(frozen=True)
class Options:
    """What the user wants of every request."""

    parameters: Mapping[str, Any]
    max_new_tokens: int = 64
    streams: bool = True
    file: Path | None = None


@dataclass(frozen=True)
class Workload:
    """The requests for one model. `about` says what they are; `streams` that the answers are events."""

    model: str
    version: str
    task: str
    path: str
    bodies: Sequence[Mapping[str, Any]]
    streams: bool
    about: str

    def payloads(self, address: Address) -> list[bytes]:
        """The requests on the wire."""
        return [address.post(self.path, body) for body in self.bodies]


async def names_of_models(address: Address) -> list[str]:
    """The models that answer. Raises UnrollError if there is none."""
    listed = (await _object_at(address, "/models")).get("models")
    if not isinstance(listed, list):
        raise UnrollError(f"{address.url} does not list models; is it an Unroll server?")
    ready = dict.fromkeys(str(entry["name"]) for entry in listed if entry.get("state") == "ready")
    return list(ready) or _none_ready(address, listed)


def _none_ready(address: Address, listed: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = ", ".join(f"{entry['name']} is {entry.get('state')}" for entry in listed)
    raise UnrollError(f"{address.url} has no model that answers{': ' if reasons else ''}{reasons}")


async def workload_for(address: Address, model: str, version: str | None, options: Options) -> Workload:
    """The workload for one model, tried once.

    Raises:
        UnrollError: there is no such model, it has no examples, or it refuses the first request.
    """
    query = f"?version={quote(version)}" if version else ""
    details = await _object_at(address, f"/models/{quote(model, safe='')}{query}")
    made = make_workload(details, version, options)
    reply = await fetch(address, made.payloads(address)[0])
    if reply.status != OK:
        raise UnrollError(f"{address.url} refuses the requests for {model}: {_message(reply)}")
    return made


def make_workload(details: Mapping[str, Any], version: str | None, options: Options) -> Workload:
    """From the answer of `GET /models/NAME`. `version` is asked for in the requests, if given."""
    name, task = str(details["name"]), str(details["task"])
    examples = details.get("examples") or []
    if options.file is not None:
        given = read_inputs(options.file)
        about = f"{len(given):,} inputs of {options.file.name}"
    elif not examples:
        raise UnrollError(f"{name} has no examples to make requests of: give inputs with --file")
    else:
        given, about = _inputs_like([example["inputs"] for example in examples])
    generates = task == "generation"
    bodies = []
    for value in given:
        fields = dict(value) if isinstance(value, dict) and "inputs" in value else {"inputs": value}
        parameters = {**_length(details, options, generates), **options.parameters, **fields.pop("parameters", {})}
        inputs = fields.pop("inputs")
        # A list of words is one input, which a list around it says.
        inputs = inputs if generates or not isinstance(inputs, list) or _is_batch(inputs) else [inputs]
        bodies.append(
            {
                "model": name,
                **({"version": version} if version else {}),
                "inputs": inputs,
                **({"parameters": parameters} if parameters else {}),
                **fields,
            }
        )
    path = ("/generate_stream" if options.streams else "/generate") if generates else "/predict"
    return Workload(name, str(details["version"]), task, path, bodies, generates and options.streams, about)


def _length(details: Mapping[str, Any], options: Options, generates: bool) -> dict[str, int]:
    if not generates:
        return {}
    limit = (details.get("limits") or {}).get("max_new_tokens") or options.max_new_tokens
    return {"max_new_tokens": min(options.max_new_tokens, limit)}


def _is_batch(inputs: Sequence[Any]) -> bool:
    """Whether a list is several inputs rather than the words of one."""
    return bool(inputs) and not all(isinstance(value, str) for value in inputs)


def _inputs_like(examples: Sequence[Any]) -> tuple[list[Any], str]:
    """Texts are mixed anew, with other lengths; anything else is taken as it is."""
    texts = [value for value in examples if isinstance(value, str)]
    if texts:
        rows = _mixed([text.split(" ") for text in texts])
        return [" ".join(row) for row in rows], _lengths_of(rows, "texts")
    if all(isinstance(value, list) and all(isinstance(word, str) for word in value) for value in examples):
        rows = _mixed(examples)
        return rows, _lengths_of(rows, "lists")
    return list(examples), f"the model's {len(examples):,} examples"


def _mixed(examples: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows of words drawn from the examples; log-normal lengths around theirs, the same in every run."""
    rng = random.Random(1)
    words = [word for row in examples for word in row if word]
    mean, longest = sum(map(len, examples)) / len(examples), _LONGEST * max(map(len, examples))
    drawn = (rng.lognormvariate(math.log(mean) - _SIGMA**2 / 2, _SIGMA) for _ in range(NUM_TEXTS))
    return [rng.choices(words, k=min(longest, max(1, round(length)))) for length in drawn]


def _lengths_of(rows: Sequence[Sequence[str]], what: str) -> str:
    lengths = [len(row) for row in rows]
    return f"{len(rows)} {what} of {min(lengths)} to {max(lengths)} words, from the words of the model's examples"


def read_inputs(file: Path) -> list[Any]:
    """The inputs in a file: JSON values, one a line, in .jsonl, .ndjson and .json; lines of text in every other.

    Raises:
        UnrollError: a line is no JSON, the file is no text in UTF-8, or it is empty.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UnrollError(f"{file}: no text in UTF-8: {error.reason}") from error
    is_json = file.suffix.lower() in _JSON_SUFFIXES
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line) if is_json else line)
        except ValueError as error:
            raise UnrollError(f"{file}, line {number}: no JSON value: {error}") from error
    if not found:
        raise UnrollError(f"{file} has no inputs: write one a line")
    return found


async def _object_at(address: Address, path: str) -> dict[str, Any]:
    reply = await fetch(address, address.get(path))
    if reply.status != OK:
        raise UnrollError(f"{address.url}{path}: {_message(reply)}")
    try:
        found = json.loads(reply.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnrollError(f"{address.url}{path} did not answer with a JSON object; is it an Unroll server?")
    return found


def _message(reply: Reply) -> str:
    """What a server said; a hint where it wants a key, or is none of ours."""
    try:
        said = str(json.loads(reply.body)["error"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {reply.status}; is it an Unroll server?"
    hint = "; the key is read from UNROLL_API_KEY" if reply.status == _UNAUTHORIZED else ""
    return f"{reply.status} {said}{hint}"
