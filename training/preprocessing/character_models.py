"""Pretrained character language models of a tagger: one reads forward, the other backward."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from service.bundle.manifest import DataSource
from training.config.networks import Cell
from training.preprocessing.tensor_file import read_tensors, write_tensors

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, Direction] = ("forward", "backward")


class ReaderShape(NamedTuple):
    """Sizes that determine the shapes of one model's weights, together with its alphabet."""

    cell: Cell
    embedding_size: int
    hidden_size: int


@dataclass(frozen=True)
class CharacterModels:
    """Shapes, weights and data sources of both models, and the ids of the characters around and between words.

    `weights` have the parameter names of `networks.inputs.contextual.ContextualFeatures`.
    """

    shapes: dict[Direction, ReaderShape]
    blank_id: int
    line_end_id: int
    sources: tuple[DataSource, ...]
    weights: dict[str, Tensor] = field(repr=False)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        facts = {
            "shapes": {direction: list(shape) for direction, shape in self.shapes.items()},
            "blank_id": self.blank_id,
            "line_end_id": self.line_end_id,
            "sources": [source.model_dump(mode="json") for source in self.sources],
        }
        write_tensors(path, self.weights, {"facts": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> CharacterModels:
        """Read a file written by `save`. Raises CheckpointFault when it is damaged."""
        weights, metadata = read_tensors(path)
        facts: dict[str, Any] = json.loads(metadata["facts"])
        return cls(
            shapes={direction: ReaderShape(*facts["shapes"][direction]) for direction in DIRECTIONS},
            blank_id=facts["blank_id"],
            line_end_id=facts["line_end_id"],
            sources=tuple(DataSource.model_validate(source) for source in facts["sources"]),
            weights=weights,
        )
