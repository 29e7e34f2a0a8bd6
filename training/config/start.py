"""The table `[start]` of a recipe: the published model that training continues from, and what is kept of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.config.networks import Strict

Frozen = Literal["none", "embeddings", "encoder"]


class StartConfig(Strict):
    """Fine-tuning: weights and vocabulary of a bundle or of a run, to which new words and labels are added."""

    model: str = Field(default="", description="folder of a bundle or of a run; empty for random weights")
    digest: str = Field(
        default="", description="sha256 of the bundle's manifest, or of the run's best weights; checked if given"
    )
    freeze: Frozen = Field(
        default="none",
        description="what keeps its weights: the `embeddings`, or the `encoder` with all that it reads",
    )
    replay: str = Field(
        default="", description="earlier data to learn from again, against forgetting: a public data set, or a file"
    )
    replay_share: float = Field(default=0.3, gt=0, lt=1, description="share of train that is replayed")
    old_dev: str = Field(
        default="",
        description="labelled file of earlier data, scored before and after; else dev of the model's public data set",
    )

    @model_validator(mode="after")
    def _needs_model(self) -> StartConfig:
        given = [key for key in ("digest", "replay", "old_dev") if getattr(self, key)]
        given += ["freeze"] if self.freeze != "none" else []
        if given and not self.model:
            raise ValueError(f"start.{given[0]} needs start.model, the bundle or run to start from")
        return self
