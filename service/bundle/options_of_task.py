"""The base of the options of each task: what a bundle for the task holds."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of immutable models that refuse unknown keys, so that a misspelt key is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


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
    def required_graphs(self) -> tuple[str, ...]:
        """The graphs of a bundle with these options."""
        return self.graphs

    @property
    def required_outputs(self) -> dict[str, tuple[str, ...]]:
        """Outputs by graph that a bundle with these options has beside the usual ones."""
        return {}

    @property
    def values_per_step(self) -> int:
        """Steps of the input for each step of the output."""
        return 1

    @property
    def why_whole(self) -> str:
        """Why a bundle cannot read its input in chunks, as the rest of a sentence about it."""
        return "reads its input as a whole"
