"""Network configuration: the table `[network]` of a recipe, one class per task."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.bundle.task_options import Quantiles
from training.config.grammar import GrammarText

#: `gru` applies the reset gate after the recurrent product, as torch and cuDNN do; `gru_before` before it (Cho et al.
#: 2014).
Cell = Literal["lstm", "gru", "gru_before", "rnn"]
#: Upper limits, far above what is of use: a slip of the keyboard is told as one before anything is allocated.
MAX_SIZE, MAX_LAYERS, MAX_STEPS = 65_536, 64, 1_000_000
#: For networks that also work without a recurrence.
CellOrNone = Literal[Cell, "none"]
PoolingKind = Literal["last", "mean", "max", "attention", "max+mean", "last+max+mean"]
Connection = Literal["none", "residual", "highway"]
CharacterReader = Literal["cnn", "rnn", "none"]
AttentionKind = Literal["additive", "dot"]
#: `additive` is Bahdanau's (Luong's concat); `dot` projects both sides; `general` and `plain_dot` are Luong's.
TranslatorAttention = AttentionKind | Literal["general", "plain_dot"]
SamplingSchedule = Literal["none", "linear", "inverse_sigmoid"]


class Strict(BaseModel):
    """Immutable; unknown keys are errors. Numbers are accepted for strings: `version = 2` means `version = "2"`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), coerce_numbers_to_str=True, allow_inf_nan=False
    )


class NetworkTable(Strict):
    """Base of the network tables."""

    #: Whether the network learns from running text, which can be joined and reversed.
    learns_running_text: ClassVar[bool] = False

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        """Compare with other tables of the recipe. Raises ValueError where the network cannot work with them."""


class WordReaderTable(NetworkTable):
    """Base of the tables of networks that read words with their characters: features, recurrent encoder."""

    cell: Cell = "lstm"
    hidden_size: int = Field(default=200, ge=1, le=MAX_SIZE)
    layers: int = Field(default=1, ge=1, le=MAX_LAYERS)
    bidirectional: bool = Field(default=True, description="false reads forward only")
    connection: Connection = Field(default="none", description="around each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="layer normalisation of each layer's output")
    word_size: int = Field(default=100, ge=1, le=MAX_SIZE)
    characters: CharacterReader = "cnn"
    character_size: int = Field(default=32, ge=1, le=MAX_SIZE)
    character_hidden_size: int = Field(default=64, ge=1, le=MAX_SIZE)
    max_word_characters: int = Field(default=24, ge=1, le=256)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    locked_dropout: bool = Field(
        default=True, description="variational dropout: the same mask at every step of a sequence"
    )
    word_dropout: float = Field(default=0.05, ge=0, lt=1, description="share of words replaced by the unknown token")
    embedding_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of words whose vector is zero throughout a batch"
    )
    contextual: tuple[str, ...] = Field(
        default=(), description="run folders of two character language models: one forward, one backward"
    )
    contextual_size: int = Field(default=128, ge=1, le=MAX_SIZE, description="size that their states are projected to")

    @model_validator(mode="after")
    def _both_directions(self) -> Self:
        if len(self.contextual) not in (0, 2):
            raise ValueError("contextual needs two run folders: of a model that reads forward, and of one backward")
        return self


class TaggerConfig(WordReaderTable):
    """Word and character features, recurrent encoder, softmax or CRF; with `joint` also one label for the text."""

    task: Literal["tagging"] = "tagging"
    bidirectional: bool = Field(
        default=True, description="false reads forward only; without a CRF, a text can then be sent in chunks"
    )
    decoder: Literal["softmax", "crf"] = "softmax"
    joint: bool = Field(default=False, description="also predict a label for the whole text")
    text_pooling: PoolingKind = Field(default="max", description="of the whole text, in a joint network")
    text_loss_weight: float = Field(
        default=0.2, gt=0, description="weight of the text label's loss; that of the tags is 1"
    )


class ClassifierConfig(NetworkTable):
    """Word features, optionally with character features; recurrent encoder, pooling, linear output.

    Without a recurrence (`cell = "none"`) features are pooled directly, and `layers` of `hidden_size` follow.
    """

    task: Literal["classification"] = "classification"
    cell: CellOrNone = Field(default="lstm", description="`none`: a feed-forward network on pooled features")
    hidden_size: int = Field(default=200, ge=1, le=MAX_SIZE)
    layers: int = Field(default=1, ge=1, le=MAX_LAYERS)
    bidirectional: bool = Field(
        default=True, description="false reads forward only; with `last` pooling, a text can then be sent in chunks"
    )
    connection: Connection = Field(default="none", description="around each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="layer normalisation of each layer's output")
    embedding_size: int = Field(default=100, ge=1, le=MAX_SIZE)
    characters: CharacterReader = Field(default="none", description="character features, beside the word vector")
    character_size: int = Field(default=32, ge=1, le=MAX_SIZE)
    character_hidden_size: int = Field(default=64, ge=1, le=MAX_SIZE)
    max_word_characters: int = Field(default=24, ge=1, le=256)
    pooling: PoolingKind = "attention"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    locked_dropout: bool = Field(
        default=True, description="variational dropout: the same mask at every step of a sequence"
    )
    word_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of words replaced by the unknown token")
    embedding_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of words whose vector is zero throughout a batch"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    outside_label: str = Field(default="oos", description="label of out-of-scope texts, scored separately")

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        if self.characters != "none" and unit != "word":
            raise ValueError('network.characters needs tokenizer.unit "word": characters are read word by word')

    @model_validator(mode="after")
    def _without_recurrence(self) -> ClassifierConfig:
        if self.cell != "none":
            return self
        if "last" in self.pooling:
            raise ValueError('cell "none" has no last state: set pooling to mean, max, attention or max+mean')
        if self.characters == "rnn":
            raise ValueError('cell "none" reads no characters by recurrence: set characters to cnn or none')
        if self.connection != "none" or self.layer_norm:
            raise ValueError('connection and layer_norm belong to recurrent layers; there are none with cell "none"')
        return self


class TranslatorConfig(NetworkTable):
    """Recurrent encoder; decoder with attention in its first layer."""

    task: Literal["translation"] = "translation"
    cell: Cell = "lstm"
    embedding_size: int = Field(default=256, ge=1, le=MAX_SIZE)
    encoder_hidden_size: int = Field(default=256, ge=1, le=MAX_SIZE)
    encoder_layers: int = Field(default=1, ge=1, le=MAX_LAYERS)
    bidirectional: bool = True
    decoder_hidden_size: int = Field(default=256, ge=1, le=MAX_SIZE)
    decoder_layers: int = Field(default=2, ge=1, le=MAX_LAYERS)
    attention: TranslatorAttention = "additive"
    attention_size: int = Field(
        default=128, ge=1, le=MAX_SIZE, description="of additive and dot attention; the other kinds have none"
    )
    input_feeding: bool = Field(
        default=False, description="each step also reads the attentional vector of the step before"
    )
    coverage: bool = Field(default=False, description="additive attention also reads the sum of its past weights")
    coverage_loss: float = Field(
        default=0.0, ge=0, description="weight of the coverage penalty; that of the tokens is 1"
    )
    copying: bool = Field(
        default=False, description="also write words of the source: a gate mixes the softmax and the attention"
    )
    scheduled_sampling: SamplingSchedule = Field(
        default="none", description="how true target tokens are replaced by predicted ones during training"
    )
    sampling_updates: int = Field(
        default=5000, ge=1, description="linear: updates until the floor; inverse_sigmoid: k in k / (k + exp(i / k))"
    )
    sampling_floor: float = Field(default=0.5, ge=0, le=1, description="smallest share of true tokens")
    dropout: float = Field(default=0.2, ge=0, lt=1)
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    tie_embeddings: bool = Field(default=True, description="the target embedding is also the output layer")
    source_language: str = "source"
    target_language: str = "target"
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0, le=4)
    tokens_beyond_source: int = Field(default=20, ge=1, le=MAX_STEPS, description="new tokens: twice the source + this")
    grammar: GrammarText = Field(default="", description="what answers parse by: a shipped grammar, or a lark file")

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        if self.copying and unit != "word":
            raise ValueError('network.copying needs tokenizer.unit "word": what is copied are whole words and marks')
        if self.grammar and unit != "word":
            raise ValueError('network.grammar needs tokenizer.unit "word": its terminals are whole words and marks')

    @model_validator(mode="after")
    def _copying_fits(self) -> TranslatorConfig:
        if self.copying and self.label_smoothing:
            raise ValueError("label_smoothing spreads over the vocabulary, not over the source: set it to 0 to copy")
        if self.copying and self.scheduled_sampling != "none":
            raise ValueError('scheduled_sampling draws from the vocabulary alone: set it to "none" to copy')
        return self

    @model_validator(mode="after")
    def _attention_fits(self) -> TranslatorConfig:
        memory = self.encoder_hidden_size * (2 if self.bidirectional else 1)
        if self.attention == "plain_dot" and memory != self.decoder_hidden_size:
            raise ValueError(
                f'attention "plain_dot" needs decoder_hidden_size ({self.decoder_hidden_size}) to be what the encoder '
                f'gives ({memory}); "general" takes any sizes'
            )
        if self.coverage and self.attention != "additive":
            raise ValueError('coverage is a summand of additive attention: set attention to "additive"')
        if self.coverage_loss and not self.coverage:
            raise ValueError("coverage_loss needs coverage")
        return self


class LanguageModelConfig(NetworkTable):
    """Embedding, recurrent layers, softmax over the next token."""

    learns_running_text: ClassVar[bool] = True

    task: Literal["generation"] = "generation"
    cell: Cell = "lstm"
    embedding_size: int = Field(default=128, ge=1, le=MAX_SIZE)
    hidden_size: int = Field(default=512, ge=1, le=MAX_SIZE)
    layers: int = Field(default=1, ge=1, le=MAX_LAYERS)
    connection: Connection = Field(default="none", description="around each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="layer normalisation of each layer's output")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="of the softmax input, and the default of the next two")
    input_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="of the first layer's input; `dropout` unless given"
    )
    layer_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="of the input of each further layer; `dropout` unless given"
    )
    locked_dropout: Literal["none", "layers", "all"] = Field(
        default="layers",
        description="variational dropout, one mask per window: of the layers' inputs, or also of the softmax input",
    )
    embedding_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of tokens whose vector is zero throughout a batch"
    )
    weight_drop: float = Field(
        default=0.0, ge=0, lt=1, description="DropConnect: share of hidden-to-hidden weights that are zero in a window"
    )
    activation_penalty: float = Field(
        default=0.0, ge=0, description="activation regularisation (AR) of the last layer's outputs"
    )
    change_penalty: float = Field(
        default=0.0, ge=0, description="temporal activation regularisation (TAR): penalises changes between steps"
    )
    tie_embeddings: bool = Field(
        default=False,
        description="the embedding is also the output layer; other hidden sizes are projected to its size first",
    )
    sampled_softmax: int = Field(
        default=0,
        ge=0,
        description="number of sampled words in the training loss, frequent ones more often; 0 uses all words",
    )
    window: int = Field(default=128, ge=2, le=MAX_STEPS, description="steps of truncated backpropagation through time")
    random_window: bool = Field(default=False, description="train on windows of random lengths around `window`")


class ForecasterConfig(NetworkTable):
    """SegRNN: a recurrence over segments of the past, then all segments of the future in parallel."""

    task: Literal["forecasting"] = "forecasting"
    cell: Cell = "gru"
    hidden_size: int = Field(default=128, ge=2, le=MAX_SIZE)
    look_back: int = Field(default=168, ge=1, le=MAX_STEPS, description="rows of the past; a multiple of `segment`")
    horizon: int = Field(default=24, ge=1, le=MAX_STEPS, description="rows to forecast")
    segment: int = Field(default=24, ge=1, le=MAX_STEPS, description="rows per step of the recurrence")
    mixing: Literal["independent", "joint"] = Field(
        default="independent", description="each target from its own past, or from all channels together"
    )
    error: Literal["squared", "absolute"] = Field(default="squared", description="training loss")
    quantiles: Quantiles = Field(
        default=(), description="also forecast these; the training loss is then the pinball loss"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)
    minimum: float | None = Field(
        default=None, description="lower bound of forecasts, such as 0 for quantities that are never negative"
    )
    period: int = Field(default=24, ge=0, description="seasonality of the series in rows, for the baseline")

    @property
    def num_past_segments(self) -> int:
        return self.look_back // self.segment

    @property
    def num_future_segments(self) -> int:
        """Rounded up; the part of the last segment beyond the horizon is cut off."""
        return -(-self.horizon // self.segment)

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        if self.look_back > max_input_tokens:
            raise ValueError(
                f"network.look_back ({self.look_back}) is more than limits.max_input_tokens ({max_input_tokens}): "
                "every request would be refused"
            )

    @model_validator(mode="after")
    def _whole_segments(self) -> ForecasterConfig:
        if self.look_back % self.segment:
            raise ValueError(f"look_back ({self.look_back}) must be a multiple of segment ({self.segment})")
        return self


class CaptionConfig(NetworkTable):
    """Base of the networks that describe what they see: convolutions, and a recurrent decoder with attention."""

    cell: Cell = "lstm"
    image_rows: int = Field(default=64, ge=8, le=1024, description="size that pictures are resized to")
    image_columns: int = Field(default=64, ge=8, le=1024)
    channels: tuple[int, ...] = Field(
        default=(32, 64, 128), min_length=1, description="channels of each stage; each stage halves the resolution"
    )
    convolutions: int = Field(default=2, ge=1, le=4, description="layers per stage after the first")
    embedding_size: int = Field(default=128, ge=1, le=MAX_SIZE)
    hidden_size: int = Field(default=256, ge=1, le=MAX_SIZE)
    attention: AttentionKind = "additive"
    attention_size: int = Field(default=128, ge=1, le=MAX_SIZE)
    hard_attention: bool = Field(default=False, description="look at one place for each word, learned by REINFORCE")
    soft_share: float = Field(default=0.8, ge=0, le=1, description="hard: share of training rows that look everywhere")
    entropy_weight: float = Field(default=0.01, ge=0, description="hard: reward for looking around")
    reinforce_weight: float = Field(default=1.0, ge=0, description="hard: of the choice of places in the loss")
    dropout: float = Field(default=0.3, ge=0, lt=1)
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    word_loss_weight: float = Field(
        default=0.5, ge=0, description="weight of predicting the words of the caption from the mean of the memory"
    )
    rare_words: bool = Field(
        default=False, description="in that loss a word weighs the more, the fewer captions of the batch have it"
    )
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0, le=4)

    @property
    def grid_rows(self) -> int:
        """Rows of the grid that attention is over."""
        return self.image_rows >> len(self.channels)

    @property
    def grid_columns(self) -> int:
        return self.image_columns >> len(self.channels)

    @model_validator(mode="after")
    def _whole_places(self) -> Self:
        step = 1 << len(self.channels)
        if self.image_rows % step or self.image_columns % step:
            raise ValueError(f"image_rows and image_columns must be multiples of {step}: each stage halves them")
        return self


class CaptionerConfig(CaptionConfig):
    """Convolutional encoder; recurrent decoder with attention over places of the picture."""

    task: Literal["captioning"] = "captioning"


class TranscriberConfig(NetworkTable):
    """Convolutional front end and recurrent encoder for speech recognition, with CTC or a transducer on top."""

    task: Literal["transcription"] = "transcription"
    cell: Cell = "lstm"
    hidden_size: int = Field(default=256, ge=1, le=MAX_SIZE)
    layers: int = Field(default=2, ge=1, le=MAX_LAYERS)
    bidirectional: bool = Field(default=False, description="false reads forward only, so that speech can be streamed")
    connection: Connection = Field(default="none", description="around each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="layer normalisation of each layer's output")
    dropout: float = Field(default=0.2, ge=0, lt=1)
    locked_dropout: bool = Field(default=True, description="the same dropout mask at every step of a sequence")
    decoder: Literal["ctc", "transducer"] = Field(
        default="ctc", description="a transducer also reads the tokens written so far"
    )
    predictor_size: int = Field(default=128, ge=1, le=MAX_SIZE, description="of a transducer: embedding and layer")
    predictor_dropout: float = Field(default=0.2, ge=0, lt=1, description="of a transducer")
    joint_size: int = Field(default=128, ge=1, le=MAX_SIZE, description="of a transducer: where both sides are added")
    max_symbols_per_step: int = Field(default=4, ge=1, le=64, description="tokens of a transducer at one step")
    ctc_weight: float = Field(
        default=0.3, ge=0, description="of a transducer: weight of a CTC loss over the encoder, in training only"
    )
    flush_ms: float = Field(
        default=300.0, ge=0, le=10_000, description="silence read after the end of a sound, by a network that streams"
    )
    endpoint_ms: float = Field(default=800.0, ge=0, description="silence that ends an utterance of a stream")
    max_utterance_s: float = Field(default=30.0, gt=0, description="after which an utterance is ended in any case")
    num_beams: int = Field(default=1, ge=1, le=32, description="of the bundle; 1 is greedy decoding, as in training")
    start_from: str = Field(
        default="",
        description="run folder of a recogniser to fine-tune: training starts from its best weights, tokens and scale",
    )
    language_model: str = Field(
        default="", description="run folder of a language model with the same unit, for beam search in the bundle"
    )
    language_model_weight: float = Field(default=0.3, ge=0, le=2, description="of its log-probabilities in beams")
    token_bonus: float = Field(
        default=0.0, ge=0, le=10, description="added for each token in beams, against the brevity it prefers"
    )
