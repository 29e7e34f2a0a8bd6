"""Text generation: a language model reads a prompt (prefill), then continues it one token at a time (decode).

`start` checks and encodes a request; a `GenerationBatch` reads prompts and steps many sequences together (continuous
batching). A single request is a batch of one: there is no second code path for choosing tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from service.bundle.load import Bundle
from service.bundle.manifest import StateSpec
from service.errors import InvalidInput
from service.tasks.core.parameters import check_parameters
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import (
    MAX_CHARACTERS_PER_TOKEN,
    Array,
    Runner,
    Task,
    require_at_most,
    require_at_most_new_tokens,
    require_short_text,
    require_text,
)
from service.tasks.generation.generation_batch import PREFILL_CHUNK_TOKENS, GenerationBatch
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.options import DEFAULT_NEW_TOKENS, SamplingOptions
from service.tasks.generation.prompt_reader import PrefixCheckpoints
from service.tasks.generation.recorded_form import GenerationAnswer, GenerationParameters, written_answer
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import GenerationResult, TokenEvent
from service.tasks.generation.stream_state import StreamState


class Generation(Task):
    """The task of language models."""

    route: ClassVar[Literal["generate"]] = "generate"
    parameters_type = GenerationParameters
    answer_type = GenerationAnswer

    def __init__(self, bundle: Bundle) -> None:
        self._limits = bundle.manifest.limits
        self._tokenizer = bundle.tokenizers["text"]
        self._model = LanguageModel(bundle.manifest.state, self._tokenizer.vocabulary_size)

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        """The tensors of the recurrent state, as the bundle declares them."""
        return self._model.state_specs

    def start(
        self,
        prompt: str,
        options: SamplingOptions,
        delivery: Delivery | None = None,
        state: StreamState | None = None,
    ) -> GenerationRequest:
        """Check and encode one request. When it continues from a state, the prompt may be empty.

        Raises:
            InvalidInput: with a path that starts with "inputs" or "parameters", or is "n".
        """
        if delivery is not None and delivery.is_streamed and delivery.num_continuations > 1:
            raise InvalidInput("a stream has one text; ask for several without streaming", ("n",))
        limit = self._limits.max_new_tokens
        if options.max_new_tokens is not None:
            require_at_most_new_tokens(options.max_new_tokens, limit)
        max_new_tokens = options.max_new_tokens or min(DEFAULT_NEW_TOKENS, limit)
        prompt_ids = [] if state is not None and not prompt else self._encode(prompt, options.max_prompt_tokens)
        return GenerationRequest(self._tokenizer, prompt_ids, options, max_new_tokens, delivery, state)

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
        delivery = Delivery(num_continuations=checked.best_of or 1, best_first=checked.ranks)
        result = self.generate(runner, value, checked.options, delivery)
        return GenerationAnswer.model_validate(written_answer(result, checked, value))

    def generate(
        self, runner: Runner, prompt: str, options: SamplingOptions, delivery: Delivery | None = None
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

    def _encode(self, prompt: str, max_tokens: int | None) -> list[int]:
        """The token ids of the prompt, truncated on the left to `max_tokens` if that is given."""
        limit = self._limits.max_input_tokens
        if max_tokens is None:
            prompt_ids = self._tokenizer.encode(require_short_text(prompt, limit, ("inputs",)))
            require_at_most(len(prompt_ids), limit, "tokens", ("inputs",))
        elif max_tokens > limit:
            raise InvalidInput(f"this model reads at most {limit} tokens", ("parameters", "max_prompt_tokens"))
        else:
            ending = require_text(prompt, ("inputs",))[-max_tokens * MAX_CHARACTERS_PER_TOKEN :]
            prompt_ids = self._tokenizer.encode(ending)[-max_tokens:]
        if not prompt_ids:
            raise InvalidInput("the prompt has no token that this model can read", ("inputs",))
        return prompt_ids
