"""Answers to rows as `POST /predict` and `POST /generate` give them, with an error for each row that has no answer.

The code of the tasks is the service's: the same checks, limits, tokenizers and graphs. In fp32 a row's answer does not
depend on the rows that share its batch, so that labels are equal and scores differ by rounding alone (below 1e-6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from service.errors import InferenceFailed, InvalidInput, UnrollError
from service.inference.engines.engine import OpenBundle
from service.offline.answering.near_lengths import near_length_batches
from service.offline.answering.steps import run_to_end
from service.tasks.catalogue import generates, predicts
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import HasLength, PredictInput, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.recorded_form import GenerationParameters, written_answer
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.inputs.request_limits import RequestLimits, SampleCount


class RowAnswer(NamedTuple):
    """The answer to a row as JSON values, or the reason why there is none. `labels` are those the answer gives."""

    answer: dict[str, Any] | None
    error: str | None = None
    labels: Sequence[str] = ()


class _Answerer(Protocol):
    """How the rows of one kind of task are answered."""

    def prepare(self, value: PredictInput) -> HasLength:
        """Check and encode one row. Raises InvalidInput."""
        ...

    def answers(self, prepared: Sequence[Any]) -> list[dict[str, Any] | UnrollError]:
        """One for each prepared row, in order."""
        ...

    def labels(self, answer: dict[str, Any]) -> Sequence[str]:
        """The labels in an answer."""
        ...


class RowAnswers:
    """Answers rows with one open bundle."""

    def __init__(self, opened: OpenBundle, parameters: Mapping[str, Any], limits: RequestLimits | None = None) -> None:
        """Raises InvalidInput for parameters that the bundle's task refuses."""
        self._limits = limits or RequestLimits()
        self._answerer = _answerer(opened, parameters)

    def __call__(self, values: Sequence[PredictInput | UnrollError]) -> list[RowAnswer]:
        """One for each value, in order; a value that is an error is a row that could not be read."""
        found: list[RowAnswer | None] = []
        prepared = []
        for value in values:
            try:
                prepared.append(self._prepared(value))
                found.append(None)
            except UnrollError as error:
                found.append(RowAnswer(None, _told(error)))
        answers = iter(self._answerer.answers(prepared))
        labels = self._answerer.labels
        for row, refused in enumerate(found):
            if refused is None:
                answer = next(answers)
                if isinstance(answer, UnrollError):
                    found[row] = RowAnswer(None, _told(answer))
                else:
                    found[row] = RowAnswer(answer, None, labels(answer))
        return cast(list[RowAnswer], found)

    def _prepared(self, value: PredictInput | UnrollError) -> HasLength:
        """A row within the limits of a request with this one input. Raises UnrollError."""
        if not isinstance(value, str):
            if isinstance(value, UnrollError):
                raise value
            self._limits.require_pixels([value])
            SampleCount(self._limits).add(value)
        prepared = self._answerer.prepare(value)
        self._limits.require_tokens(prepared.length, 1)
        return prepared


def _told(error: UnrollError) -> str:
    """An error as one sentence, with the path of the field that it is about."""
    field = ".".join(map(str, error.field)) if isinstance(error, InvalidInput) else ""
    return f"{field}: {error}" if field else str(error)


def _answerer(opened: OpenBundle, parameters: Mapping[str, Any]) -> _Answerer:
    task = opened.task
    if generates(task):
        return _GenerationRows(task, opened.runner, parameters)
    assert predicts(task), "a task answers `POST /predict` or `POST /generate`"
    kind = _SinglePassRows if task.steps is None else _StepwiseRows
    return kind(task, opened.runner, parameters)


class _PredictRows:
    """What tasks of `POST /predict` share."""

    def __init__(self, task: PredictTask[Any, Any], runner: Runner, parameters: Mapping[str, Any]) -> None:
        self._task, self._runner = task, runner
        self._parameters = check_parameters(task.parameters_type, parameters)

    def prepare(self, value: PredictInput) -> HasLength:
        example: HasLength = self._task.preprocess(value, self._parameters)
        return example

    def labels(self, answer: dict[str, Any]) -> Sequence[str]:
        return self._task.answer_statistics(answer).labels

    def _written(self, example: Any, output: Any) -> dict[str, Any] | UnrollError:
        try:
            answer: dict[str, Any] = self._task.plain_answer(example, output)
        except UnrollError as error:
            return error
        return answer


class _SinglePassRows(_PredictRows):
    """One run of a graph for each batch of rows of similar length."""

    def answers(self, prepared: Sequence[Any]) -> list[dict[str, Any] | UnrollError]:
        found: list[Any] = [None] * len(prepared)
        lengths = [example.length for example in prepared]
        for batch in near_length_batches(lengths, equal=self._task.equal_lengths):
            for index, answer in zip(batch, self._run([prepared[index] for index in batch]), strict=True):
                found[index] = answer
        return found

    def _run(self, examples: Sequence[Any]) -> list[dict[str, Any] | UnrollError]:
        """A batch that fails is repeated row by row, so that only the row at fault has no answer."""
        try:
            outputs = self._task.run(self._runner, examples)
        except InferenceFailed as error:
            return [error] if len(examples) == 1 else [answer for one in examples for answer in self._run([one])]
        return [self._written(example, output) for example, output in zip(examples, outputs, strict=True)]


class _StepwiseRows(_PredictRows):
    """Encoder-decoder tasks: rows join and leave the batch at any step of the decoder."""

    def answers(self, prepared: Sequence[Any]) -> list[dict[str, Any] | UnrollError]:
        steps = self._task.steps
        assert steps is not None, "rows are answered step by step only where the task has steps"
        outputs = run_to_end(steps.batch(), self._runner, prepared)
        return [self._written(example, output) for example, output in zip(prepared, outputs, strict=True)]


class _GenerationRows:
    """Texts of a language model: greedy, or sampled with the same seed for every row."""

    def __init__(self, task: Generation, runner: Runner, parameters: Mapping[str, Any]) -> None:
        self._task, self._runner = task, runner
        checked = check_parameters(GenerationParameters, parameters)
        checked.require_choice()
        if checked.samples and checked.seed is None:
            raise InvalidInput("sampled texts need a seed, so that a row has one answer", ("parameters", "seed"))
        self._parameters = checked
        self._options = checked.options
        self._delivery = Delivery(
            num_continuations=checked.best_of or 1, prompt_logprobs=checked.lists_prompt, best_first=checked.ranks
        )

    def prepare(self, value: PredictInput) -> _Prompt:
        if not isinstance(value, str):
            raise InvalidInput("a language model takes a text")
        try:
            return _Prompt(value, self._task.start(value, self._options, self._delivery))
        except InvalidInput as error:
            field = error.field[1:] if error.field[:1] == ("inputs",) else error.field
            raise InvalidInput(error.message, field) from error

    def answers(self, prepared: Sequence[_Prompt]) -> list[dict[str, Any] | UnrollError]:
        ended = run_to_end(self._task.batch(), self._runner, [prompt.request for prompt in prepared])
        return [
            end if isinstance(end, UnrollError) else written_answer(one.request.result(), self._parameters, one.text)
            for one, end in zip(prepared, ended, strict=True)
        ]

    def labels(self, answer: dict[str, Any]) -> Sequence[str]:
        del answer  # part of the protocol
        return ()


class _Prompt(NamedTuple):
    text: str
    request: GenerationRequest

    @property
    def length(self) -> int:
        """Tokens to read and to write: what the limit of a request counts."""
        return self.request.length + self.request.num_rows * self.request.max_new_tokens
