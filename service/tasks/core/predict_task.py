"""Tasks that `POST /predict` serves: one whole answer for each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from service.bundle.load import Bundle
from service.tasks.core.parameters import check_parameters
from service.tasks.core.step_batch import StepTask
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    HasLength,
    InputStatistics,
    PredictInput,
    Runner,
    Task,
)

ExampleT = TypeVar("ExampleT", bound=HasLength)
OutputT = TypeVar("OutputT")
OutputT_contra = TypeVar("OutputT_contra", contravariant=True)
StateT = TypeVar("StateT", bound="InputState")


class PredictTask(Task, Protocol[ExampleT, OutputT]):
    """A task with one whole answer for each input. Derive from it: methods with a body here are defaults.

    `run` must give each example the output that it would have alone: padding and other rows change nothing.
    """

    route: ClassVar[Literal["predict"]] = "predict"

    def __init__(self, bundle: Bundle) -> None:
        """Prepare to use the graphs of a bundle of this task."""
        ...

    @property
    def steps(self) -> StepTask[Any] | None:
        """The task as the continuous batcher runs it; None for a single pass of `run` over each batch."""
        return None

    @property
    def equal_lengths(self) -> bool:
        """Whether only examples of one length may share a run, because padding would change their outputs."""
        return False

    @property
    def chunks(self) -> ChunkReader[ExampleT, OutputT, Any] | None:
        """How the task reads an input in chunks, for bundles with state; None if it never does."""
        return None

    def preprocess(self, value: PredictInput, parameters: Any) -> ExampleT:
        """Check and encode one input.

        Raises:
            InvalidInput: with a field path relative to that input; a path that starts with "parameters" is relative to
                the request.
        """
        ...

    def run(self, runner: Runner, examples: Sequence[ExampleT]) -> list[OutputT]:
        """One output per example, in order. Called in the thread of a lane. Raises InferenceFailed."""
        ...

    def postprocess(self, example: ExampleT, output: OutputT) -> Answer:
        """The answer to an example. Raises InferenceFailed if the numbers of its row are not finite."""
        ...

    def plain_answer(self, example: ExampleT, output: OutputT) -> Any:
        """`postprocess` as JSON values, without validation: the body of the response. Raises as `postprocess`."""
        ...

    def input_statistics(self, example: ExampleT) -> InputStatistics:
        """Tokens of an input, known and unknown."""
        ...

    def answer_statistics(self, plain_answer: Any) -> AnswerStatistics:
        """The labels and the confidence of a plain answer."""
        ...

    def answer_size(self, example: ExampleT) -> int:
        """Numbers of the answer, where there may be very many; 0 where the length of the input bounds them well."""
        return 0

    def sound_s(self, example: ExampleT) -> float:
        """The duration of the sound in an example, in seconds: that of a chunk alone. 0 if there is none."""
        return 0.0

    def embedding_example(self, value: PredictInput) -> ExampleT:
        """`preprocess` for `embed`: no parameters. Raises InvalidInput."""
        return self.preprocess(value, self.parameters_type())

    def answer(self, runner: Runner, value: Any, parameters: Mapping[str, Any]) -> Answer:
        example = self.preprocess(value, check_parameters(self.parameters_type, parameters))
        (output,) = self.run(runner, [example])
        return self.postprocess(example, output)


class InputState(Protocol):
    """What is known of an input between two of its chunks. It is small, and never changes."""

    def to_bytes(self) -> bytes:
        """The whole value, to be kept outside of this process; equal states give equal bytes."""
        ...


class ChunkReader(Protocol[ExampleT, OutputT_contra, StateT]):
    """Reading an input in chunks. The state between them is an object, or bytes where it leaves the process."""

    def chunk(
        self, value: PredictInput | None, parameters: Any, before: StateT | bytes | None, is_last: bool
    ) -> ExampleT:
        """`preprocess` for the next chunk of an input.

        Args:
            value: what is new; None for nothing, which only the last chunk of a sound may be.
            before: the state after the chunk before it, or its bytes; None for the first.
            is_last: whether the input ends here. It matters to tasks that are late with their answer.

        Raises:
            InvalidInput: the input is refused, or the bundle cannot read in chunks; the message says why.
            StateRefused: `before` is not a state of this bundle.
        """
        ...

    def answers(self, plain_answer: Any) -> list[Any]:
        """The predictions for a chunk, from the `plain_answer` to it: usually that one."""
        ...

    def state_after(self, example: ExampleT, output: OutputT_contra) -> StateT | None:
        """The state to pass with the next chunk; None if the input has ended and nothing can follow.

        Raises:
            InvalidInput: the bundle cannot read in chunks; the message says why.
            InferenceFailed: the state is not finite.
        """
        ...
