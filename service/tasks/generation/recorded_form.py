"""Parameters and answers of generation as JSON: in the recorded examples of bundles and on the command line.

The names, defaults and limits are those of text-generation-inference; its protocol reads and writes this form too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from typing_extensions import TypedDict  # of `typing` from Python 3.12 on

from service.errors import InvalidInput
from service.tasks.core.task import Answer, Parameters
from service.tasks.generation.constraints.constraint import (
    MAX_BAD_WORD_CHARACTERS,
    MAX_BAD_WORDS,
    MAX_CHOICE_CHARACTERS,
    MAX_CHOICES,
)
from service.tasks.generation.constraints.pattern import MAX_PATTERN_CHARACTERS
from service.tasks.generation.options import (
    DEFAULT_NEW_TOKENS,
    MAX_BIASED_TOKENS,
    MAX_LOGIT_BIAS,
    MAX_SEED,
    MAX_STOP_CHARACTERS,
    SamplingOptions,
)
from service.tasks.generation.result import FinishReason, GeneratedText, GenerationResult
from service.tasks.generation.result import Token as PlainToken

MAX_STOP_STRINGS = 4
MAX_TOP_TOKENS = 5

StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Choice = Annotated[str, Field(min_length=1, max_length=MAX_CHOICE_CHARACTERS)]
BadWord = Annotated[str, Field(min_length=1, max_length=MAX_BAD_WORD_CHARACTERS)]
Regex = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-MAX_LOGIT_BIAS, le=MAX_LOGIT_BIAS)]


class Grammar(TypedDict):
    """A regular expression, in the form in which clients of text-generation-inference send it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    type: Literal["regex"]
    value: Regex


def _false_if_null(value: object) -> object:
    return False if value is None else value


def _empty_if_null(value: object) -> object:
    return [] if value is None else value


#: Clients send null for what they do not set.
Flag = Annotated[bool, BeforeValidator(_false_if_null)]


class GenerationParameters(Parameters):
    """Sampling, length and what to report. Without any of the first group decoding is greedy.

    A request that has no `parameters` at all samples: see `when_absent`.
    """

    do_sample: Flag = Field(default=False, description="draw at random; also true if any of the next four is given")
    temperature: float | None = Field(
        default=None, gt=0.0, description="below 1 is more predictable, above 1 more random"
    )
    top_k: int | None = Field(default=None, gt=0, description="draw from this many of the most likely tokens")
    top_p: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="draw from the most likely tokens that together have this probability"
    )
    typical_p: float | None = Field(default=None, gt=0.0, lt=1.0, description="typical decoding with this probability")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="same seed, same text; random if left out")
    repetition_penalty: float | None = Field(
        default=None, gt=0.0, description="above 1 makes tokens of the prompt and the text less likely"
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2.0, le=2.0, description="subtracted from a token's score for each time it was produced"
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2.0, le=2.0, description="subtracted from the score of every token that was produced, once"
    )
    logit_bias: dict[TokenId, Bias] | None = Field(
        default=None,
        max_length=MAX_BIASED_TOKENS,
        description="added to the scores of the tokens with these ids: -100 bans one, 100 forces it",
    )
    max_new_tokens: int | None = Field(
        default=None, ge=0, description=f"default {DEFAULT_NEW_TOKENS}, if allowed; 0 only reads the prompt"
    )
    stop: Annotated[list[StopString], BeforeValidator(_empty_if_null)] = Field(
        default_factory=list, max_length=MAX_STOP_STRINGS, description="the text ends with the first of these to appear"
    )
    choices: list[Choice] | None = Field(
        default=None, min_length=1, max_length=MAX_CHOICES, description="the text is one of these"
    )
    regex: Regex | None = Field(default=None, description="the whole text matches this regular expression")
    grammar: Grammar | None = Field(
        default=None, description='`{"type": "regex", "value": ...}` is another way to write `regex`'
    )
    bad_words: list[BadWord] | None = Field(
        default=None, max_length=MAX_BAD_WORDS, description="none of these appears in the text"
    )
    truncate: int | None = Field(default=None, ge=1, description="read only this many of the prompt's last tokens")
    return_full_text: bool | None = Field(default=None, description="put the prompt before the text")
    details: Flag = Field(default=False, description="also return tokens, log-probabilities, seed and finish reason")
    decoder_input_details: Flag = Field(
        default=False,
        description="in the details, also the prompt's tokens, log-probabilities and perplexity",
    )
    top_n_tokens: int | None = Field(
        default=None, ge=0, le=MAX_TOP_TOKENS, description="in the details, list this many of the best tokens per step"
    )
    best_of: int | None = Field(
        default=None,
        ge=1,
        description="sample this many texts and return the one whose tokens have the highest mean log-probability",
    )
    watermark: Flag = Field(default=False, description="only false")
    adapter_id: str | None = Field(default=None, description="only null")

    @classmethod
    def when_absent(cls) -> GenerationParameters:
        """What holds for a request without `parameters`, where text-generation-inference samples."""
        return cls(do_sample=True)

    @field_validator("watermark")
    @classmethod
    def _no_watermark(cls, watermark: bool) -> bool:
        if watermark:
            raise ValueError("watermarks are not supported")
        return watermark

    @field_validator("grammar")
    @classmethod
    def _one_pattern(cls, grammar: Grammar | None, info: ValidationInfo) -> Grammar | None:
        if grammar is not None and info.data.get("regex") is not None:
            raise ValueError("regex says the same: leave one of them out")
        return grammar

    @field_validator("adapter_id")
    @classmethod
    def _left_out(cls, value: object) -> object:
        if value is not None:
            raise ValueError("this is not supported; leave it out or null")
        return value

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn. As in text-generation-inference, naming a distribution asks for sampling."""
        is_shaped = self.top_k is not None or self.top_p is not None or self.typical_p is not None
        return self.do_sample or self.temperature not in (None, 1.0) or is_shaped

    @property
    def options(self) -> SamplingOptions:
        """The same in plain form."""
        return SamplingOptions(
            temperature=self.temperature,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias={int(token): bias for token, bias in self.logit_bias.items()} if self.logit_bias else {},
            top_k=self.top_k,
            top_p=self.top_p,
            typical_p=self.typical_p,
            samples=self.samples,
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            stop=self.stop,
            choices=tuple(self.choices or ()),
            regex=self.regex if self.grammar is None else self.grammar["value"],
            bad_words=tuple(self.bad_words or ()),
            max_prompt_tokens=self.truncate,
            lists_tokens=self.details or self.ranks,
            num_top_tokens=self.top_n_tokens or 0,
        )

    @property
    def lists_prompt(self) -> bool:
        """Whether the details list the prompt's tokens with their log-probabilities."""
        return self.details and self.decoder_input_details

    @property
    def ranks(self) -> bool:
        """Whether several texts are made, of which the best is the answer."""
        return self.best_of is not None and self.best_of > 1

    def require_choice(self) -> None:
        """Raises InvalidInput if several texts are asked for that would all be the same."""
        if self.ranks and not self.samples:
            message = "without sampling all texts are the same: add do_sample, temperature, top_k, top_p or typical_p"
            raise InvalidInput(message, ("parameters", "best_of"))

    def text_before(self, prompt: str) -> str:
        """What the text of an answer begins with."""
        return prompt if self.return_full_text else ""


class PromptToken(Answer):
    """A token of the prompt; the first of a text has no log-probability, nothing came before it."""

    id: int
    text: str
    logprob: float | None


class Token(Answer):
    """A token that was chosen, or could have been. `logprob` is natural, after penalties, temperature and filters."""

    id: int
    text: str
    logprob: float
    special: bool = Field(description="true for the end token, which is not part of the text")


class TextDetails(Answer):
    """How the text came about. `seed` is null if nothing was drawn at random."""

    finish_reason: FinishReason
    generated_tokens: int = Field(description="including the end token")
    seed: int | None
    prefill: list[PromptToken] = Field(description="the prompt; empty unless decoder_input_details is set")
    perplexity: float | None = Field(
        default=None, exclude_if=lambda value: value is None, description="of the prompt, per token; with `prefill`"
    )
    bits_per_character: float | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="of the prompt: compares models with different tokens",
    )
    tokens: list[Token]
    top_tokens: list[list[Token]] | None = Field(default=None, exclude_if=lambda tokens: tokens is None)


class OtherText(TextDetails):
    """A text that was made with `best_of` and is not the best."""

    generated_text: str


class GenerationDetails(TextDetails):
    """How the text came about, and with `best_of` the others, the better first."""

    best_of_sequences: list[OtherText] | None = Field(default=None, exclude_if=lambda texts: texts is None)


class ContinuationAnswer(Answer):
    """One text. A stop string is part of it; an end token is not."""

    generated_text: str
    details: GenerationDetails | None = Field(default=None, exclude_if=lambda details: details is None)
    state: str | None = Field(
        default=None, exclude_if=lambda state: state is None, description="send it back to continue from here"
    )


class GenerationAnswer(ContinuationAnswer):
    """The whole text. Where several were asked for, this is the first of them, and `continuations` has them all."""

    continuations: list[ContinuationAnswer] | None = Field(default=None, exclude_if=lambda answers: answers is None)


def written_answer(
    result: GenerationResult, parameters: GenerationParameters, prompt: str, states: Sequence[str] = ()
) -> dict[str, Any]:
    """A `GenerationAnswer` as JSON values, made without validation. `states` has one for each sequence, or none."""
    about_prompt = _written_prompt(result) if parameters.details else {}
    answers = [_written_text(text, parameters, prompt, about_prompt) for text in result.sequences]
    for answer, state in zip(answers, states, strict=False):
        answer["state"] = state
    if parameters.ranks:
        return _best_answer(answers)
    return answers[0] if len(answers) == 1 else answers[0] | {"continuations": answers}


def written_token(token: PlainToken) -> dict[str, Any]:
    """A `Token` as JSON values."""
    return {"id": token.id, "text": token.text, "logprob": token.log_probability, "special": token.is_special}


def _best_answer(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first of several texts, with the others in its details if those were asked for."""
    best = answers[0]
    if "details" in best:
        others = [{**other["details"], "generated_text": other["generated_text"]} for other in answers[1:]]
        best["details"]["best_of_sequences"] = others
    return best


def _written_text(
    text: GeneratedText, parameters: GenerationParameters, prompt: str, about_prompt: dict[str, Any]
) -> dict[str, Any]:
    answer: dict[str, Any] = {"generated_text": parameters.text_before(prompt) + text.text}
    if parameters.details:
        details: dict[str, Any] = {
            "finish_reason": text.finish_reason,
            "generated_tokens": len(text.token_ids),
            "seed": text.seed,
            **about_prompt,
            "tokens": [written_token(token) for token in text.tokens],
        }
        if text.top_tokens:
            details["top_tokens"] = [[written_token(token) for token in tokens] for tokens in text.top_tokens]
        answer["details"] = details
    return answer


def _written_prompt(result: GenerationResult) -> dict[str, Any]:
    written: dict[str, Any] = {
        "prefill": [
            {"id": token.id, "text": token.text, "logprob": token.log_probability} for token in result.prompt_tokens
        ]
    }
    if result.prompt_score is not None:
        written |= {name: value for name, value in result.prompt_score._asdict().items() if value is not None}
    return written
