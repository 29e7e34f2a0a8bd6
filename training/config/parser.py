"""Network configuration of dependency parsers: the table `[network]` of a recipe for parsing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.config.networks import MAX_LAYERS, MAX_SIZE, Cell, CharacterReader, Connection, NetworkTable


class ParserConfig(NetworkTable):
    """Word and character features, recurrent encoder; a biaffine scorer of arcs, or heads as labels of words."""

    task: Literal["parsing"] = "parsing"
    cell: Cell = "lstm"
    hidden_size: int = Field(default=200, ge=1, le=MAX_SIZE)
    layers: int = Field(default=2, ge=1, le=MAX_LAYERS)
    bidirectional: bool = Field(default=True, description="false reads forward only, for comparison")
    connection: Connection = Field(default="none", description="around each layer of a stack but the first")
    layer_norm: bool = Field(default=False, description="layer normalisation of each layer's output")
    word_size: int = Field(default=100, ge=1, le=MAX_SIZE)
    characters: CharacterReader = "cnn"
    character_size: int = Field(default=32, ge=1, le=MAX_SIZE)
    character_hidden_size: int = Field(default=64, ge=1, le=MAX_SIZE)
    max_word_characters: int = Field(default=24, ge=1, le=256)
    decoder: Literal["biaffine", "labels"] = Field(
        default="biaffine", description="a score for each pair of words, or a label of each word that tells its head"
    )
    arc_size: int = Field(default=256, ge=1, le=MAX_SIZE, description="of a word as head and as dependent; biaffine")
    relation_size: int = Field(default=64, ge=1, le=MAX_SIZE, description="likewise, for the relation; biaffine")
    scorer_dropout: float = Field(default=0.33, ge=0, lt=1, description="of these; biaffine")
    min_offset_count: int = Field(
        default=2, ge=1, description="labels that tell heads, seen more rarely in train, are left out; labels"
    )
    features: bool = Field(default=True, description="also predict morphological features, where the data has them")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    locked_dropout: bool = Field(
        default=True, description="variational dropout: the same mask at every step of a sequence"
    )
    word_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of words replaced by the unknown token")
    embedding_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of words whose vector is zero throughout a batch"
    )
    tag_loss_weight: float = Field(default=0.5, ge=0, description="of parts of speech; heads and relations have 1")
    feature_loss_weight: float = Field(default=0.3, ge=0, description="of morphological features")
    contextual: tuple[str, ...] = Field(
        default=(), description="run folders of two character language models: one forward, one backward"
    )
    contextual_size: int = Field(default=128, ge=1, le=MAX_SIZE, description="size that their states are projected to")

    @model_validator(mode="after")
    def _both_directions(self) -> ParserConfig:
        if len(self.contextual) not in (0, 2):
            raise ValueError("contextual needs two run folders: of a model that reads forward, and of one backward")
        return self

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        if unit != "word":
            raise ValueError('a parser reads words: tokenizer.unit must be "word"')
