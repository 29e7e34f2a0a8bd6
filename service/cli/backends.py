"""Backends of the command line: bundles opened in this process, or a running server, behind one interface."""

from __future__ import annotations

import itertools
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote

from service.cli.http_client import connect, told_plainly
from service.cli.prediction.answers import RefusedInput
from service.cli.prediction.arguments import ModelFacts
from service.errors import BundleError, InvalidInput, UnrollError

if TYPE_CHECKING:
    from service.client import Client, GenerationParameters
    from service.inference.engines.engine import OpenBundle
    from service.tasks.inputs.json_input import JsonInput

_TIMEOUT_S = 120.0


class Source(Protocol):
    """Gives answers in the schema of the HTTP API. All methods raise UnrollError."""

    def models(self) -> list[dict[str, Any]]: ...

    def remarks(self) -> list[str]:
        """What a list of the models leaves out, one sentence each."""
        ...

    def describe(self, model: str | None, version: str | None) -> ModelFacts:
        """What reading a data file needs to know of the model."""
        ...

    def predict(
        self, model: str | None, version: str | None, inputs: Sequence[JsonInput], parameters: Mapping[str, Any]
    ) -> dict[str, Any]: ...

    def generate(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]: ...

    def stream(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> Iterator[str]: ...


def open_source(url: str | None, models_dir: Path) -> Source:
    """A server if a URL is given, otherwise the bundles in `models_dir`."""
    return Server(url) if url else Folder(models_dir)


class Folder:
    """Bundles on disk; a request opens the one it needs, and the next one for the same finds it open."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._opened: dict[Path, OpenBundle] = {}

    def _open(self, path: Path) -> OpenBundle:
        from service.inference.engines.open_bundle import open_bundle

        if path not in self._opened:
            self._opened[path] = open_bundle(path, link_roots=self._link_roots)
        return self._opened[path]

    @cached_property
    def _link_roots(self) -> list[Path]:
        """Where links from bundles may lead, as in the service."""
        from service.settings import folders_of

        return [self._models_dir, *folders_of(os.environ.get("UNROLL_LINK_ROOTS", ""))]

    def models(self) -> list[dict[str, Any]]:
        """Every bundle. Files are verified, graphs are not opened."""
        from service.bundle.models_folder import find_bundles

        return [_describe(path, self._link_roots) for path in find_bundles(self._models_dir)]

    def remarks(self) -> list[str]:
        """Folders that are no bundles, versions that were set aside, bundles without a digest."""
        from service.bundle.models_folder import list_models_folder
        from service.bundle.versions import remarks_on

        listed = list_models_folder(self._models_dir)
        strays = [str(stray) for stray in listed.strays if not stray.is_hidden]
        return [*strays, *remarks_on(self._models_dir, listed.bundles)]

    def describe(self, model: str | None, version: str | None) -> ModelFacts:
        """From the manifest."""
        from service.bundle.load import read_manifest
        from service.tasks.tensors.model_form import described

        manifest = read_manifest(self._find(model, version, generates=False))
        arrays = described(manifest) if manifest.task == "tensors" else {}
        return facts_of(manifest.model_dump(mode="json") | arrays)

    def predict(
        self, model: str | None, version: str | None, inputs: Sequence[JsonInput], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One answer per input, in order. Raises RefusedInput where the model refuses one."""
        from service.inference.engines.open_bundle import predict_one

        opened = self._open(self._find(model, version, generates=False))
        try:
            answers = [predict_one(opened, value, parameters).model_dump(mode="json") for value in inputs]
        except InvalidInput as error:
            if error.field[:1] == ("parameters",):
                raise
            where = f"{'.'.join(map(str, error.field))}: " if error.field else ""
            raise RefusedInput(f"{where}{error}") from error
        manifest = opened.bundle.manifest
        return {
            "model": manifest.name,
            "version": manifest.version,
            "task": manifest.task,
            "predictions": answers,
        }

    def generate(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The generated text, as one answer."""
        from service.inference.engines.open_bundle import generate_one

        opened = self._open(self._find(model, version, generates=True))
        return generate_one(opened, prompt, parameters).model_dump(mode="json")

    def stream(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> Iterator[str]:
        """The generated text, token by token."""
        from service.inference.engines.open_bundle import open_bundle, stream_one

        opened = open_bundle(self._find(model, version, generates=True), link_roots=self._link_roots)
        for event in stream_one(opened, prompt, parameters):
            if not event.token.is_special:
                yield event.token.text

    def _find(self, model: str | None, version: str | None, generates: bool) -> Path:
        """The folder of the requested bundle, or of the only one that can answer."""
        from service.bundle.models_folder import find_bundles
        from service.bundle.versions import named
        from service.tasks.catalogue import tasks_of_route

        paths = find_bundles(self._models_dir)
        if model is None:
            tasks = tasks_of_route("generate" if generates else "predict")
            fitting = {path.parent.name for path in paths if _task_in(path) in tasks}
            if len(fitting) != 1:
                raise InvalidInput(f"choose one with --model: {', '.join(sorted(fitting)) or 'there is none'}")
            (model,) = fitting
        return named(paths, model, version)


class Server:
    """A running service."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    @cached_property
    def _client(self) -> Client:
        """Connections that all requests share, and that end with this object."""
        client = connect(self._url, _TIMEOUT_S)
        weakref.finalize(self, client.close)
        return client

    def models(self) -> list[dict[str, Any]]:
        """The answer of `GET /models`."""
        listed: list[dict[str, Any]] = self._request("GET", "/models", None)["models"]
        return listed

    def remarks(self) -> list[str]:
        """None: the log of the service has them."""
        return []

    def describe(self, model: str | None, version: str | None) -> ModelFacts:
        """From `GET /models/NAME`."""
        query = f"?version={quote(version)}" if version else ""
        return facts_of(self._request("GET", f"/models/{quote(model or self._only_model(), safe='')}{query}", None))

    def _only_model(self) -> str:
        names = {entry["name"] for entry in self.models() if entry.get("task") not in (None, "generation")}
        if len(names) != 1:
            raise InvalidInput(f"choose one with --model: {', '.join(sorted(names)) or 'there is none'}")
        return str(names.pop())

    def predict(
        self, model: str | None, version: str | None, inputs: Sequence[JsonInput], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The answer of `POST /predict`."""
        answer = self._request("POST", "/predict", _body(model, version, list(inputs), parameters))
        predictions = answer.get("predictions")
        if not isinstance(predictions, list) or len(predictions) != len(inputs):
            raise UnrollError(f"{self._url} did not answer with one prediction for each input; is it an Unroll server?")
        return answer

    def generate(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The answer of `POST /generate`."""
        return self._request("POST", "/generate", _body(model, version, prompt, parameters))

    def stream(
        self, model: str | None, version: str | None, prompt: str, parameters: Mapping[str, Any]
    ) -> Iterator[str]:
        """The texts of the events of `POST /generate_stream`, resumed elsewhere if the connection is lost."""
        given = cast("GenerationParameters", parameters)
        with (
            told_plainly(),
            self._client.generate_stream(prompt, model=model, version=version, **given) as events,
        ):
            for event in events:
                yield event.text

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        with told_plainly():
            return self._client.request(method, path, body)


def readable(prediction: Mapping[str, Any]) -> str:
    """One prediction as readable text: words and tags, trees, label and score, tables of
    forecasts and arrays, or the text."""
    if "conllu" in prediction:
        return str(prediction["conllu"]).removesuffix("\n")
    if "tokens" in prediction and "relation" in prediction["tokens"][0]:
        return "\n".join([*map(_arc, itertools.count(1), prediction["tokens"]), ""])
    if "tokens" in prediction:
        lines = [f"{token['text']}\t{token['tag']}" for token in prediction["tokens"]]
        spans = [f"# {span['label']}: {span['text']}" for span in prediction.get("spans") or []]
        text = [f"# the text: {prediction['label']}"] if "label" in prediction else []
        return "\n".join([*lines, *spans, *text, ""])
    if "label" in prediction:
        ranked = prediction.get("top_k") or [prediction]
        return "\n".join(f"{entry['label']}\t{entry['score']:.4f}" for entry in ranked)
    if "forecast" in prediction:
        steps = [[*prediction["channels"]], *prediction["forecast"]]
        if prediction.get("times"):
            steps = [[time, *step] for time, step in zip(["time", *prediction["times"]], steps, strict=True)]
        return "\n".join("\t".join(map(str, step)) for step in steps)
    if "outputs" in prediction:
        return "\n".join([*(line for part in prediction["outputs"].items() for line in _array(*part)), ""])
    return str(prediction["text"])


def _array(name: str, values: Any) -> list[str]:
    """An output as its name and shape, and a line for each step or the numbers of one; deeper ones as JSON."""
    shape, inner = [], values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if len(shape) < 2:
        lines = ["\t".join(map(str, values if shape else [values]))]
    elif len(shape) == 2:
        lines = ["\t".join(map(str, row)) for row in values]
    else:
        lines = [json.dumps(values)]
    return [f"# {name} {shape}", *lines]


def _arc(number: int, token: Mapping[str, Any]) -> str:
    """A word with its number, tag, the number of its head, 0 for the root, and relation."""
    head = 0 if token["head"] is None else token["head"] + 1
    return f"{number}\t{token['text']}\t{token['tag']}\t{head}\t{token['relation']}"


def facts_of(details: Mapping[str, Any]) -> ModelFacts:
    """From a manifest or an answer of `GET /models/NAME`."""
    config = (details.get("training") or {}).get("config") or {}
    data = config.get("data") or {}
    inputs = details.get("inputs") or ()
    return ModelFacts(str(details.get("task")), details.get("options") or {}, data.get("read") or {}, inputs)


def _body(model: str | None, version: str | None, inputs: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    body = {"model": model, "version": version, "inputs": inputs, "parameters": dict(parameters)}
    return {name: value for name, value in body.items() if value is not None}


def _describe(path: Path, link_roots: Sequence[Path]) -> dict[str, Any]:
    from service.bundle.load import load_bundle, named_task

    entry = {"name": path.parent.name, "version": path.name, "state": "ok", "reason": None}
    try:
        manifest = load_bundle(path, link_roots).manifest
    except BundleError as error:
        return entry | {"state": "failed", "reason": str(error), "task": named_task(path), "description": None}
    return entry | {"task": manifest.task, "description": manifest.description}


def _task_in(path: Path) -> str | None:
    """The task that a manifest states; None if it cannot be read, which is no reason to refuse the other bundles."""
    from service.bundle.load import read_manifest

    try:
        return read_manifest(path).task
    except BundleError:
        return None
