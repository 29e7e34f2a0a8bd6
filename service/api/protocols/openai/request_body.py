"""The body of `POST /v1/completions`: OpenAI's fields, those that vLLM's clients add, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator

from service.api.schemas import RequestBody, SessionName, State, Version
from service.api.validation.input_forms import require_few
from service.bundle.tokenizer import EOS
from service.tasks.generation.constraints.constraint import (
    MAX_BAD_WORD_CHARACTERS,
    MAX_BAD_WORDS,
    MAX_CHOICE_CHARACTERS,
    MAX_CHOICES,
)
from service.tasks.generation.constraints.pattern import MAX_PATTERN_CHARACTERS
from service.tasks.generation.options import (
    MAX_BIASED_TOKENS,
    MAX_LOGIT_BIAS,
    MAX_SEED,
    MAX_STOP_CHARACTERS,
    SamplingOptions,
)

DEFAULT_MAX_TOKENS = 16
MAX_LOGPROBS = 5
MAX_STOP_STRINGS = 4

#: Ids are checked against the vocabulary of the model; these fit every integer type on the way there.
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]

PromptInput = str | list[int]


def _prompt_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "prompt_text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    if isinstance(first, list):
        return "prompt_id_lists"
    return "prompt_ids" if isinstance(first, (int, float)) else "prompt_texts"


Prompt = Annotated[
    Annotated[str, Tag("prompt_text")]
    | Annotated[list[str], Field(min_length=1, fail_fast=True), BeforeValidator(require_few), Tag("prompt_texts")]
    | Annotated[TokenIds, Tag("prompt_ids")]
    | Annotated[list[TokenIds], Field(fail_fast=True), BeforeValidator(require_few), Tag("prompt_id_lists")],
    Discriminator(
        _prompt_tag,
        custom_error_type="unknown_prompt",
        custom_error_message="must be text, a list of texts, a list of token ids, or a list of lists of token ids",
    ),
]

BadWord = Annotated[str, Field(min_length=1, max_length=MAX_BAD_WORD_CHARACTERS)]
OneChoice = Annotated[str, Field(min_length=1, max_length=MAX_CHOICE_CHARACTERS)]
StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StopStrings = Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS), BeforeValidator(_as_list)]

ValueT = TypeVar("ValueT", int, float)


def _unless(value: ValueT | None, neutral: ValueT) -> ValueT | None:
    """The value of a rule; None where it changes nothing, so that the rule costs nothing."""
    return None if value is None or value == neutral else value


class StreamOptions(RequestBody):
    """What a stream has besides its texts."""

    include_usage: bool | None = Field(None, description="a last chunk without choices has `usage`")
    continuous_usage_stats: bool | None = Field(None, description="with include_usage: every chunk has `usage`")
    include_obfuscation: bool | None = Field(None, description="ignored")


class IgnoredFields(RequestBody):
    """Fields that clients send and that have no influence on a text here; those below only with neutral values."""

    user: Any = Field(None, description="ignored")
    metadata: Any = Field(None, description="ignored")
    store: Any = Field(None, description="ignored")
    service_tier: Any = Field(None, description="ignored")
    safety_identifier: Any = Field(None, description="ignored")
    prompt_cache_key: Any = Field(None, description="ignored")
    priority: Any = Field(None, description="ignored")
    request_id: Any = Field(None, description="ignored")
    add_special_tokens: Any = Field(None, description="ignored: there are none to add")
    skip_special_tokens: Any = Field(None, description="ignored: a text has none")
    spaces_between_special_tokens: Any = Field(None, description="ignored")
    suffix: Any = Field(None, description="only null or empty")
    min_p: Any = Field(None, description="only null or 0")
    min_tokens: Any = Field(None, description="only null or 0")
    length_penalty: Any = Field(None, description="only null or 1")
    use_beam_search: Any = Field(None, description="only null or false")
    stop_token_ids: Any = Field(None, description="only null or empty")

    @field_validator("suffix")
    @classmethod
    def _no_insertion(cls, value: Any) -> Any:
        if value not in (None, ""):
            raise ValueError("these models continue a text and cannot insert into one; leave suffix out")
        return value

    @field_validator("min_p", "min_tokens", "length_penalty", "use_beam_search", "stop_token_ids")
    @classmethod
    def _neutral(cls, value: Any, info: Any) -> Any:
        neutral: Any = {"length_penalty": 1, "stop_token_ids": []}.get(info.field_name, 0)
        if value is not None and value != neutral:
            raise ValueError("this is not supported; leave it out")
        return value


class CompletionRequest(IgnoredFields):
    """One prompt or several for a language model. Without `temperature` the texts are sampled; 0 is greedy."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="may be left out if only one language model can answer; that one also answers for a URL"
    )
    version: Version | None = None
    prompt: Prompt
    max_tokens: int | None = Field(None, ge=0, description=f"default {DEFAULT_MAX_TOKENS}; 0 with echo scores a text")
    temperature: float | None = Field(None, ge=0, le=2, description="default 1; 0 takes the most likely token")
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, description="0 and -1 are no limit")
    typical_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-MAX_LOGIT_BIAS, le=MAX_LOGIT_BIAS)]] | None = Field(
        None, max_length=MAX_BIASED_TOKENS, description="added to the scores of tokens, by id; -100 bans one"
    )
    seed: int | None = Field(None, ge=-(2**63), le=MAX_SEED, description="same seed, same text; random if left out")
    n: int | None = Field(None, ge=1, description="texts for each prompt, with consecutive seeds")
    best_of: int | None = Field(None, ge=1, description="make as many, and return the n of highest log-probability")
    bad_words: Annotated[list[BadWord], Field(max_length=MAX_BAD_WORDS)] | None = Field(
        None, description="strings that a text never contains"
    )
    choices: Annotated[list[OneChoice], Field(min_length=1, max_length=MAX_CHOICES)] | None = Field(
        None,
        validation_alias=AliasChoices("choices", "guided_choice"),
        description="the text is one of these; `guided_choice` is the same",
    )
    regex: Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARACTERS)] | None = Field(
        None,
        validation_alias=AliasChoices("regex", "guided_regex"),
        description="the whole text matches this regular expression; `guided_regex` is the same",
    )
    stop: StopStrings | None = Field(None, description="the text ends before the first of these to appear")
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = Field(None, description="never choose the token that ends a text")
    echo: bool | None = Field(None, description="put the prompt before the text")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="list the tokens, and for each as many of the most likely ones"
    )
    truncate_prompt_tokens: int | None = Field(None, ge=1, description="read only so many of the last tokens")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    state: State | None = Field(None, description="continue where the choice with this state ended")
    return_state: bool = Field(False, description="each choice also has a state to continue from")
    session: SessionName | None = Field(None, description="keep the state on the server under this name")

    @property
    def prompts(self) -> Sequence[PromptInput]:
        """The prompts, each as text or as token ids."""
        prompt: Any = self.prompt
        return prompt if self.has_list_of_prompts else [prompt]

    @property
    def has_list_of_prompts(self) -> bool:
        """Whether the prompts came as a list, even if there is one."""
        return not isinstance(self.prompt, str) and not isinstance(self.prompt[0], int)

    @property
    def is_scored(self) -> bool:
        """Whether tokens are listed with their log-probabilities."""
        return self.logprobs is not None

    @property
    def scores_prompt(self) -> bool:
        """Whether those of the prompt are too."""
        return self.is_scored and bool(self.echo)

    @property
    def num_texts(self) -> int:
        """Choices for each prompt."""
        return self.n or 1

    @property
    def num_made(self) -> int:
        """Texts made for each prompt, of which the best are returned."""
        return self.best_of or self.num_texts

    @property
    def stop_strings(self) -> Sequence[str]:
        return self.stop or []

    @property
    def default_max_tokens(self) -> int:
        """As many as OpenAI's, or as a choice may need: no token is empty."""
        return max([DEFAULT_MAX_TOKENS, *(len(choice.encode()) + 1 for choice in self.choices or ())])

    @property
    def _biases(self) -> dict[int, float]:
        never = {EOS: -MAX_LOGIT_BIAS} if self.ignore_eos else {}
        return (self.logit_bias or {}) | never

    @property
    def options(self) -> SamplingOptions:
        """The options of each text, without those that only its delivery needs."""
        temperature = 1.0 if self.temperature is None else self.temperature
        return SamplingOptions(
            samples=temperature > 0,
            temperature=_unless(temperature, 1.0) or None,
            top_k=self.top_k if self.top_k is not None and self.top_k > 0 else None,
            top_p=_unless(self.top_p, 1.0),
            typical_p=_unless(self.typical_p, 1.0),
            repetition_penalty=_unless(self.repetition_penalty, 1.0),
            frequency_penalty=_unless(self.frequency_penalty, 0.0),
            presence_penalty=_unless(self.presence_penalty, 0.0),
            logit_bias=self._biases,
            seed=None if self.seed is None else self.seed % (MAX_SEED + 1),
            max_new_tokens=self.max_tokens,
            stop=self.stop_strings,
            choices=tuple(self.choices or ()),
            regex=self.regex,
            bad_words=tuple(self.bad_words or ()),
            max_prompt_tokens=self.truncate_prompt_tokens,
            lists_tokens=self.is_scored or self.num_made > self.num_texts,
            num_top_tokens=self.logprobs or 0,
        )
