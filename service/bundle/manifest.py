"""The manifest of a bundle, `manifest.json`: everything but weights and vocabularies, as one validated object."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

FORMAT_VERSION: Final = 1

#: Every task that a bundle can be for. Each has a class of options below, and a place in the union `TaskOptions`.
TaskName = Literal["tagging", "classification", "translation", "generation", "forecasting", "captioning"]
Dtype = Literal["int64", "float32", "uint8"]
Precision = Literal["fp32", "bf16", "int8"]
#: Precisions besides fp32 that a bundle may have been accepted in.
VariantName = Literal["bf16", "int8"]

#: The quantile that is the point forecast of a model that forecasts quantiles.
MEDIAN = 0.5

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^[0-9]{1,9}$"


class Strict(BaseModel):
    """Base of immutable models that refuse unknown keys, so that a misspelt key is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class TensorSpec(Strict):
    """One input or output of a graph. A dimension is a number, or the name of a dynamic axis."""

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...]


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


class OptionsOfTask(Strict):
    """Base of the options of one task. The class attributes say what a bundle for the task holds.

    Attributes:
        graphs: the graphs that a bundle must have, and the only ones.
        has_labels: whether the manifest must list labels; otherwise it must not.
        may_label_texts: whether it may list `text_labels` as well.
        may_read_chunks: whether a bundle with state reads its input in chunks.
        needs_state: whether the manifest must declare the recurrent state between steps.
    """

    graphs: ClassVar[tuple[str, ...]]
    has_labels: ClassVar[bool] = False
    may_label_texts: ClassVar[bool] = False
    may_read_chunks: ClassVar[bool] = False
    needs_state: ClassVar[bool] = False

    @property
    def why_whole(self) -> str:
        """Why a bundle cannot read its input in chunks, as the rest of a sentence about it."""
        return "reads its input as a whole"


class TaggingOptions(OptionsOfTask):
    """How the emissions of a tagger become tags.

    `scheme` is how tags form spans; None if they form none, such as parts of speech. With
    `decoder="crf"` the bundle holds `transitions.npy`, float32 `[labels + 1, labels + 1]`, indexed `[from, to]`:
    the last row scores the first tag of a sentence, the last column scores the end after a tag.
    """

    graphs: ClassVar = ("tagger",)
    has_labels: ClassVar = True
    may_label_texts: ClassVar = True
    may_read_chunks: ClassVar = True

    task: Literal["tagging"] = "tagging"
    decoder: Literal["softmax", "crf"] = "softmax"
    scheme: Literal["bio"] | None = None
    max_word_characters: int = Field(default=24, ge=1, le=256)

    @property
    def why_whole(self) -> str:
        if self.decoder == "crf":
            return "chooses all tags of a sentence together (CRF)"
        return "reads its input in both directions"


class FramesSpec(Strict):
    """Sequences of feature vectors, such as the readings of sensors: `frames` float32 `[batch, time, features]`."""

    kind: Literal["frames"] = "frames"
    features: tuple[str, ...] = Field(min_length=1, description="what each number of a frame is")


class WaveformSpec(Strict):
    """Sound of one channel: `samples` float32 `[batch, time]`. Its length in tokens is counted in steps."""

    kind: Literal["waveform"] = "waveform"
    sample_rate_hz: int = Field(ge=1)
    samples_per_step: int = Field(ge=1, description="samples between two steps of the recurrence")


#: The input of a model that does not read text.
SignalSpec = Annotated[FramesSpec | WaveformSpec, Field(discriminator="kind")]


class ClassificationOptions(OptionsOfTask):
    """One label per text; or, with a `signal`, per sequence of numbers of that kind."""

    graphs: ClassVar = ("classifier",)
    has_labels: ClassVar = True
    may_read_chunks: ClassVar = True

    task: Literal["classification"] = "classification"
    signal: SignalSpec | None = None
    max_word_characters: int = Field(default=24, ge=1, le=256, description="where the graph reads `characters`")
    outside_label: str = Field(
        default="oos", description="given to what none of the other labels fits, if there is one"
    )

    @property
    def why_whole(self) -> str:
        return "reads its input in both directions, or weighs the whole of it for its label"


class TranslationOptions(OptionsOfTask):
    """Beam search defaults. Scores are divided by `((5 + length) / 6) ** length_penalty` (Wu et al. 2016, eq. 14)."""

    graphs: ClassVar = ("encoder", "decoder_step")
    needs_state: ClassVar = True

    task: Literal["translation"] = "translation"
    source_language: str
    target_language: str
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0.0, le=4.0)

    @property
    def why_whole(self) -> str:
        return "looks at the whole text for every word that it writes"


class GenerationOptions(OptionsOfTask):
    """`unit` is what one token is, for information only."""

    graphs: ClassVar = ("prompt", "step")
    needs_state: ClassVar = True

    task: Literal["generation"] = "generation"
    unit: Literal["character", "subword", "word"] = "character"


def _check_quantiles(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    rising = list(quantiles) == sorted(set(quantiles)) and all(0 < quantile < 1 for quantile in quantiles)
    if quantiles and not (rising and MEDIAN in quantiles):
        raise ValueError(f"quantiles rise between 0 and 1, and {MEDIAN} is among them")
    return quantiles


#: Which quantiles are forecast beside the median; none for a forecast of points.
Quantiles = Annotated[tuple[float, ...], AfterValidator(_check_quantiles)]


class ForecastingOptions(OptionsOfTask):
    """The channels of a window, and which of them are forecast, in the units of the data.

    `deviations` are the standard deviations of the targets in train, the units of `mse` and `mae`.
    """

    graphs: ClassVar = ("forecaster",)

    task: Literal["forecasting"] = "forecasting"
    channels: tuple[str, ...] = Field(min_length=1, description="the numbers of a frame, in order")
    targets: tuple[str, ...] = Field(min_length=1, description="the channels that are forecast, in order")
    deviations: tuple[float, ...] = Field(description="of the targets")
    look_back: int = Field(ge=1, description="frames of the past that one forecast is made from")
    horizon: int = Field(ge=1, description="steps ahead that are forecast")
    period: int = Field(default=0, ge=0, description="steps after which the series is much like itself; 0 is unknown")
    step: str = Field(
        default="",
        max_length=32,
        description='time from frame to frame: 15min, 1h, 1d, workday, 1w, 1mo, 1q, 1y, a number; "" is unknown',
    )
    quantiles: Quantiles = ()

    @model_validator(mode="after")
    def _names_fit(self) -> ForecastingOptions:
        if len(set(self.channels)) != len(self.channels) or len(set(self.targets)) != len(self.targets):
            raise ValueError("channels and targets must be distinct")
        if not set(self.targets) <= set(self.channels):
            raise ValueError("every target must be a channel")
        if len(self.deviations) != len(self.targets) or not all(deviation > 0 for deviation in self.deviations):
            raise ValueError("every target needs a deviation above 0")
        return self


class CaptioningOptions(OptionsOfTask):
    """The size that pictures are resized to, the grid that attention is over, and defaults of beam search.

    The places of the grid are numbered row by row. Scores are divided as for translations.
    """

    graphs: ClassVar = ("encoder", "decoder_step")
    needs_state: ClassVar = True

    task: Literal["captioning"] = "captioning"
    image_rows: int = Field(ge=1, le=1024)
    image_columns: int = Field(ge=1, le=1024)
    grid_rows: int = Field(ge=1)
    grid_columns: int = Field(ge=1)
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0.0, le=4.0)

    @property
    def why_whole(self) -> str:
        return "looks at the whole picture for every word that it writes"


TaskOptions = Annotated[
    TaggingOptions
    | ClassificationOptions
    | TranslationOptions
    | GenerationOptions
    | ForecastingOptions
    | CaptioningOptions,
    Field(discriminator="task"),
]


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


class TrainingFacts(Strict):
    """How the weights were trained."""

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
        if set(self.graphs) != set(options.graphs):
            wanted, found = sorted(options.graphs), sorted(self.graphs)
            raise ValueError(f"{task} needs the graphs {wanted}, the manifest has {found}")
        for name, variant in self.variants.items():
            if not variant.graphs.keys() <= set(options.graphs):
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
        (graph,) = self.graphs.values()
        for spec in self.state:
            _require_tensor("input", spec.name, spec, graph.inputs)
            _require_tensor("output", spec.next_name, spec, graph.outputs)
        return self

    @property
    def reads_chunks(self) -> bool:
        """Whether the bundle reads its input in chunks: its task may, and its graph takes and returns state."""
        return self.options.may_read_chunks and bool(self.state)


def _require_tensor(kind: str, name: str, spec: StateSpec, tensors: tuple[TensorSpec, ...]) -> None:
    shape = (spec.layers, "batch", spec.width)
    if not any((t.name, t.dtype, t.shape) == (name, "float32", shape) for t in tensors):
        raise ValueError(f"the state needs an {kind} {name!r} of float32 {list(shape)} in the graph")
