"""Base of networks that read words with their characters: features of each word, and a recurrent encoder over them."""

from __future__ import annotations

from torch import Tensor, nn

from service.bundle.manifest import TensorSpec
from training.config.networks import WordReaderTable
from training.networks.inputs.contextual import ContextualFeatures
from training.networks.inputs.word_features import WordDropouts, character_features, feature_size, with_characters
from training.networks.layers.dropout import sequence_dropout
from training.networks.layers.recurrent import recurrent_encoder
from training.networks.network import Network, Tensors, int64
from training.preprocessing.character_models import CharacterModels


class WordReader(Network):
    """Word embedding and character features, concatenated, and the encoder that reads them. A subclass adds outputs."""

    reading_modules = ("word_embedding", "character_features", "contextual", "encoder")

    def __init__(
        self, config: WordReaderTable, words: int, characters: int, models: CharacterModels | None = None
    ) -> None:
        """`words` and `characters` are the sizes of the vocabularies."""
        super().__init__()
        self.word_dropouts = WordDropouts(config)
        self.word_embedding = nn.Embedding(words, config.word_size, padding_idx=0)
        self.character_features = character_features(config, characters)
        self.contextual = ContextualFeatures(models, characters, config.contextual_size) if models else None
        self.dropout = sequence_dropout(config.dropout, config.locked_dropout)
        read_size = feature_size(config.word_size, self.character_features, self.contextual)
        self.encoder = recurrent_encoder(config, read_size)

    def word_inputs(self) -> tuple[TensorSpec, ...]:
        """What its graph reads: words, characters where they are read, lengths."""
        reads_characters = self.character_features is not None or self.contextual is not None
        characters = [int64("characters", "batch", "time", "chars")] if reads_characters else []
        return int64("words", "batch", "time"), *characters, int64("lengths", "batch")

    def word_features(self, words: Tensor, characters: Tensor) -> Tensor:
        """`[batch, time]`, `[batch, time, chars]` -> what the encoder reads, `[batch, time, width]`."""
        embedded = self.word_dropouts(self.word_embedding, words)
        features: Tensor = self.dropout(with_characters(embedded, characters, self.character_features, self.contextual))
        return features


def words_of(feeds: Tensors) -> tuple[Tensor, Tensor]:
    """Words and characters of a graph's inputs. A network without character features ignores what stands for them."""
    words = feeds["words"]
    return words, feeds.get("characters", words.unsqueeze(2))
