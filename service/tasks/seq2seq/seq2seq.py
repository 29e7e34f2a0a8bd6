"""Encoder-decoder tasks: an encoder reads the source once, a decoder with attention generates a text step by step.

The base class has what the tasks share: the parameters of beam search, the step batch, and the answer made from a
hypothesis. Subclasses preprocess an input, and define the feeds of the encoder.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import IntArray
from service.bundle.task_options import CaptioningOptions, TranslationOptions, VideoOptions
from service.errors import UnrollError
from service.tasks.core.hidden import mean_states
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.step_batch import Outcome, StepTask
from service.tasks.core.task import Answer, AnswerStatistics, Array, Parameters, Runner, require_at_most_new_tokens
from service.tasks.seq2seq.decoder_batch import DecoderBatch, ExampleT
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions


class Seq2SeqParameters(Parameters):
    """Parameters of beam search. Defaults are in the model's manifest."""

    num_beams: int | None = Field(default=None, ge=1, le=16, description="hypotheses kept at each step; 1 is greedy")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="most tokens to write, the end token counted; the default is the model's"
    )
    length_penalty: float | None = Field(
        default=None,
        ge=0.0,
        le=4.0,
        description="above 0 favours longer texts: log p / ((5 + length) / 6) ** it",
    )
    return_score: bool = Field(default=True, description="false makes greedy answers faster")
    return_attention: bool = Field(default=False, description="also return the attention weights of each token")


class Seq2SeqAnswer(Answer):
    """The best text found, and its `score` unless `return_score` is false."""

    text: str
    score: float | None = Field(
        default=None,
        exclude_if=lambda score: score is None,
        description="log-probability / ((5 + length) / 6) ** length_penalty; 0 is certain",
    )


class Seq2Seq(PredictTask[ExampleT, Hypothesis | UnrollError]):
    """Base of encoder-decoder tasks. The output for an example is its best hypothesis, or the error of its search.

    `told_outputs` are outputs of the encoder that an answer needs beside the text.
    """

    told_outputs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, bundle: Bundle, options: TranslationOptions | CaptioningOptions | VideoOptions) -> None:
        self._limits = bundle.manifest.limits
        self._num_beams, self._length_penalty = options.num_beams, options.length_penalty
        self._state_specs = bundle.manifest.state
        self._target = bundle.tokenizers["target"]

    @abstractmethod
    def encoder_feeds(self, examples: Sequence[ExampleT]) -> tuple[dict[str, Array], IntArray]:
        """The feeds of the graph `encoder`, and the length of each source."""

    @abstractmethod
    def attention(self, example: ExampleT, hypothesis: Hypothesis) -> dict[str, Any]:
        """The attention weights of a hypothesis, as JSON values."""

    #: The extended ids of the source positions, where words of the source can be copied.
    copy_ids: Callable[[Sequence[ExampleT]], IntArray] | None = None

    @property
    def steps(self) -> StepTask[ExampleT]:
        """Decoding runs in steps, so that short texts do not wait for long ones."""
        return self

    def batch(self) -> DecoderBatch[ExampleT]:
        """A new, empty batch, which examples join and leave at any step."""
        size = self._target.vocabulary_size
        return DecoderBatch(self.encoder_feeds, self._state_specs, size, self.copy_ids, self.told_outputs)

    def count_tokens(self, request: ExampleT, product: Hypothesis | None) -> int:
        return len(product.tokens) if product else 0

    def run(self, runner: Runner, examples: Sequence[ExampleT]) -> list[Hypothesis | UnrollError]:
        """Decode all examples to their end, in a batch of their own. A failed example has its error as output."""
        batch = self.batch()
        batch.join(list(dict.fromkeys(examples)))
        found: dict[ExampleT, Hypothesis | UnrollError] = {}
        while not batch.is_idle:
            for outcome in batch.advance(runner):
                found[outcome.request] = _output(outcome)
        return [found[example] for example in examples]

    def embed(self, runner: Runner, examples: Sequence[ExampleT]) -> list[Array]:
        """The mean of the encoder's memory, over the end token too."""
        feeds, lengths = self.encoder_feeds(examples)
        return list(mean_states(runner.run("encoder", feeds)["memory"], lengths))

    def plain_answer(self, example: ExampleT, output: Hypothesis | UnrollError) -> dict[str, Any]:
        """The answer as JSON values. Raises the error that ended the search, if one did."""
        if isinstance(output, UnrollError):
            raise output
        answer = self.text(example, output)
        if output.score is not None:
            answer["score"] = output.score
        if example.plan.keeps_attention:
            answer["attention"] = self.attention(example, output)
        return answer

    def text(self, example: ExampleT, hypothesis: Hypothesis) -> dict[str, Any]:
        """The `text` of a hypothesis, and what else a task says about it, as JSON values."""
        return {"text": self._target.decode(hypothesis.tokens)}

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """The confidence is exp(score): about the probability of six tokens, by the divisor of scores."""
        score = plain_answer.get("score")
        return AnswerStatistics((), None if score is None else math.exp(min(0.0, score)))

    def plan(self, parameters: Seq2SeqParameters, usual_steps: int) -> SearchOptions:
        """The search options of a request; the default limit is `usual_steps`.

        Raises:
            InvalidInput: more tokens are asked for than the bundle allows.
        """
        limit = self._limits.max_new_tokens
        if parameters.max_new_tokens is not None:
            require_at_most_new_tokens(parameters.max_new_tokens, limit)
        max_steps = parameters.max_new_tokens or min(limit, usual_steps)
        chosen_penalty = parameters.length_penalty
        length_penalty = self._length_penalty if chosen_penalty is None else chosen_penalty
        num_beams = parameters.num_beams or self._num_beams
        return SearchOptions(num_beams, max_steps, length_penalty, parameters.return_score, parameters.return_attention)

    def target_tokens(self, hypothesis: Hypothesis) -> list[str]:
        """The tokens of a hypothesis, as text."""
        return [self._target.token(token) for token in hypothesis.tokens]


def _output(outcome: Outcome[ExampleT]) -> Hypothesis | UnrollError:
    if outcome.error is not None:
        return outcome.error
    assert isinstance(outcome.product, Hypothesis), "a sentence that did not fail has a hypothesis at its end"
    return outcome.product
