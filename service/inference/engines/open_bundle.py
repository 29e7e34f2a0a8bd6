"""Open a bundle and answer single inputs, without queue or event loop: for the self-check and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.bundle.load import MANIFEST_FILE, Bundle, load_bundle
from service.errors import BundleCorrupt, InvalidInput
from service.inference.engines.engine import OpenBundle
from service.inference.runtime.device import CPU_PROVIDER
from service.inference.runtime.mapped_graphs import MappedGraphs
from service.inference.runtime.ort_runner import OrtRunner, can_run
from service.inference.runtime.precision import WantedPrecision
from service.inference.runtime.precision_timing import faster_of
from service.tasks.catalogue import answer, generates, predicts, task_of
from service.tasks.core.parameters import check_parameters
from service.tasks.core.task import Answer, Task
from service.tasks.generation.generation import Generation
from service.tasks.generation.recorded_form import GenerationParameters
from service.tasks.generation.request import Delivery
from service.tasks.generation.result import TokenEvent
from service.tasks.inputs.json_input import JsonInput


def open_bundle(
    path: Path,
    device: str = "auto",
    threads: int = 1,
    precision: WantedPrecision = "auto",
    num_lanes: int = 1,
    link_roots: Sequence[Path] | None = None,
    mapped: MappedGraphs | None = None,
) -> OpenBundle:
    """Load a bundle and open its graphs; see `OrtRunner` and `load_bundle` for the arguments.

    With precision `auto`, a bundle accepted in bf16 is timed in fp32 and bf16, and opened in the faster of the two.

    Raises:
        BundleError: it cannot be used, or not on this device or in this precision.
    """
    bundle = load_bundle(path, link_roots)
    task = _task_of(bundle)
    runner = OrtRunner(bundle, device, threads, "fp32" if precision == "auto" else precision, num_lanes, mapped)
    if precision == "auto" and runner.provider == CPU_PROVIDER and can_run(bundle, "bf16"):
        runner = faster_of(bundle, task, runner, OrtRunner(bundle, device, threads, "bf16", num_lanes))
    return OpenBundle(bundle, runner, task)


def _task_of(bundle: Bundle) -> Task:
    try:
        return task_of(bundle)
    except (LookupError, TypeError, ValueError) as error:  # such as a role without its tokenizer
        raise BundleCorrupt(bundle.path / MANIFEST_FILE, f"its parts do not fit together: {error!r}") from error


def predict_one(opened: OpenBundle, value: JsonInput, parameters: Mapping[str, Any]) -> Answer:
    """The answer to one input of a task of `POST /predict`. Raises InvalidInput, InferenceFailed."""
    if not predicts(opened.task):
        raise InvalidInput(f"{opened.bundle.manifest.name} generates text; it does not predict", ("model",))
    return answer_one(opened, value, parameters)


def generate_one(opened: OpenBundle, prompt: str, parameters: Mapping[str, Any]) -> Answer:
    """The whole answer to one prompt. Raises InvalidInput, InferenceFailed."""
    _require_generation(opened)
    return answer_one(opened, prompt, parameters)


def stream_one(opened: OpenBundle, prompt: str, parameters: Mapping[str, Any]) -> Iterator[TokenEvent]:
    """One event per token of the answer. Raises InvalidInput at once, InferenceFailed on the way."""
    task = _require_generation(opened)
    options = check_parameters(GenerationParameters, parameters).options
    return task.events(opened.runner, task.start(prompt, options, Delivery(is_streamed=True)))


def _require_generation(opened: OpenBundle) -> Generation:
    if not generates(opened.task):
        manifest = opened.bundle.manifest
        raise InvalidInput(f"{manifest.name} does {manifest.task}; it does not generate text", ("model",))
    return opened.task


def answer_one(opened: OpenBundle, inputs: Any, parameters: Mapping[str, Any]) -> Answer:
    """The whole answer of any task, in the form recorded in `examples.jsonl`."""
    return answer(opened.task, opened.runner, inputs, parameters)
