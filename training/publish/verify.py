"""Verify a bundle: its graphs match the torch network, independent of batching and padding.

The checks, by their names in the report and in the manifest:

    shapes      every output has the dtype and shape that the manifest declares, at several batch sizes and lengths
    torch       every output equals torch's (only with the network)
    padding     a row in a padded batch equals the same row alone
    steps       single steps equal the whole sequence at once
    chunks      a text in chunks, each continued from the previous state, equals the text at once (if supported)
    examples    the answers recorded with torch, end to end through the service's code
    variants    faster variants stay within the tolerated loss of dev score, and reproduce the examples

Differences are absolute up to a magnitude of 1 and relative above: `abs(a - b) / max(1, abs(a))`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import GraphSpec
from service.bundle.task_options import TensorsOptions
from service.bundle.tokenizer import BOS
from service.errors import InferenceFailed, InvalidInput
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, Runner, run_with_hidden
from service.tasks.recorded import differences, faults_of_embeddings, faults_of_labels
from service.tasks.transcription.greedy_transducer import predictor_state
from training.evaluation.tasks.catalogue import evaluation_task
from training.evaluation.torch_runner import (
    TorchRunner,
    decode_whole,
    joint_of_all_pairs,
    one_thread,
    transitions_of,
)
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.network import Network, next_name
from training.networks.transducer import Transducer
from training.onnx_graph.weights import round_to_half
from training.publish.array_checks import check_arrays, ranges_of
from training.publish.parity_report import TOLERANCE, ParityReport, largest_difference
from training.publish.variant_check import faults_of_variants
from training.publish.verify_inputs import (
    Feeds,
    VerificationInputs,
    axes_of,
    chunk_of,
    num_rows,
    num_steps,
    row_alone,
    shape_of,
)

#: Steps of a decoder or language model in the comparison with the whole sequence.
NUM_STEPS = 12
#: Graphs that read a sequence at once and step by step, with equal results.
_GENERATING = {"prompt", "step"}


@one_thread()
def verify_bundle(
    path: Path, network: Network | None = None, *, seed: int = 0, tolerance: float = TOLERANCE
) -> ParityReport:
    """Run every check on a bundle folder, on the CPU provider.

    `network` is the network that was exported, or one whose graphs were added to the bundle, which alone are then
    compared; without it, only the examples are compared with torch. A bundle with
    half-precision weights is compared with the network rounded to half precision.

    Raises:
        BundleError: the bundle cannot be opened: a file is missing or altered, or a graph does not match the manifest.
    """
    bundle = load_bundle(path)
    runner = OrtRunner(bundle, device="cpu", threads=1)
    if isinstance(bundle.manifest.options, TensorsOptions):
        return _verify_arrays(bundle, runner, tolerance)
    typical, per_step = evaluation_task(bundle.manifest).typical_values(bundle), bundle.manifest.options.values_per_step
    opened = _Opened(bundle, runner, VerificationInputs(runner.id_limits, seed, typical, per_step))
    report = ParityReport(path, tolerance)
    _check_graphs(report, opened)
    if network is not None:
        network = round_to_half(network) if stores_half(bundle) else copy.deepcopy(network)
        _check_against_torch(report, opened, network.cpu())
    if bundle.manifest.reads_chunks:
        _check_chunks(report, opened, runner if network is None else TorchRunner(network))
    if bundle.manifest.graphs.keys() >= _GENERATING:
        _check_generation_steps(report, opened)
    _check_examples(report, bundle, runner)
    for fault in faults_of_variants(bundle):
        report.fail("variants", fault)
    return report


def _verify_arrays(bundle: Bundle, runner: OrtRunner, tolerance: float) -> ParityReport:
    """The checks of a graph of named arrays, whose original is not at hand: its answers are in the examples."""
    report = ParityReport(bundle.path, tolerance)
    manifest = bundle.manifest
    check_arrays(report, runner, manifest.graphs["model"], manifest.state, ranges_of(manifest))
    _check_examples(report, bundle, runner)
    return report


def stores_half(bundle: Bundle) -> bool:
    """Whether any weight of the bundle is stored as float16."""
    graphs = (onnx.load(bundle.graph_path(graph)).graph for graph in bundle.manifest.graphs)
    return any(tensor.data_type == TensorProto.FLOAT16 for graph in graphs for tensor in graph.initializer)


@dataclass(frozen=True)
class _Opened:
    """A bundle with open graphs, and the generator of their feeds."""

    bundle: Bundle
    runner: OrtRunner
    inputs: VerificationInputs


def _check_graphs(report: ParityReport, opened: _Opened) -> None:
    for graph, spec in opened.bundle.manifest.graphs.items():
        for feeds in opened.inputs.all_sizes(spec):
            outputs = run_with_hidden(opened.runner, graph, feeds)
            _check_shapes(report, graph, spec, axes_of(spec, feeds, opened.inputs.values_per_step), outputs)
            for row in _rows(graph, spec, feeds, opened.inputs.values_per_step):
                alone = run_with_hidden(opened.runner, graph, row.feeds)
                _compare_rows(report, "padding", row, alone, row.of(outputs))


def _check_against_torch(report: ParityReport, opened: _Opened, network: Network) -> None:
    torch_runner = TorchRunner(network)
    specs = opened.bundle.manifest.graphs
    for graph, spec in ((name, specs[name]) for name in specs if name in torch_runner.graphs):
        for feeds in opened.inputs.all_sizes(spec):
            expected, actual = torch_runner.run(graph, feeds), run_with_hidden(opened.runner, graph, feeds)
            for row in _rows(graph, spec, feeds, opened.inputs.values_per_step):
                _compare_rows(report, "torch", row, row.of(expected), row.of(actual))
    if isinstance(network, EncoderDecoder):
        _check_decoder_steps(report, opened, network)
    if isinstance(network, Transducer):
        _check_transducer_steps(report, opened, network)
    _check_transitions(report, opened.bundle, network)


def _check_shapes(
    report: ParityReport, graph: str, spec: GraphSpec, axes: Mapping[str, int], outputs: Mapping[str, Array]
) -> None:
    report.note("shapes", 0.0)
    for tensor in spec.outputs:
        expected = (tensor.dtype, shape_of(tensor, axes))
        found = (outputs[tensor.name].dtype.name, outputs[tensor.name].shape)
        if expected != found:
            where = f"graph {graph!r}, output {tensor.name!r} at {axes}"
            report.fail("shapes", f"{where}: expected {_described(*expected)}, found {_described(*found)}")


def _described(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"


@dataclass(frozen=True)
class _Row:
    """One row of a batch without its padding."""

    graph: str
    spec: GraphSpec
    index: int
    length: int
    feeds: Feeds
    values_per_step: int

    def of(self, outputs: Mapping[str, Array]) -> Feeds:
        """This row of the outputs of a batch, without the next state after a part of a step, which nothing follows."""
        is_whole = self.length % self.values_per_step == 0
        tensors = tuple(tensor for tensor in self.spec.outputs if is_whole or tensor.shape[0] == "batch")
        return row_alone(tensors, outputs, self.index, self.length, self.values_per_step)


def _rows(graph: str, spec: GraphSpec, feeds: Mapping[str, Array], values_per_step: int) -> list[_Row]:
    if "lengths" not in feeds:  # one step of each row
        values_per_step = 1
    lengths = feeds.get("lengths", np.ones(num_rows(spec, feeds), dtype=np.int64))
    return [
        _Row(graph, spec, row, int(length), row_alone(spec.inputs, feeds, row, int(length)), values_per_step)
        for row, length in enumerate(lengths)
    ]


def _compare_rows(report: ParityReport, check: str, row: _Row, expected: Feeds, actual: Feeds) -> None:
    for name in actual:
        where = f"graph {row.graph!r}, row {row.index} of length {row.length}, output {name!r}"
        report.compare(check, where, expected[name], actual[name])


def _check_generation_steps(report: ParityReport, opened: _Opened) -> None:
    """Compare a padded prompt with single steps: the logits of every token, and the state after the last."""
    manifest, run = opened.bundle.manifest, opened.runner.run
    prompt = opened.inputs.feeds(manifest.graphs["prompt"], batch=3, time=NUM_STEPS)
    whole = run("prompt", prompt)
    state = {spec.name: prompt[spec.name] for spec in manifest.state}
    for step in range(NUM_STEPS):
        outputs = run("step", {"token": prompt["tokens"][:, step], **state})
        state = {spec.name: outputs[spec.next_name] for spec in manifest.state}
        inside, ends = prompt["lengths"] > step, prompt["lengths"] == step + 1
        where = f"graph 'step' at step {step}, output"
        report.compare("steps", f"{where} 'logits'", whole["logits"][inside, step], outputs["logits"][inside])
        for spec in manifest.state if ends.any() else ():
            expected, actual = whole[spec.next_name][:, ends], outputs[spec.next_name][:, ends]
            report.compare("steps", f"{where} {spec.next_name!r}", expected, actual)


def _check_chunks(report: ParityReport, opened: _Opened, reference: Runner) -> None:
    """Compare padded rows read at once by `reference` with the same rows in chunks of random sizes."""
    manifest = opened.bundle.manifest
    graph, per_step = manifest.options.graphs[0], opened.inputs.values_per_step
    spec = manifest.graphs[graph]
    whole = opened.inputs.feeds(spec, batch=4, time=NUM_STEPS, characters=5)
    lengths, expected = whole["lengths"], run_with_hidden(reference, graph, whole)
    done = np.zeros_like(lengths)
    state = {part.name: whole[part.name].copy() for part in manifest.state}
    while (rows := np.flatnonzero(done < lengths)).size:
        starts, sizes = done[rows], opened.inputs.chunk_sizes(lengths[rows] - done[rows])
        before = {name: array[:, rows] for name, array in state.items()}
        outputs = run_with_hidden(opened.runner, graph, {**chunk_of(spec, whole, rows, starts, sizes), **before})
        for part in manifest.state:
            state[part.name][:, rows] = outputs[part.next_name]
        done[rows] += sizes
        for index, row in enumerate(rows):
            read = _Chunk(graph, spec, int(row), int(starts[index]), int(done[row]), int(lengths[row]), per_step)
            alone = row_alone(spec.outputs, outputs, index, int(sizes[index]), per_step)
            _compare_chunk(report, read, expected, alone)


class _Chunk(NamedTuple):
    """Steps `start` to `end` of one row of `length` steps."""

    graph: str
    spec: GraphSpec
    row: int
    start: int
    end: int
    length: int
    values_per_step: int

    @property
    def output_steps(self) -> slice:
        """Those steps of the output, where it has fewer than the input."""
        return slice(self.start // self.values_per_step, num_steps(self.end, self.values_per_step))


def _compare_chunk(report: ParityReport, read: _Chunk, whole: Mapping[str, Array], chunk: Feeds) -> None:
    """Compare outputs per step for each chunk, outputs for the whole text after its last chunk."""
    expected = row_alone(read.spec.outputs, whole, read.row, read.length, read.values_per_step)
    ends_whole = read.end == read.length and read.length % read.values_per_step == 0
    for tensor in read.spec.outputs:
        name, by_step = tensor.name, "time" in tensor.shape or "steps" in tensor.shape
        where = f"graph {read.graph!r}, row {read.row}, steps {read.start} to {read.end}, output {name!r}"
        if by_step:
            report.compare("chunks", where, expected[name][:, read.output_steps], chunk[name])
        elif ends_whole:
            report.compare("chunks", where, expected[name], chunk[name])


def _check_decoder_steps(report: ParityReport, opened: _Opened, network: EncoderDecoder) -> None:
    """Compare a whole target sentence in torch, as in training, with the step graph run for each token."""
    manifest, run = opened.bundle.manifest, opened.runner.run
    spec = manifest.graphs["decoder_step"]
    feeds = opened.inputs.feeds(spec, batch=3, time=7)
    tokens = np.stack([opened.inputs.feeds(spec, batch=3, time=1)["token"] for _ in range(NUM_STEPS)], axis=1)
    logits, attention = decode_whole(network, tokens, feeds)
    for step in range(NUM_STEPS):
        outputs = run("decoder_step", {**feeds, "token": tokens[:, step]})
        feeds |= {part.name: outputs[part.next_name] for part in manifest.state}
        where = f"graph 'decoder_step' at step {step}, output"
        report.compare("steps", f"{where} 'logits'", logits[:, step], outputs["logits"])
        report.compare("steps", f"{where} 'attention'", attention[:, step], outputs["attention"])


def _check_transducer_steps(report: ParityReport, opened: _Opened, network: Transducer) -> None:
    """Compare all pairs of steps and prefixes in torch, as in training, with predictor and joint run for each."""
    specs, run = opened.bundle.manifest.graphs, opened.runner.run
    encoded = np.stack([opened.inputs.feeds(specs["joint"], 3, 1)["encoded"] for _ in range(NUM_STEPS)], axis=1)
    tokens = np.stack([opened.inputs.feeds(specs["predictor"], 3, 1)["token"] for _ in range(NUM_STEPS)], axis=1)
    expected = joint_of_all_pairs(network, encoded, tokens)
    state = RecurrentState.zeros(predictor_state(specs["predictor"]), 3).arrays
    for column, token in enumerate([np.full(3, BOS), *tokens.T]):
        outputs = run("predictor", {"token": token, **state})
        state = {name: outputs[next_name(name)] for name in state}
        for step in range(NUM_STEPS):
            found = run("joint", {"encoded": encoded[:, step], "predicted": outputs["predicted"]})["log_probs"]
            report.compare("steps", f"graph 'joint' at step {step}, token {column}", expected[:, step, column], found)


def _check_transitions(report: ParityReport, bundle: Bundle, network: Network) -> None:
    expected = transitions_of(network)
    if expected is not None and bundle.transitions is not None:
        report.compare("torch", "transitions.npy", expected, bundle.transitions)
    elif (expected is None) != (bundle.transitions is None):
        report.fail("torch", "transitions.npy: either the network or the bundle has transitions, the other has not")


def _check_examples(report: ParityReport, bundle: Bundle, runner: Runner) -> None:
    task = task_of(bundle)
    recorded = faults_of_labels(bundle, task, runner)
    for fault in chain(recorded, faults_of_embeddings(bundle, task, runner, report.tolerance)):
        report.fail("examples", fault)
    for number, example in enumerate(bundle.examples, start=1):
        try:
            found = answer(task, runner, example.inputs, example.parameters).model_dump(mode="json")
        except (InferenceFailed, InvalidInput) as error:
            report.fail("examples", f"example {number} was not answered: {error}")
            continue
        faults = differences(example.answer, found, report.tolerance)
        for fault in faults:
            report.fail("examples", f"example {number}, {fault}")
        if not faults:
            expected, actual = (np.array([0.0, *_fractions(value)]) for value in (example.answer, found))
            report.note("examples", largest_difference(expected, actual)[0])


def _fractions(value: Any) -> Iterator[float]:
    """Every float in a JSON value, in order."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, (dict, list)):
        for part in [value[key] for key in sorted(value)] if isinstance(value, dict) else value:
            yield from _fractions(part)
