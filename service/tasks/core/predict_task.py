"""Tasks whose answer comes whole: everything that `POST /predict` serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from service.bundle.load import Bundle
from service.tasks.core.parameters import check_parameters
from service.tasks.core.step_batch import StepTask
from service.tasks.core.task import Answer, AnswerStatistics, HasLength, InputStatistics, PredictInput, Runner, Task

ExampleT = TypeVar("ExampleT", bound=HasLength)
OutputT = TypeVar("OutputT")
OutputT_contra = TypeVar("OutputT_contra", contravariant=True)


class PredictTask(Task, Protocol[ExampleT, OutputT]):
    """A task whose answer comes whole. Derive from it: what has a body here holds unless the task says otherwise.

    `run` answers row by row what each example would get alone: padding and neighbours change nothing.
    """

    route: ClassVar[Literal["predict"]] = "predict"

    def __init__(self, bundle: Bundle) -> None:
        """Prepare to use the graphs of a bundle of this task."""
        ...

    @property
    def steps(self) -> StepTask[Any] | None:
        """How the continuous batcher runs its examples step by step; None: `run` takes whole batches in one pass."""
        return None

    @property
    def chunks(self) -> ChunkReader[ExampleT, OutputT] | None:
        """How a bundle that hands its state back reads an input in chunks; None for a task that never does."""
        return None

    def preprocess(self, value: PredictInput, parameters: Any) -> ExampleT:
        """Check and encode one input.

        Raises:
            InvalidInput: with a field path relative to that input; a path that starts with "parameters" names what is
                wrong with `parameters` and counts from the request.
        """
        ...

    def run(self, runner: Runner, examples: Sequence[ExampleT]) -> list[OutputT]:
        """One output per example, in order. Called in the thread that owns the device. Raises InferenceFailed."""
        ...

    def postprocess(self, example: ExampleT, output: OutputT) -> Answer:
        """What the caller reads. Raises InferenceFailed if this row's numbers are not finite."""
        ...

    def plain_answer(self, example: ExampleT, output: OutputT) -> Any:
        """The same as JSON values, made without validation: what is written to the wire. Raises as `postprocess`."""
        ...

    def input_statistics(self, example: ExampleT) -> InputStatistics:
        """How much of an input the vocabulary knows."""
        ...

    def answer_statistics(self, plain_answer: Any) -> AnswerStatistics:
        """The labels and the confidence of a plain answer."""
        ...

    def answer(self, runner: Runner, value: Any, parameters: Mapping[str, Any]) -> Answer:
        example = self.preprocess(value, check_parameters(self.parameters_type, parameters))
        (output,) = self.run(runner, [example])
        return self.postprocess(example, output)


class ChunkReader(Protocol[ExampleT, OutputT_contra]):
    """What a `PredictTask` needs besides to read an input in chunks, with the state after each as bytes."""

    def resume(self, example: ExampleT, before: bytes) -> ExampleT:
        """The same input, read as what follows the chunk that left `before`.

        Raises:
            InvalidInput: the bundle cannot read in chunks; says why.
            StateRefused: `before` is not a state of this bundle.
        """
        ...

    def state_after(self, example: ExampleT, output: OutputT_contra) -> bytes:
        """What to hand to `resume` with the next chunk.

        Raises:
            InvalidInput: the bundle cannot read in chunks; says why.
            InferenceFailed: the state is not finite.
        """
        ...
