"""Dependency parser: word and character features, recurrent encoder; arcs and relations, parts of speech, features."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.hidden_output import HIDDEN_STATES
from training.config.parser import ParserConfig
from training.networks.layers.cells import State
from training.networks.network import NetworkGraph, Tensors, float32
from training.networks.parsing.biaffine import ArcScorer, RelationScorer
from training.networks.word_reader import WordReader, words_of
from training.preprocessing.batches import ParsingBatch
from training.preprocessing.character_models import CharacterModels
from training.preprocessing.padded_sequences import length_mask

PARSER, RELATIONS = "parser", "relations"
#: The axis of the heads that a word may have: the root, and every word.
CANDIDATES = "candidates"
#: The axis of the chosen arcs of all sentences of a batch.
ARCS = "arcs"


class ParserSizes(NamedTuple):
    """Sizes of the vocabularies. Without `features` none are predicted; `offsets` are for heads as labels."""

    words: int
    characters: int
    tags: int
    relations: int
    features: int = 0
    offsets: int = 0


class BiaffineHeads(nn.Module):
    """Heads and relations by scores of pairs of words, with a learned vector in the place of the root."""

    def __init__(self, config: ParserConfig, size: int, relations: int) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.randn(size) * size**-0.5)
        self.arcs = ArcScorer(size, config.arc_size, config.scorer_dropout)
        self.relations = RelationScorer(size, config.relation_size, relations, config.scorer_dropout)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensors:
        """`[batch, time, size]` -> scores of arcs, and words in both roles as the scorer of relations reads them."""
        root = self.root.to(words.dtype).expand(words.shape[0], 1, -1)
        candidates = torch.cat([root, words], dim=1)
        return {
            "arc_scores": self.arcs(words, candidates, lengths),
            "dependents": self.relations.dependent(words),
            "heads": self.relations.head(candidates),
        }

    def loss(self, scores: Tensors, batch: ParsingBatch, mask: Tensor) -> Tensor:
        """Mean over words of -log p(head) - log p(relation | gold head)."""
        arcs = F.cross_entropy(scores["arc_scores"].float()[mask], batch.heads[mask])
        width = scores["heads"].shape[2]
        heads = scores["heads"].gather(1, batch.heads.unsqueeze(2).expand(-1, -1, width))
        logits = self.relations(scores["dependents"][mask], heads[mask])
        return arcs + F.cross_entropy(logits.float(), batch.relations[mask])


class LabelHeads(nn.Module):
    """Heads and relations as two labels of each word (Strzyz et al. 2019)."""

    def __init__(self, size: int, offsets: int, relations: int) -> None:
        super().__init__()
        self.offsets = nn.Linear(size, offsets)
        self.relations = nn.Linear(size, relations)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensors:
        """`[batch, time, size]` -> the logits of both labels."""
        return {"offset_logits": self.offsets(words), "relation_logits": self.relations(words)}

    def loss(self, scores: Tensors, batch: ParsingBatch, mask: Tensor) -> Tensor:
        """Mean over words of -log p(offset) - log p(relation)."""
        offsets = F.cross_entropy(scores["offset_logits"].float()[mask], batch.offsets[mask])
        return offsets + F.cross_entropy(scores["relation_logits"].float()[mask], batch.relations[mask])


class Parser(WordReader):
    """One encoder; on it linear layers for tags and features, and a scorer of heads and relations."""

    def __init__(self, config: ParserConfig, sizes: ParserSizes, models: CharacterModels | None = None) -> None:
        super().__init__(config, sizes.words, sizes.characters, models)
        self.config, self.sizes = config, sizes
        size = self.encoder.output_size
        self.tags = nn.Linear(size, sizes.tags)
        self.features = nn.Linear(size, sizes.features) if sizes.features else None
        self.heads: BiaffineHeads | LabelHeads = (
            BiaffineHeads(config, size, sizes.relations)
            if config.decoder == "biaffine"
            else LabelHeads(size, sizes.offsets, sizes.relations)
        )

    def graphs(self) -> dict[str, NetworkGraph]:
        """`parser`: words, characters where they are read, lengths -> scores of tags, arcs or labels, features.

        `relations`, of a biaffine parser: both sides of chosen arcs -> the scores of their relations.
        """
        sizes = self.sizes
        outputs = [float32("emissions", "batch", "time", sizes.tags)]
        if isinstance(self.heads, BiaffineHeads):
            width = self.config.relation_size
            outputs.append(float32("arc_scores", "batch", "time", CANDIDATES))
            outputs.append(float32("dependents", "batch", "time", width))
            outputs.append(float32("heads", "batch", CANDIDATES, width))
        else:
            outputs.append(float32("offset_logits", "batch", "time", sizes.offsets))
            outputs.append(float32("relation_logits", "batch", "time", sizes.relations))
        if self.features is not None:
            outputs.append(float32("feature_logits", "batch", "time", sizes.features))
        outputs.append(float32(HIDDEN_STATES, "batch", "time", self.encoder.output_size))
        parser = NetworkGraph(self._parse, self.word_inputs(), tuple(outputs))
        return {PARSER: parser, **self._relations_graph()}

    def _relations_graph(self) -> dict[str, NetworkGraph]:
        if not isinstance(self.heads, BiaffineHeads):
            return {}
        scorer, width = self.heads.relations, self.config.relation_size
        inputs = float32("dependents", ARCS, width), float32("heads", ARCS, width)
        output = float32("relation_logits", ARCS, self.sizes.relations)

        def relate(feeds: Tensors) -> Tensors:
            return {"relation_logits": scorer(feeds["dependents"], feeds["heads"])}

        return {RELATIONS: NetworkGraph(relate, inputs, (output,))}

    def _parse(self, feeds: Tensors) -> Tensors:
        return self.read(*words_of(feeds), feeds["lengths"])

    def read(self, words: Tensor, characters: Tensor, lengths: Tensor) -> Tensors:
        """`[batch, time]`, `[batch, time, chars]`, `[batch]` -> the outputs of the graph `parser` by name."""
        hidden = self.encoder(self.word_features(words, characters), lengths)
        outputs = self.dropout(hidden)
        scores = {"emissions": self.tags(outputs), **self.heads(outputs, lengths), HIDDEN_STATES: hidden}
        return scores if self.features is None else {**scores, "feature_logits": self.features(outputs)}

    def loss(self, batch: ParsingBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over words of the losses of head and relation, plus those of tag and features with their weights."""
        scores = self.read(batch.words, batch.characters, batch.lengths)
        mask = length_mask(batch.lengths, batch.words.shape[1])
        loss = self.heads.loss(scores, batch, mask)
        loss = loss + self.config.tag_loss_weight * F.cross_entropy(scores["emissions"].float()[mask], batch.tags[mask])
        if self.features is not None:
            of_features = F.cross_entropy(scores["feature_logits"].float()[mask], batch.features[mask])
            loss = loss + self.config.feature_loss_weight * of_features
        return loss, ()
