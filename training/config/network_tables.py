"""All network tables of a recipe, told apart by the task."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from training.config.networks import (
    CaptionerConfig,
    ClassifierConfig,
    ForecasterConfig,
    LanguageModelConfig,
    TaggerConfig,
    TranscriberConfig,
    TranslatorConfig,
)
from training.config.parser import ParserConfig
from training.config.video import VideoConfig

NetworkConfig = Annotated[
    TaggerConfig
    | ClassifierConfig
    | TranslatorConfig
    | LanguageModelConfig
    | ForecasterConfig
    | CaptionerConfig
    | TranscriberConfig
    | ParserConfig
    | VideoConfig,
    Field(discriminator="task"),
]
