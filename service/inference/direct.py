"""Answer one input at once, without queue or event loop: for the self-check, the command line and `unroll evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.bundle.load import Bundle, load_bundle
from service.errors import InvalidInput
from service.inference.ort_runner import OrtRunner, Provider
from service.tasks.base import Answer, Parameters, PredictTask
from service.tasks.catalogue import PREDICT_TASKS
from service.tasks.continuation import Continuation
from service.tasks.generation import Generation
from service.tasks.generation_answer import TokenEvent


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose graphs are open, and its task."""

    bundle: Bundle
    runner: OrtRunner
    task: PredictTask[Any, Any] | Generation


def open_bundle(path: Path, provider: Provider = "auto", threads: int = 0) -> OpenBundle:
    """Load a bundle and open its graphs. Raises BundleError."""
    bundle = load_bundle(path)
    runner = OrtRunner(bundle, provider, threads)
    name = bundle.manifest.task
    return OpenBundle(bundle, runner, Generation(bundle) if name == "generation" else PREDICT_TASKS[name](bundle))


def check_parameters(parameters_type: type[Parameters], given: Mapping[str, Any]) -> Any:
    """The typed parameters. Raises InvalidInput with the path `parameters.<name>`."""
    try:
        return parameters_type.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(_message(problem, parameters_type), ("parameters", *problem["loc"])) from error


def predict_one(opened: OpenBundle, value: str | Sequence[str], parameters: Mapping[str, Any]) -> Answer:
    """The answer to one input of a tagger, classifier or translator. Raises InvalidInput, InferenceFailed."""
    task = opened.task
    if isinstance(task, Generation):
        raise InvalidInput(f"{opened.bundle.manifest.name} generates text; it does not predict", ("model",))
    example = task.preprocess(value, check_parameters(task.parameters_type, parameters))
    (output,) = task.run(opened.runner, [example])
    return task.postprocess(example, output)


def start_stream(opened: OpenBundle, prompt: str, parameters: Mapping[str, Any]) -> Continuation:
    """A checked prompt, ready for `stream_tokens`. Raises InvalidInput."""
    task = opened.task
    if not isinstance(task, Generation):
        name = opened.bundle.manifest.name
        raise InvalidInput(f"{name} does {opened.bundle.manifest.task}; it does not generate text", ("model",))
    return task.start(prompt, check_parameters(task.parameters_type, parameters))


def stream_tokens(opened: OpenBundle, continuation: Continuation) -> Iterator[TokenEvent]:
    """Generate to the end, one event per token; afterwards `continuation.answer()` has the whole."""
    task = opened.task
    assert isinstance(task, Generation)
    logits, state = task.prefill(opened.runner, [continuation])
    while True:
        event = continuation.accept(logits[0])
        yield event
        if continuation.finished:
            return
        logits, state = task.step(opened.runner, [continuation.last_token_id], state)


def answer_one(opened: OpenBundle, inputs: Any, parameters: Mapping[str, Any]) -> Answer:
    """The whole answer of any task, as it stands in `examples.jsonl`."""
    task = opened.task
    if not isinstance(task, Generation):
        return predict_one(opened, inputs, parameters)
    return task.generate(opened.runner, inputs, check_parameters(task.parameters_type, parameters))


def _message(problem: Mapping[str, Any], parameters_type: type[Parameters]) -> str:
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(parameters_type.model_fields)) or "none"
        return f"there is no such parameter; this task has: {known}"
    return plain_message(problem)


#: What pydantic says of its own classes, said of JSON.
PLAIN_MESSAGES = {
    "string_unicode": "not text: it holds half of a surrogate pair",
    "string_type": "must be text",
    "model_attributes_type": "must be a JSON object",
    "too_short": "the list is empty",
}


def plain_message(problem: Mapping[str, Any]) -> str:
    """pydantic's message in the words of the caller's side."""
    if problem["type"] in PLAIN_MESSAGES:
        return PLAIN_MESSAGES[problem["type"]]
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be").replace("List should", "must")
