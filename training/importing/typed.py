"""Imported models of a typed task: tagging of words, and classification of texts or of frames of numbers.

The user says what the numbers mean: a vocabulary for the ids, labels for the outputs. The graph then gets the contract
of the task around it: ids of the bundle's vocabulary are looked up in a table, probabilities become logits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from service.bundle.manifest import LENGTHS, TIME_AXIS, Dtype, GraphSpec, TensorSpec
from service.bundle.padding import FloatArray
from service.bundle.task_options import ClassificationOptions, FramesSpec, TaggingOptions
from service.bundle.tokenizer import TextTokenizer
from service.tasks.core.task import Array
from training.importing.graph.edges import Edge, declare_inputs, declare_outputs
from training.importing.graph.edited_graph import EditedGraph
from training.importing.graph.source import ImportRefused
from training.importing.original import OriginalRunner
from training.importing.proof import RewrittenRunner
from training.importing.understanding import Draft, Understanding, ranges_of_ids
from training.importing.vocabulary import ForeignVocabulary
from training.publish.array_checks import NamedArrays

TypedTask = Literal["tagging", "classification"]

#: The graph of each task, its input of ids and its output of scores.
_CONTRACTS: dict[TypedTask, tuple[str, str, str]] = {
    "tagging": ("tagger", "words", "emissions"),
    "classification": ("classifier", "tokens", "logits"),
}
_ROLES: dict[TypedTask, str] = {"tagging": "words", "classification": "text"}
_FRAMES = "frames"
#: The smallest probability whose logarithm is taken.
_LEAST = 1e-30
_MAX_LABELS = 100_000

#: What the numbers of an output are: logits already; probabilities of all labels, or of the second of two, which may
#: have an axis of its own or none.
Meaning = Literal["logits", "probabilities", "second", "single"]


@dataclass(frozen=True)
class TypedGraph:
    """A model with the contract of a task around it.

    Attributes:
        original: the original model in the names of the task.
        meaning: how the original's output was read.
    """

    task: TypedTask
    model: onnx.ModelProto
    spec: GraphSpec
    options: TaggingOptions | ClassificationOptions
    labels: tuple[str, ...]
    tokenizers: dict[str, TextTokenizer]
    original: TypedOriginal
    meaning: Meaning
    transitions: FloatArray | None = None

    @property
    def graph(self) -> str:
        return _CONTRACTS[self.task][0]


def typed_graph(
    understanding: Understanding,
    task: TypedTask,
    labels: Sequence[str],
    vocabulary: ForeignVocabulary | None,
    features: Sequence[str] = (),
    output: str = "",
    transitions: FloatArray | None = None,
) -> TypedGraph:
    """Give a model the contract of a task.

    Args:
        vocabulary: of the ids that it reads; None for a classifier of frames.
        features: names of the numbers of a frame; by default their numbers.
        output: the output with a score for each label, where there are several.
        transitions: of a CRF, `[labels + 1, labels + 1]`, see `TaggingOptions`; the model must have no state then.

    Raises:
        ImportRefused: the model does not fit the task; the message says what the task needs and what the model has.
    """
    draft = understanding.draft
    source = _input_of(draft, task, vocabulary is not None)
    scores = _output_of(draft, task, labels, output)
    meaning = _meaning(understanding, scores, labels)
    graph_name, ids, logits = _CONTRACTS[task]
    name = ids if vocabulary is not None else _FRAMES
    spec = _spec(draft, source, f"{graph_name}.onnx", name, logits, len(labels), by_step=task == "tagging")
    table = None if vocabulary is None else vocabulary.ids
    model = _with_contract(draft, spec, (source.spec.name, name), (scores.spec.name, logits), table, meaning)
    original = TypedOriginal(understanding.original, (name, source.spec), (logits, scores.spec.name), table, meaning)
    tokenizers = {} if vocabulary is None else {_ROLES[task]: vocabulary.tokenizer}
    options = _options(task, labels, vocabulary, source.spec, features, has_crf=transitions is not None)
    if meaning != "logits":
        understanding.mended.append(f"the output {scores.spec.name!r} holds probabilities, whose logarithms are taken")
    return TypedGraph(task, model, spec, options, tuple(labels), tokenizers, original, meaning, transitions)


def embedded_ids(understanding: Understanding) -> int | None:
    """The rows of the embedding that the model's ids index; None where none was found."""
    ranges = ranges_of_ids(understanding.draft)
    return int(max(most for _, most in ranges.values())) + 1 if ranges else None


def read_labels(file: Path) -> list[str]:
    """Labels in the order of the model's outputs: one a line, or as JSON a list, or an object from or to numbers.

    Raises:
        ImportRefused: they are of no such form, or one is there twice.
    """
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else text.split("\n")
        if isinstance(content, dict):
            content = content.get("id2label", content)  # a whole config.json
            by_id = {int(number): label for number, label in content.items()} if _is_by_id(content) else None
            by_id = by_id if by_id is not None else {int(number): label for label, number in content.items()}
            content = [by_id[number] for number in range(len(by_id))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ImportRefused(f"{file} holds no labels that are numbered from 0, in UTF-8") from error
    if not isinstance(content, list) or not all(isinstance(label, str | int) for label in content):
        raise ImportRefused(f"{file} holds no labels: they are one a line, or in JSON a list or an object")
    labels = [str(label).strip() for label in content if str(label).strip()]
    if not labels or len(set(labels)) != len(labels) or len(labels) > _MAX_LABELS:
        raise ImportRefused(f"{file} has {len(labels)} labels, {len(set(labels))} of them different")
    return labels


def read_transitions(file: Path, num_labels: int) -> FloatArray:
    """The transitions of a CRF from an `.npy` file: float `[labels + 1, labels + 1]`, indexed `[from, to]`.

    The last row scores the first tag of a sentence, the last column the end after a tag. Raises ImportRefused.
    """
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    try:
        found = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ImportRefused(f"{file} is no .npy file of numbers: {error}") from error
    side = num_labels + 1
    if not isinstance(found, np.ndarray) or found.shape != (side, side) or found.dtype.kind != "f":
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "an archive"
        raise ImportRefused(f"{file} is {what}; transitions of {num_labels} labels are floats [{side}, {side}]")
    return found.astype(np.float32)


def _is_by_id(content: Mapping[str, object]) -> bool:
    return all(key.isdecimal() for key in content) and all(isinstance(label, str) for label in content.values())


def _input_of(draft: Draft, task: TypedTask, reads_ids: bool) -> Edge:
    """The one input that the task feeds."""
    edges = [edge for edge in draft.edges.inputs if edge.spec.name != LENGTHS]
    wanted = "one input of token ids [batch, time]" if reads_ids else "one input of frames [batch, time, features]"
    rank = 2 if reads_ids else 3
    fits = len(edges) == 1 and TIME_AXIS in edges[0].spec.shape and len(edges[0].spec.shape) == rank
    if not fits or (task == "tagging" and not reads_ids):
        has = ", ".join(f"{edge.spec.name} {edge.spec.dtype} {list(edge.spec.shape)}" for edge in edges)
        words = "a vocabulary (--tokenizer) and " if task == "tagging" else ""
        raise ImportRefused(f"{task} needs {words}{wanted}; the model has {has}")
    if not draft.has_lengths:
        raise ImportRefused(f"{task} pads its inputs, and this model reads padding: import it with --task tensors")
    return edges[0]


def _output_of(draft: Draft, task: TypedTask, labels: Sequence[str], name: str) -> Edge:
    """The output with a score for each label."""
    outputs = draft.edges.outputs
    if name and name not in {edge.spec.name for edge in outputs}:
        raise ImportRefused(f"there is no output {name!r}; there are {', '.join(edge.spec.name for edge in outputs)}")
    axes = ("batch", TIME_AXIS) if task == "tagging" else ("batch",)
    widths = {len(labels), 1} if len(labels) == 2 else {len(labels)}
    fitting = [
        edge
        for edge in outputs
        if (not name or edge.spec.name == name)
        and ((edge.spec.shape[:-1] == axes and edge.spec.shape[-1] in widths) or _is_single(edge, axes, labels))
    ]
    if len(fitting) != 1:
        has = ", ".join(f"{edge.spec.name} {list(edge.spec.shape)}" for edge in outputs)
        wanted = f"one output {[*axes, len(labels)]} for the {len(labels)} labels"
        more = "name it with --output" if fitting else "check the labels"
        raise ImportRefused(f"{task} needs {wanted}; the model has {has}: {more}")
    return fitting[0]


def _is_single(edge: Edge, axes: tuple[str, ...], labels: Sequence[str]) -> bool:
    return edge.spec.shape == axes and len(labels) == 2


def _meaning(understanding: Understanding, scores: Edge, labels: Sequence[str]) -> Meaning:
    """What the numbers of an output are, from those of random inputs."""
    draft = understanding.draft
    arrays = NamedArrays(draft.spec, draft.state, ranges_of_ids(draft))
    found = RewrittenRunner(draft.model).run("model", arrays.feeds(8, 6, is_full=True))[scores.spec.name]
    are_shares = bool((found >= 0).all() and (found <= 1).all())
    if scores.spec.shape[-1] != len(labels):
        if not are_shares:
            raise ImportRefused(
                f"{scores.spec.name} has one number for two labels, and it is no probability: it may be a logit of any "
                "sign. Export the model with its sigmoid, or with an output for each label"
            )
        return "second" if scores.spec.shape[-1] == 1 else "single"
    if not are_shares:
        return "logits"
    if not np.allclose(found.sum(axis=-1), 1.0, atol=1e-3):
        raise ImportRefused(
            f"{scores.spec.name} gives each label a probability of its own, and not one label: import the model with "
            "--task tensors"
        )
    return "probabilities"


def _spec(
    draft: Draft, source: Edge, file: str, name: str, logits: str, num_labels: int, *, by_step: bool
) -> GraphSpec:
    states = {part.name for part in draft.state}
    nexts = {part.next_name for part in draft.state}
    dtype: Dtype = "float32" if name == _FRAMES else "int64"
    axes = ("batch", TIME_AXIS) if by_step else ("batch",)
    lengths = TensorSpec(name=LENGTHS, dtype="int64", shape=("batch",))
    inputs = [TensorSpec(name=name, dtype=dtype, shape=source.spec.shape), lengths]
    return GraphSpec(
        file=file,
        inputs=(*inputs, *(tensor for tensor in draft.spec.inputs if tensor.name in states)),
        outputs=(
            TensorSpec(name=logits, dtype="float32", shape=(*axes, num_labels)),
            *(tensor for tensor in draft.spec.outputs if tensor.name in nexts),
        ),
    )


def _options(
    task: TypedTask,
    labels: Sequence[str],
    vocabulary: ForeignVocabulary | None,
    source: TensorSpec,
    features: Sequence[str],
    *,
    has_crf: bool,
) -> TaggingOptions | ClassificationOptions:
    if has_crf and task != "tagging":
        raise ImportRefused(f"transitions are of a CRF, which chooses tags of words; the task is {task}")
    if task == "tagging":
        is_bio = "O" in labels and all(label == "O" or label[:2] in ("B-", "I-") for label in labels)
        return TaggingOptions(scheme="bio" if is_bio else None, decoder="crf" if has_crf else "softmax")
    if vocabulary is not None:
        return ClassificationOptions()
    count = int(source.shape[2])
    names = tuple(features) or tuple(f"feature {number}" for number in range(count))
    if len(names) != count:
        raise ImportRefused(f"--features names {len(names)} numbers, a frame of the model has {count}")
    return ClassificationOptions(signal=FramesSpec(features=names))


def _with_contract(
    draft: Draft,
    spec: GraphSpec,
    renamed_input: tuple[str, str],
    renamed_output: tuple[str, str],
    table: NDArray[np.int64] | None,
    meaning: Meaning,
) -> onnx.ModelProto:
    """The graph with the names of the task, ids through the table and scores as logits."""
    graph = EditedGraph(draft.model)
    (old, name), (scores, logits) = renamed_input, renamed_output
    dtype = next(edge.spec.dtype for edge in draft.edges.inputs if edge.spec.name == old)
    inner = graph.new_name("foreign")
    graph.rename_input(old, inner)
    graph.clear_name(name)
    declare_inputs(graph, list(spec.inputs))
    value = name if table is None else graph.add("Gather", graph.store(table), name, axis=0)
    if table is not None and dtype != "int64":
        value = graph.add("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    graph.redirect(inner, value)
    del graph.graph.output[:]
    inner = graph.clear_name(logits)
    made = _as_logits(graph, inner if scores == logits else scores, meaning)
    graph.graph.node.append(onnx.helper.make_node("Identity", [made], [logits]))
    declare_outputs(graph, list(spec.outputs))
    return graph.model()


def _as_logits(graph: EditedGraph, value: str, meaning: Meaning) -> str:
    if meaning == "logits":
        return value
    if meaning != "probabilities":
        if meaning == "single":
            value = graph.add("Unsqueeze", value, graph.integers(-1))
        other = graph.add("Sub", graph.store(np.array(1.0, dtype=np.float32)), value)
        value = graph.add("Concat", other, value, axis=-1)
    return graph.add("Log", graph.add("Max", value, graph.store(np.array(_LEAST, dtype=np.float32))))


class TypedOriginal:
    """The original model in the names of a task: a `service.tasks.core.task.Runner`."""

    def __init__(
        self,
        original: OriginalRunner,
        source: tuple[str, TensorSpec],
        scores: tuple[str, str],
        table: NDArray[np.int64] | None,
        meaning: Meaning,
    ) -> None:
        self._original, self._source, self._scores = original, source, scores
        self._table, self._meaning = table, meaning

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Ids through the table, the original, and its scores as logits. Raises InferenceFailed."""
        name, spec = self._source
        values = feeds[name] if self._table is None else self._table[feeds[name]].astype(spec.dtype)
        outputs = self._original.run("model", {spec.name: values, LENGTHS: feeds[LENGTHS]})
        logits, scores = self._scores
        return {**outputs, logits: logits_of(outputs[scores], self._meaning)}


def logits_of(scores: Array, meaning: Meaning) -> Array:
    """Scores of labels, whose softmax is what a model gave as probabilities."""
    if meaning == "logits":
        return scores
    if meaning != "probabilities":
        second = scores[..., None] if meaning == "single" else scores
        scores = np.concatenate([1.0 - second, second], axis=-1)
    return np.log(np.maximum(scores, _LEAST)).astype(np.float32)
