"""Network configuration of dependency parsers: the table `[network]` of a recipe for parsing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.config.networks import MAX_LAYERS, MAX_SIZE, WordReaderTable


class ParserConfig(WordReaderTable):
    """Word and character features, recurrent encoder; a biaffine scorer of arcs, or heads as labels of words."""

    task: Literal["parsing"] = "parsing"
    layers: int = Field(default=2, ge=1, le=MAX_LAYERS)
    bidirectional: bool = Field(default=True, description="false reads forward only, for comparison")
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
    lemmas: bool = Field(default=False, description="also give lemmas, by a table of train and by the ends of words")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    word_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of words replaced by the unknown token")
    tag_loss_weight: float = Field(default=0.5, ge=0, description="of parts of speech; heads and relations have 1")
    feature_loss_weight: float = Field(default=0.3, ge=0, description="of morphological features")

    def check_recipe(self, unit: str, max_input_tokens: int) -> None:
        if unit != "word":
            raise ValueError('a parser reads words: tokenizer.unit must be "word"')
