"""The manifest of a bundle, `manifest.json`: everything but weights and vocabularies, as one validated object."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from service.bundle.options_of_task import Strict
from service.bundle.task_options import TaggingOptions, TaskName, TaskOptions, TensorsOptions, WaveformSpec

FORMAT_VERSION: Final = 1

#: The names of the axis of time, and of the input with the true lengths along it.
TIME_AXIS: Final = "time"
LENGTHS: Final = "lengths"

#: Names that arrays of a graph of the task `tensors` may not have, because protocols use them for other things.
RESERVED_NAMES: Final = frozenset({"state", LENGTHS, "embedding", "hidden_states"})
MAX_NAME_CHARACTERS: Final = 64

#: Names of the axis of rows, which do not depend on each other: inputs, or the arcs of a parser over all its sentences.
ROW_AXES: Final = ("batch", "arcs")

Dtype = Literal["int64", "float32", "uint8"]
Precision = Literal["fp32", "bf16", "int8"]
#: Precisions besides fp32 that a bundle may have been accepted in.
VariantName = Literal["bf16", "int8"]

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^[0-9]{1,9}$"


class TensorSpec(Strict):
    """One input or output of a graph. A dimension is a number, or the name of a dynamic axis."""

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...]

    @property
    def row_axis(self) -> int:
        """The place of the axis of rows."""
        return next(place for place, axis in enumerate(self.shape) if axis in ROW_AXES)


class GraphSpec(Strict):
    """One ONNX file, with its inputs and outputs in order."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class StateSpec(Strict):
    """One tensor of recurrent state: the input `name` of a graph, and its output `next_name`.

    Every state tensor has the shape `[layers, batch, width]`, so axis 1 is always the batch.
    """

    name: str
    next_name: str
    layers: int = Field(ge=1)
    width: int = Field(ge=1)


class Limits(Strict):
    """Limits of one input.

    Tokens are words, subwords or characters, depending on the tokenizer; for a signal they are frames or steps.
    """

    max_input_tokens: int = Field(default=512, ge=1)
    max_new_tokens: int = Field(default=256, ge=1)


class DataSource(Strict):
    """One data set that the model was trained on, with its licence and attribution."""

    name: str
    licence: str
    attribution: str = ""
    splits: dict[str, str] = Field(default_factory=dict, description="split name -> sha256 of its file")


class Score(Strict):
    """A measure on one split, with the value of a cheap baseline. Percentages are 0 to 100."""

    measure: str
    value: float
    baseline: float | None = None
    baseline_name: str = ""
    split: str = "dev"
    detail: str = ""


class ParentModel(Strict):
    """The model whose weights training started from: a bundle, or a run, which has no version."""

    name: str
    version: str = ""
    digest: str = Field(description="sha256 of the bundle's manifest, or of the run's best weights")
    frozen: str = Field(default="", description="what kept its weights")


class TrainingFacts(Strict):
    """How the weights were trained."""

    parent: ParentModel | None = None
    data: tuple[DataSource, ...] = ()
    recipe: str = ""
    config: dict[str, object] = Field(default_factory=dict)
    seed: int = 0
    epochs: float = 0.0
    minutes: float = 0.0
    hardware: str = ""
    parameters: int = 0
    library_versions: dict[str, str] = Field(default_factory=dict)
    finished_at: str = ""


class Parity(Strict):
    """What `unroll verify` measured when the bundle was published."""

    max_difference: float
    tolerance: float
    checks: dict[str, float] = Field(default_factory=dict, description="check name -> largest difference")


class Variant(Strict):
    """A faster form of some graphs, with its measured loss of quality on dev.

    Scores are of `measure`, and `drop` is their loss: percentage points, or for a loss the percentage by which the
    perplexity rises. A negative drop is a gain.
    """

    graphs: dict[str, str] = Field(min_length=1, description="graph -> file that is run; graphs not listed run in fp32")
    depends_on_batch: bool = Field(False, description="whether an answer depends on the other rows of its batch")
    measure: str
    score: float
    fp32_score: float
    drop: float
    max_difference: float = Field(description="largest difference of any output from fp32 on dev")
    agreement: float = Field(description="percentage of dev rows with the same argmax as in fp32")


class Manifest(Strict):
    """The whole manifest. `files` maps every other file of the bundle to its sha256."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(default="1", pattern=VERSION_PATTERN)
    task: TaskName
    description: str = ""
    language: str = ""
    licence: str = ""
    options: TaskOptions
    graphs: dict[str, GraphSpec]
    state: tuple[StateSpec, ...] = Field(
        default=(), description="recurrent state between steps, or between chunks of a tagger or classifier"
    )
    labels: tuple[str, ...] = ()
    text_labels: tuple[str, ...] = Field(default=(), description="labels of the whole text, for a tagger that has them")
    limits: Limits = Limits()
    tokenizers: dict[str, str] = Field(description="role (text, words, characters) -> file; none for a signal")
    files: dict[str, str] = Field(default_factory=dict)
    training: TrainingFacts = TrainingFacts()
    scores: tuple[Score, ...] = ()
    parity: Parity | None = None
    variants: dict[VariantName, Variant] = Field(default_factory=dict)
    #: Must be the last field, see `service.bundle.seal`; "" in bundles that were published before there was one.
    digest: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="sha256 of this file without it")

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> Manifest:
        options, task = self.options, self.task
        if options.task != task:
            raise ValueError(f"options are for {options.task!r}, the task is {task!r}")
        if set(self.graphs) != set(options.required_graphs):
            wanted, found = sorted(options.required_graphs), sorted(self.graphs)
            raise ValueError(f"{task} needs the graphs {wanted}, the manifest has {found}")
        for graph, outputs in options.required_outputs.items():
            missing = set(outputs) - {tensor.name for tensor in self.graphs[graph].outputs}
            if missing:
                raise ValueError(f"the graph {graph!r} lacks the outputs that the options need: {sorted(missing)}")
        for name, variant in self.variants.items():
            if not variant.graphs.keys() <= set(options.required_graphs):
                raise ValueError(f"the variant {name} names graphs that a {task} has not: {sorted(variant.graphs)}")
        if options.needs_state and not self.state:
            raise ValueError(f"{task} needs the state that goes from step to step")
        return self

    @model_validator(mode="after")
    def _labels_fit_the_task(self) -> Manifest:
        if self.options.has_labels != bool(self.labels):
            raise ValueError(f"{self.task} {'needs labels' if self.options.has_labels else 'has no labels'}")
        if len(set(self.labels)) != len(self.labels) or len(set(self.text_labels)) != len(self.text_labels):
            raise ValueError("labels must be distinct")
        if self.text_labels and not self.options.may_label_texts:
            raise ValueError("text_labels belong to a tagger that also labels the whole text")
        return self

    @model_validator(mode="after")
    def _chunks_fit_the_graph(self) -> Manifest:
        if not self.reads_chunks:
            return self
        if isinstance(self.options, TaggingOptions) and self.options.decoder == "crf":
            raise ValueError("a CRF chooses the tags of a whole sentence at once: such a tagger has no state")
        graph = self.graphs[self.options.graphs[0]]
        for spec in self.state:
            _require_tensor("input", spec.name, spec, graph.inputs)
            _require_tensor("output", spec.next_name, spec, graph.outputs)
        return self

    @model_validator(mode="after")
    def _arrays_have_the_normal_form(self) -> Manifest:
        if isinstance(self.options, TensorsOptions):
            _check_arrays(self.graphs["model"], self.state, self.options)
        return self

    @property
    def reads_sound(self) -> bool:
        """Whether the input is sound, a waveform, and not text, frames or pictures."""
        return isinstance(getattr(self.options, "signal", None), WaveformSpec)

    @property
    def reads_chunks(self) -> bool:
        """Whether the bundle reads its input in chunks: its task may, and its graph takes and returns state."""
        return self.options.may_read_chunks and bool(self.state)


def _require_tensor(kind: str, name: str, spec: StateSpec, tensors: tuple[TensorSpec, ...]) -> None:
    shape = (spec.layers, "batch", spec.width)
    if not any((t.name, t.dtype, t.shape) == (name, "float32", shape) for t in tensors):
        raise ValueError(f"the state needs an {kind} {name!r} of float32 {list(shape)} in the graph")


def _check_arrays(graph: GraphSpec, state: tuple[StateSpec, ...], options: TensorsOptions) -> None:
    """The normal form of a graph of named arrays, see `TensorsOptions`. Raises ValueError."""
    names = {spec.name for spec in state}
    inputs = [tensor for tensor in graph.inputs if tensor.name not in names]
    arrays = [tensor for tensor in inputs if tensor.name != LENGTHS]
    outputs = [tensor for tensor in graph.outputs if tensor.name not in {spec.next_name for spec in state}]
    if not arrays or not outputs:
        raise ValueError("the graph needs an input and an output besides its lengths and its state")
    for kind, tensors in [("input", arrays), ("output", outputs)]:
        for tensor in tensors:
            if not _is_array(tensor):
                shape = f"{tensor.name!r} is {list(tensor.shape)}"
                raise ValueError(f'the {kind} {shape}: it must be ["batch", ...] or ["batch", "{TIME_AXIS}", ...]')
            if tensor.name in RESERVED_NAMES or not 0 < len(tensor.name) <= MAX_NAME_CHARACTERS:
                allowed = f"at most {MAX_NAME_CHARACTERS} characters and none of {sorted(RESERVED_NAMES)}"
                raise ValueError(f"no {kind} may be called {tensor.name[:80]!r}: {allowed}")
    _check_lengths(inputs, outputs, options)
    unknown = set(options.notes) - {tensor.name for tensor in [*arrays, *outputs]}
    if unknown:
        raise ValueError(f"there are notes on {sorted(unknown)}, which the graph has not")


def _is_array(tensor: TensorSpec) -> bool:
    """Whether the first axis is the batch, the second may be time, and the others are numbers."""
    places = tensor.shape[2:] if tensor.shape[1:2] == (TIME_AXIS,) else tensor.shape[1:]
    return tensor.shape[:1] == ("batch",) and all(isinstance(size, int) and size > 0 for size in places)


def _check_lengths(inputs: list[TensorSpec], outputs: list[TensorSpec], options: TensorsOptions) -> None:
    """Padding is read only by a graph that is told the lengths. Raises ValueError."""
    lengths = next((tensor for tensor in inputs if tensor.name == LENGTHS), None)
    over_time = any(tensor.shape[1:2] == (TIME_AXIS,) for tensor in inputs)
    if lengths is not None and (lengths.dtype, lengths.shape) != ("int64", ("batch",)):
        raise ValueError(f"the input {LENGTHS!r} must be int64 ['batch']")
    if not over_time and (lengths is not None or any(tensor.shape[1:2] == (TIME_AXIS,) for tensor in outputs)):
        raise ValueError(f"lengths and outputs over {TIME_AXIS!r} need an input over it")
    if options.equal_lengths != (over_time and lengths is None):
        raise ValueError(f"equal_lengths is for graphs over {TIME_AXIS!r} without {LENGTHS!r}, which read padding")
    if over_time and options.fixed_length is not None:
        raise ValueError(f"fixed_length is for a graph without an axis {TIME_AXIS!r}")
