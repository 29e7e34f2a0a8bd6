"""What a caller may choose for generation: text-generation-inference's names, defaults and limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from service.tasks.core.task import Parameters
from service.tasks.generation.sampling import DecodingRules

MAX_STOP_STRINGS = 4
MAX_STOP_CHARACTERS = 256
MAX_TOP_TOKENS = 5
MAX_SEED = 2**64 - 1

#: How much is written when the caller does not say, unless the bundle allows less.
DEFAULT_NEW_TOKENS = 200

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class GenerationParameters(Parameters):
    """Sampling, length and what to report. Without any of the first group the most likely token is taken each time.

    A request that has no `parameters` at all samples: see `when_absent`.
    """

    do_sample: bool = Field(default=False, description="draw at random; also true if any of the next four is given")
    temperature: float | None = Field(default=None, gt=0.0, description="below 1 is bolder, above 1 is wilder")
    top_k: int | None = Field(default=None, gt=0, description="draw from the so many most likely tokens")
    top_p: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="draw from the most likely tokens that together have this probability"
    )
    typical_p: float | None = Field(default=None, gt=0.0, lt=1.0, description="typical decoding with this probability")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="same seed, same text; random if left out")
    repetition_penalty: float | None = Field(
        default=None, gt=0.0, description="above 1 makes tokens of the prompt and the text less likely"
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2.0, le=2.0, description="taken off a token's score for each time it was produced"
    )
    max_new_tokens: int | None = Field(default=None, ge=1, description=f"default {DEFAULT_NEW_TOKENS}, if allowed")
    stop: list[StopString] = Field(
        default_factory=list, max_length=MAX_STOP_STRINGS, description="the text ends with the first of these to appear"
    )
    truncate: int | None = Field(default=None, ge=1, description="read only the so many last tokens of the prompt")
    return_full_text: bool | None = Field(default=None, description="put the prompt before the text")
    details: bool = Field(default=False, description="also return tokens, log-probabilities, seed and reason to stop")
    decoder_input_details: bool = Field(default=False, description="in the details, also list the prompt's tokens")
    top_n_tokens: int | None = Field(
        default=None, ge=0, le=MAX_TOP_TOKENS, description="in the details, list the so many best tokens of each step"
    )
    best_of: int | None = Field(default=None, ge=1, description="only 1")
    watermark: bool = Field(default=False, description="only false")
    grammar: object | None = Field(default=None, description="only null")
    adapter_id: str | None = Field(default=None, description="only null")

    @classmethod
    def when_absent(cls) -> GenerationParameters:
        """What holds for a request without `parameters`, where text-generation-inference samples."""
        return cls(do_sample=True)

    @field_validator("best_of")
    @classmethod
    def _one_answer_each(cls, best_of: int | None) -> int | None:
        if best_of is not None and best_of > 1:
            raise ValueError("only one text is made for each request; send several, with different seeds")
        return best_of

    @field_validator("watermark")
    @classmethod
    def _no_watermark(cls, watermark: bool) -> bool:
        if watermark:
            raise ValueError("watermarks are not supported")
        return watermark

    @field_validator("grammar", "adapter_id")
    @classmethod
    def _left_out(cls, value: object) -> object:
        if value is not None:
            raise ValueError("this is not supported; leave it out or null")
        return value

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn. As in text-generation-inference, asking for a distribution is asking to draw."""
        shaped = (self.top_k, self.top_p, self.typical_p)
        return self.do_sample or self.temperature not in (None, 1.0) or any(value is not None for value in shaped)

    @property
    def rules(self) -> DecodingRules:
        return DecodingRules(
            temperature=self.temperature,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            top_k=self.top_k,
            top_p=self.top_p,
            typical_p=self.typical_p,
        )
