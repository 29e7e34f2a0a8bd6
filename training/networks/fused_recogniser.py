"""A speech recogniser with a language model beside it, for beam search with shallow fusion: two networks in one bundle.

They are trained apart, and share nothing but the bundle.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.networks.language_model import LanguageModel
from training.networks.layers.cells import State
from training.networks.network import Network, NetworkGraph, StateShape

#: The graph of the language model, and the role of its tokenizer.
LANGUAGE_MODEL = "language_model"


class FusedRecogniser(Network):
    """The graphs of a recogniser, and a step of a language model as the graph `language_model`."""

    def __init__(self, recogniser: Network, language_model: LanguageModel) -> None:
        super().__init__()
        self.recogniser = recogniser
        self.language_model = language_model

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        """Those of the recogniser: hypotheses carry the state of the language model."""
        return self.recogniser.state_shapes

    def graphs(self) -> dict[str, NetworkGraph]:
        return self.recogniser.graphs() | {LANGUAGE_MODEL: self.language_model.graphs()["step"]}

    def loss(self, batch: Any, carried: State = ()) -> tuple[Tensor, State]:
        """The loss of the recogniser."""
        return self.recogniser.loss(batch, carried)
