"""What a recipe may say about its network: one table of keys for each task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.bundle.manifest import Quantiles

Cell = Literal["lstm", "gru", "rnn"]
PoolingKind = Literal["last", "mean", "max", "attention", "max+mean", "last+max+mean"]
Connection = Literal["none", "residual", "highway"]
CharacterReader = Literal["cnn", "rnn", "none"]
AttentionKind = Literal["additive", "dot"]


class Strict(BaseModel):
    """Immutable, and a misspelt key is an error. `version = 2` is as good as `version = "2"`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), coerce_numbers_to_str=True, allow_inf_nan=False
    )


class TaggerConfig(Strict):
    """Word and character features, recurrent encoder, softmax or CRF; with `joint` also one label for the text."""

    task: Literal["tagging"] = "tagging"
    cell: Cell = "lstm"
    hidden_size: int = Field(default=200, ge=1)
    layers: int = Field(default=1, ge=1)
    bidirectional: bool = Field(
        default=True, description="false reads forward only; without a CRF, a text can then be sent in chunks"
    )
    connection: Connection = Field(default="none", description="leads past each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="normalise what each layer gives")
    word_size: int = Field(default=100, ge=1)
    characters: CharacterReader = "cnn"
    character_size: int = Field(default=32, ge=1)
    character_hidden_size: int = Field(default=64, ge=1)
    max_word_characters: int = Field(default=24, ge=1)
    decoder: Literal["softmax", "crf"] = "softmax"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    locked_dropout: bool = Field(default=True, description="variational: the same mask at every step of a sequence")
    word_dropout: float = Field(default=0.05, ge=0, lt=1, description="words that are read as unknown ones")
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1, description="words without a vector, all over a batch")
    joint: bool = Field(default=False, description="one network for the tags and for the label of the whole text")
    text_pooling: PoolingKind = Field(default="max", description="how a joint network sums the text up")
    text_loss_weight: float = Field(default=0.2, gt=0, description="of a text's label, beside 1 for each word's tag")


class ClassifierConfig(Strict):
    """Word features, with those of their characters if wanted; recurrent encoder, pooling, linear output."""

    task: Literal["classification"] = "classification"
    cell: Cell = "lstm"
    hidden_size: int = Field(default=200, ge=1)
    layers: int = Field(default=1, ge=1)
    bidirectional: bool = Field(
        default=True, description="false reads forward only; with `last` pooling, a text can then be sent in chunks"
    )
    connection: Connection = Field(default="none", description="leads past each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="normalise what each layer gives")
    embedding_size: int = Field(default=100, ge=1)
    characters: CharacterReader = Field(default="none", description="how a word is spelt, beside its vector")
    character_size: int = Field(default=32, ge=1)
    character_hidden_size: int = Field(default=64, ge=1)
    max_word_characters: int = Field(default=24, ge=1)
    pooling: PoolingKind = "attention"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    locked_dropout: bool = Field(default=True, description="variational: the same mask at every step of a sequence")
    word_dropout: float = Field(default=0.1, ge=0, lt=1, description="words that are read as unknown ones")
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1, description="words without a vector, all over a batch")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class TranslatorConfig(Strict):
    """Recurrent encoder; decoder whose first layer attends and whose further layers read what it found."""

    task: Literal["translation"] = "translation"
    cell: Cell = "lstm"
    embedding_size: int = Field(default=256, ge=1)
    encoder_hidden_size: int = Field(default=256, ge=1)
    encoder_layers: int = Field(default=1, ge=1)
    bidirectional: bool = True
    decoder_hidden_size: int = Field(default=256, ge=1)
    decoder_layers: int = Field(default=2, ge=1)
    attention: AttentionKind = "additive"
    attention_size: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    tie_embeddings: bool = Field(default=True, description="the target embedding is also the output layer")
    source_language: str = "source"
    target_language: str = "target"
    num_beams: int = Field(default=4, ge=1, le=16)
    length_penalty: float = Field(default=1.0, ge=0, le=4)


class LanguageModelConfig(Strict):
    """Embedding, recurrent layers, softmax over the next token."""

    task: Literal["generation"] = "generation"
    cell: Cell = "lstm"
    embedding_size: int = Field(default=128, ge=1)
    hidden_size: int = Field(default=512, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    tie_embeddings: bool = Field(default=False, description="needs embedding_size == hidden_size")
    window: int = Field(default=128, ge=2, description="steps of truncated backpropagation through time")

    @model_validator(mode="after")
    def _tied_sizes_agree(self) -> LanguageModelConfig:
        if self.tie_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError("tie_embeddings needs embedding_size equal to hidden_size")
        return self


class ForecasterConfig(Strict):
    """A recurrence over segments of the past, then all segments of the future at once (SegRNN)."""

    task: Literal["forecasting"] = "forecasting"
    cell: Cell = "gru"
    hidden_size: int = Field(default=128, ge=2)
    look_back: int = Field(default=168, ge=1, description="rows of the past; a multiple of `segment`")
    horizon: int = Field(default=24, ge=1, description="rows to forecast")
    segment: int = Field(default=24, ge=1, description="rows that one step of the recurrence reads or writes")
    mixing: Literal["independent", "joint"] = Field(
        default="independent", description="each target from its own past, or from all channels together"
    )
    error: Literal["squared", "absolute"] = Field(default="squared", description="what training makes small")
    quantiles: Quantiles = Field(default=(), description="forecast these too; training then makes their error small")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    minimum: float | None = Field(default=None, description="no forecast is below it: 0 for what is never negative")
    period: int = Field(default=24, ge=0, description="rows after which the series repeats itself, for the baseline")

    @property
    def num_past_segments(self) -> int:
        return self.look_back // self.segment

    @property
    def num_future_segments(self) -> int:
        """The last one may reach beyond the horizon; what does is cut off."""
        return -(-self.horizon // self.segment)

    @model_validator(mode="after")
    def _whole_segments(self) -> ForecasterConfig:
        if self.look_back % self.segment:
            raise ValueError(f"look_back ({self.look_back}) must be a multiple of segment ({self.segment})")
        return self


NetworkConfig = Annotated[
    TaggerConfig | ClassifierConfig | TranslatorConfig | LanguageModelConfig | ForecasterConfig,
    Field(discriminator="task"),
]
