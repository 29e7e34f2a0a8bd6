"""Text generation: a language model reads a prompt (prefill), then continues it one token at a time (decode).

`start` checks and encodes a request; a `GenerationBatch` reads prompts and steps many sequences together (continuous
batching). A single request is a batch of one: there is no second code path for choosing tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from service.bundle.load import Bundle
from service.bundle.manifest import StateSpec
from service.errors import InvalidInput
from service.tasks.core.parameters import check_parameters
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import (
    MAX_CHARACTERS_PER_TOKEN,
    Array,
    InputStatistics,
    Runner,
    Task,
    input_statistics_of,
    require_at_most,
    require_at_most_new_tokens,
    require_short_text,
    require_text,
)
from service.tasks.generation.constraints.constraint import ConstraintCompiler
from service.tasks.generation.generation_batch import PREFILL_CHUNK_TOKENS, GenerationBatch
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.options import DEFAULT_NEW_TOKENS, SamplingOptions, require_biases, require_token_id
from service.tasks.generation.prompt_reader import PrefixCheckpoints
from service.tasks.generation.recorded_form import GenerationAnswer, GenerationParameters, written_answer
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import GenerationResult, TokenEvent
from service.tasks.generation.stream_state import StreamState

_EMPTY_STREAM = "a stream has an event for each token, so at least 1; ask for 0 without streaming"


class PromptToEmbed(NamedTuple):
    """A text whose hidden state is asked for, as ids."""

    ids: list[int]

    @property
    def length(self) -> int:
        return len(self.ids)


class Generation(Task):
    """The task of language models."""

    route: ClassVar[Literal["generate"]] = "generate"
    parameters_type = GenerationParameters
    answer_type = GenerationAnswer

    def __init__(self, bundle: Bundle) -> None:
        self._limits = bundle.manifest.limits
        self._tokenizer = bundle.tokenizers["text"]
        self._constraints = ConstraintCompiler(self._tokenizer)
        self._model = LanguageModel(bundle.manifest.state, self._tokenizer.vocabulary_size)

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        """The tensors of the recurrent state, as the bundle declares them."""
        return self._model.state_specs

    def start(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        delivery: Delivery | None = None,
        state: StreamState | None = None,
    ) -> GenerationRequest:
        """Check and encode one request. When it continues from a state, the prompt may be empty.

        The prompt is a text, or the ids of its tokens.

        Raises:
            InvalidInput: with a path that starts with "inputs" or "parameters", or is "n".
        """
        delivery = delivery or Delivery()
        max_new_tokens = self._max_new_tokens(options, delivery)
        if options.logit_bias:
            require_biases(options.logit_bias, self._tokenizer.vocabulary_size)
        prompt_ids = [] if state is not None and not prompt else self._prompt_ids(prompt, options.max_prompt_tokens)
        constraint = options.constraint
        automaton = None if constraint is None else self._constraints.compile(constraint)
        request = GenerationRequest(self._tokenizer, prompt_ids, options, max_new_tokens, delivery, state, automaton)
        if automaton is not None:
            self._constraints.require_context(request.text_before)
        return request

    def embedding_example(self, value: str | Sequence[int]) -> PromptToEmbed:
        """Check and encode a text, or the ids of its tokens. Raises InvalidInput."""
        try:
            return PromptToEmbed(self._prompt_ids(value, None))
        except InvalidInput as error:
            raise InvalidInput(error.message, error.field[1:]) from error

    def embed(self, runner: Runner, examples: Sequence[PromptToEmbed]) -> list[Array]:
        """The hidden state after the last token of each text, `[width]`. Raises InferenceFailed."""
        return self._model.last_hidden(runner, [example.ids for example in examples])

    def input_statistics(self, example: PromptToEmbed) -> InputStatistics:
        """Tokens of a text, known and unknown."""
        return input_statistics_of(example.ids)

    def is_costly(self, options: SamplingOptions) -> bool:
        """Whether to start with these options takes long: a constraint has to be compiled first."""
        constraint = options.constraint
        return constraint is not None and not self._constraints.is_kept(constraint)

    def batch(
        self,
        *,
        prefill_chunk_tokens: int = PREFILL_CHUNK_TOKENS,
        checkpoints: PrefixCheckpoints | None = None,
    ) -> GenerationBatch:
        """A new batch, whose requests share each run of a graph."""
        return GenerationBatch(self._model, prefill_chunk_tokens=prefill_chunk_tokens, checkpoints=checkpoints)

    def read(
        self, runner: Runner, sequences: Sequence[Sequence[int]], state: RecurrentState | None = None
    ) -> tuple[Array, RecurrentState]:
        """Read whole sequences at once; see `LanguageModel.read`."""
        return self._model.read(runner, sequences, state)

    def count_tokens(self, request: GenerationRequest, product: object) -> int:
        """The tokens produced in all sequences of a request."""
        del product  # part of the protocol
        return request.num_produced

    def answer(self, runner: Runner, value: Any, parameters: Mapping[str, Any]) -> GenerationAnswer:
        checked = check_parameters(GenerationParameters, parameters)
        checked.require_choice()
        num_texts = checked.best_of or 1
        delivery = Delivery(num_continuations=num_texts, prompt_logprobs=checked.lists_prompt, best_first=checked.ranks)
        result = self.generate(runner, value, checked.options, delivery)
        return GenerationAnswer.model_validate(written_answer(result, checked, value))

    def generate(
        self,
        runner: Runner,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        delivery: Delivery | None = None,
    ) -> GenerationResult:
        """Answer one request on its own. Raises InvalidInput and InferenceFailed."""
        request = self.start(prompt, options, delivery)
        for _ in self.events(runner, request):
            pass
        return request.result()

    def events(self, runner: Runner, request: GenerationRequest) -> Iterator[TokenEvent]:
        """Run one request on its own to its end, with an event per token if it is streamed. Raises InferenceFailed."""
        batch = self.batch()
        batch.join([request])
        while not batch.is_idle:
            for outcome in batch.advance(runner):
                if outcome.error is not None:
                    raise outcome.error
                if isinstance(outcome.product, TokenEvent):
                    yield outcome.product

    def _max_new_tokens(self, options: SamplingOptions, delivery: Delivery) -> int:
        """The most tokens to write. Raises InvalidInput for more than the bundle allows, and for a stream of none."""
        if delivery.is_streamed and delivery.num_continuations > 1:
            raise InvalidInput("a stream has one text; ask for several without streaming", ("n",))
        limit, wanted = self._limits.max_new_tokens, options.max_new_tokens
        if wanted is None:
            return min(DEFAULT_NEW_TOKENS, limit)
        require_at_most_new_tokens(wanted, limit)
        if wanted == 0 and delivery.is_streamed:
            raise InvalidInput(_EMPTY_STREAM, ("parameters", "max_new_tokens"))
        return wanted

    def _prompt_ids(self, prompt: str | Sequence[int], max_tokens: int | None) -> list[int]:
        """The token ids of the prompt, truncated on the left to `max_tokens` if that is given."""
        limit = self._limits.max_input_tokens
        if max_tokens is not None and max_tokens > limit:
            raise InvalidInput(f"this model reads at most {limit} tokens", ("parameters", "max_prompt_tokens"))
        if not isinstance(prompt, str):
            prompt_ids = self._checked_ids(prompt, max_tokens)
        elif max_tokens is None:
            prompt_ids = self._tokenizer.encode(require_short_text(prompt, limit, ("inputs",)))
        else:
            ending = require_text(prompt, ("inputs",))[-max_tokens * MAX_CHARACTERS_PER_TOKEN :]
            prompt_ids = self._tokenizer.encode(ending)[-max_tokens:]
        require_at_most(len(prompt_ids), limit, "tokens", ("inputs",))
        if not prompt_ids:
            raise InvalidInput("the prompt has no token that this model can read", ("inputs",))
        return prompt_ids

    def _checked_ids(self, prompt: Sequence[int], max_tokens: int | None) -> list[int]:
        """The ids of a prompt, or the last of them; each is one of the vocabulary."""
        read = range(len(prompt)) if max_tokens is None else range(len(prompt))[-max_tokens:]
        require_at_most(len(read), self._limits.max_input_tokens, "tokens", ("inputs",))
        for place in read:
            require_token_id(prompt[place], self._tokenizer.vocabulary_size, ("inputs", place))
        return [prompt[place] for place in read]
