"""The options of each task in a manifest: how the service reads what the graphs of a bundle give."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from service.bundle.options_of_task import OptionsOfTask, Strict

#: Tasks whose bundles training makes: each has a half there.
TrainedTask = Literal[
    "tagging",
    "classification",
    "translation",
    "generation",
    "forecasting",
    "captioning",
    "transcription",
    "parsing",
    "video",
]

#: Every task that a bundle can be for. Each has a class of options below, and a place in the union `TaskOptions`.
TaskName = Literal[TrainedTask, "tensors"]

#: The quantile that is the point forecast of a model that forecasts quantiles.
MEDIAN = 0.5
#: Of a grammar, in UTF-8; far above those of query languages.
MAX_GRAMMAR_BYTES = 64 * 1024


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
    tokens_beyond_source: int = Field(
        default=20, ge=1, description="a request's limit of new tokens is twice its source plus this, if it names none"
    )
    copying: bool = Field(
        default=False, description="whether `decoder_step` gives a `generate_logit`, and source words can be copied"
    )
    grammar: str = Field(
        default="",
        max_length=MAX_GRAMMAR_BYTES,
        description="the grammar that answers parse by, in the notation of lark; empty if there is none",
    )

    @property
    def required_outputs(self) -> dict[str, tuple[str, ...]]:
        return {"decoder_step": ("generate_logit",)} if self.copying else {}

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


class VideoOptions(OptionsOfTask):
    """How clips are read, the grid of places of each frame that attention is over, and defaults of beam search.

    The labels of the manifest are the actions. Scores of captions are divided as for translations.
    """

    graphs: ClassVar = ("encoder", "decoder_step")
    has_labels: ClassVar = True
    needs_state: ClassVar = True

    task: Literal["video"] = "video"
    image_rows: int = Field(ge=1, le=256, description="size that frames are resized to")
    image_columns: int = Field(ge=1, le=256)
    grid_rows: int = Field(ge=1)
    grid_columns: int = Field(ge=1)
    max_frames: int = Field(ge=1, le=64, description="frames of a clip that are read, evenly spread")
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0.0, le=4.0)

    @property
    def why_whole(self) -> str:
        return "looks at all frames of a clip for every word that it writes"


class TranscriptionOptions(OptionsOfTask):
    """Speech recognition: what the encoder reads, and how its outputs become text. The blank is token 0.

    The graph `encoder` gives log-probabilities of tokens for each step (`ctc`, Graves et al. 2006), or vectors that
    `joint` combines with those of `predictor` (`transducer`, Graves 2012). A graph `language_model` is optional.
    """

    graphs: ClassVar = ("encoder",)
    may_read_chunks: ClassVar = True

    task: Literal["transcription"] = "transcription"
    signal: SignalSpec
    frames_per_step: int = Field(default=1, ge=1, description="frames of one output step, where the input is frames")
    step_ms: float = Field(default=0.0, ge=0.0, description="duration of an output step; 0 is unknown")
    unit: Literal["character", "subword", "word"] = Field(default="character", description="what one token is")
    decoder: Literal["ctc", "transducer"] = "ctc"
    max_symbols_per_step: int = Field(default=4, ge=1, le=64, description="of a transducer")
    flush_steps: int = Field(default=0, ge=0, le=1000, description="steps of silence read after the end of an input")
    endpoint_ms: float = Field(default=800.0, ge=0.0, description="silence that ends an utterance; 0 never ends one")
    max_utterance_s: float = Field(default=30.0, gt=0.0, description="after which an utterance is ended in any case")
    num_beams: int = Field(default=1, ge=1, le=32, description="1 is greedy decoding")
    language_model: bool = Field(default=False, description="whether there is a graph `language_model`")
    language_model_weight: float = Field(default=0.3, ge=0.0, le=2.0, description="of its log-probabilities in beams")
    token_bonus: float = Field(
        default=0.0, ge=0.0, le=10.0, description="added for each token in beams, against the brevity it prefers"
    )

    @property
    def required_graphs(self) -> tuple[str, ...]:
        of_decoder = ("predictor", "joint") if self.decoder == "transducer" else ()
        return (*self.graphs, *of_decoder, *(("language_model",) if self.language_model else ()))

    @property
    def values_per_step(self) -> int:
        """Samples or frames of one output step."""
        return self.signal.samples_per_step if isinstance(self.signal, WaveformSpec) else self.frames_per_step

    @property
    def why_whole(self) -> str:
        return "reads its input in both directions"


#: How the head of a word is written in `ParsingOptions.offsets`: `ROOT`, or as `NOUN:-1`, the nearest noun on its left.
HeadEncoding = Annotated[str, Field(pattern=r"^(ROOT|.+:[+-][1-9][0-9]{0,3})$")]


#: An edit script: how many characters to take off the end of a word, and those to add; `l`, `t` change its case before.
EditScript = Annotated[str, Field(pattern=r"^[lt]?[0-9]{1,4}-\S*$")]


class LemmatizerOptions(Strict):
    """How a parser finds lemmas: a table of words, whose edit scripts other words share by their endings."""

    table: dict[str, dict[EditScript, str]] = Field(
        description="tag -> edit script such as 3-y -> words, separated by blanks"
    )


class SegmenterOptions(Strict):
    """How raw text is cut into sentences and words by the graph `segmenter`; forms of the tables are in lower case."""

    window: int = Field(default=400, ge=16, le=4096, description="characters that the graph reads at once")
    margin: int = Field(default=50, ge=1, le=1024, description="of a window, at each side, for context alone")
    max_characters: int = Field(default=16_384, ge=1, description="of one text")
    expansions: dict[str, tuple[str, ...]] = Field(default={}, description="token -> words; one if its ending misleads")
    suffixes: dict[str, tuple[str, ...]] = Field(default={}, description="end -> end of the first word, other words")
    abbreviations: tuple[str, ...] = Field(default=(), description="with their full stops, seldom ends of sentences")
    blanks_in_numbers: bool = Field(default=False, description="whether a number such as 10 000 may be one token")

    @model_validator(mode="after")
    def _window_fits(self) -> SegmenterOptions:
        if self.window <= 2 * self.margin:
            raise ValueError("a window is larger than its two margins")
        return self


class ParsingOptions(OptionsOfTask):
    """Dependency parsing: how the outputs of `parser` become a tree. The labels of the manifest are the tags of words.

    With `decoder="biaffine"` the graph scores every pair of words, and `relations` scores the relations of the chosen
    pairs (Dozat and Manning 2017). With `decoder="labels"` it scores encodings of each word's head, which are relative
    to tags (Strzyz, Vilares and Gómez-Rodríguez 2019), and its relations. Both give the maximum spanning tree.
    """

    graphs: ClassVar = ("parser",)
    has_labels: ClassVar = True

    task: Literal["parsing"] = "parsing"
    decoder: Literal["biaffine", "labels"] = "biaffine"
    relations: tuple[str, ...] = Field(min_length=1, description="dependency relations, in the order of their logits")
    offsets: tuple[HeadEncoding, ...] = Field(
        default=(), description="encodings of the head, in the order of their logits; only of the decoder labels"
    )
    features: tuple[str, ...] = Field(
        default=(),
        description='morphological features of a word as one string, such as "Number=Sing", and "_" for none, in the '
        "order of their logits",
    )
    max_word_characters: int = Field(default=24, ge=1, le=256)
    lemmatizer: LemmatizerOptions | None = Field(default=None, description="of a parser that gives lemmas too")
    segmenter: SegmenterOptions | None = Field(default=None, description="of a parser that cuts raw text")

    @property
    def required_graphs(self) -> tuple[str, ...]:
        of_relations = ("relations",) if self.decoder == "biaffine" else ()
        of_text = ("segmenter",) if self.segmenter is not None else ()
        return (*self.graphs, *of_relations, *of_text)

    @model_validator(mode="after")
    def _names_fit(self) -> ParsingOptions:
        for name, values in [("relations", self.relations), ("offsets", self.offsets), ("features", self.features)]:
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must be distinct")
        if bool(self.offsets) != (self.decoder == "labels"):
            raise ValueError("offsets belong to the decoder labels, which needs them")
        return self


class TensorNote(Strict):
    """What one input or output of a graph holds, and which numbers an input may be.

    Ids that index the rows of an embedding need bounds: onnxruntime fails a whole batch for one that has no row.
    """

    description: str = Field(default="", max_length=200, description="for readers, with the unit if there is one")
    minimum: float | None = Field(default=None, allow_inf_nan=False, description="the least number of an input")
    maximum: float | None = Field(default=None, allow_inf_nan=False, description="the largest number of an input")

    @model_validator(mode="after")
    def _bounds_fit(self) -> TensorNote:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"no number is at least {self.minimum:g} and at most {self.maximum:g}")
        return self


class TensorsOptions(OptionsOfTask):
    """Named arrays in, named arrays out: a recurrent graph whose inputs have no meaning that the service knows.

    Every input but the state is `[batch, ...]`; one over time is `[batch, "time", ...]`. An input `lengths`, int64
    `[batch]`, is fed by the service with the true lengths, and the graph then computes nothing from padding.
    """

    graphs: ClassVar = ("model",)
    may_read_chunks: ClassVar = True

    task: Literal["tensors"] = "tensors"
    equal_lengths: bool = Field(
        default=False, description="whether only inputs of one length share a run: the graph is not told the lengths"
    )
    fixed_length: int | None = Field(
        default=None, ge=1, description="steps of time where the graph takes one number of them, axis 1 of its inputs"
    )
    notes: dict[str, TensorNote] = Field(default_factory=dict, description="by the name of an input or output")


TaskOptions = Annotated[
    TaggingOptions
    | ClassificationOptions
    | TranslationOptions
    | GenerationOptions
    | ForecastingOptions
    | CaptioningOptions
    | TranscriptionOptions
    | ParsingOptions
    | VideoOptions
    | TensorsOptions,
    Field(discriminator="task"),
]


def signal_of(options: TaskOptions) -> SignalSpec | None:
    """The signal that a bundle reads; None for text, pictures and the windows of a forecaster."""
    return options.signal if isinstance(options, (ClassificationOptions, TranscriptionOptions)) else None
