"""Tiny models as others build and export them: cells, directions, layers, poolings, exporters and shapes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WIDTH, FEATURES, IDS, LABELS = 6, 5, 11, 3
#: Batch and steps of the examples that models are exported with.
BATCH, STEPS = 2, 4
CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True)
class ForeignModel:
    """A module and how it is exported.

    Attributes:
        inputs: arrays of one export, in the order of `forward`.
        free: the axes of each input and output that are exported as free, by name; empty for one size.
        in_chunks: whether what it computes of a step depends on steps before it alone.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...] = ("y",)
    free: dict[str, dict[int, str]] = field(default_factory=dict)
    in_chunks: bool = True
    in_batches: bool = True

    def file(self) -> onnx.ModelProto:
        """The model as torch's exporter by TorchScript writes it."""
        written = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module.eval(),
                tuple(self.inputs.values()),
                written,
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamo=False,
                dynamic_axes=self.free or None,
            )
        return onnx.load_model_from_string(written.getvalue())

    def file_of_dynamo(self) -> onnx.ModelProto:
        """The model as torch's exporter by `torch.export` writes it."""
        free = {axis: torch.export.Dim(axis) for axes in self.free.values() for axis in axes.values()}
        shapes = {name: {axis: free[size] for axis, size in self.free.get(name, {}).items()} for name in self.inputs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                self.module.eval(),
                tuple(self.inputs.values()),
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamo=True,
                dynamic_shapes=tuple(shapes.values()) if self.free else None,
                verbose=False,
            )
        assert program is not None
        return program.model_proto

    def answers(self, *inputs: Any) -> list[np.ndarray]:
        """What torch computes."""
        with torch.no_grad():
            found = self.module.eval()(*[torch.as_tensor(array) for array in inputs])
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


class Recurrent(nn.Module):
    """Features or embedded ids -> recurrence -> what `read` takes of its outputs -> a linear layer."""

    def __init__(
        self,
        cell: str = "lstm",
        read: str = "steps",
        *,
        embeds: bool = False,
        batch_first: bool = True,
        layers: int = 1,
        both: bool = False,
        labels: int = LABELS,
        **options: Any,
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.read, self.cell, self.batch_first = read, cell, batch_first
        self.embedding = nn.Embedding(IDS, FEATURES) if embeds else nn.Identity()
        self.rnn = CELLS[cell](
            FEATURES, WIDTH, num_layers=layers, batch_first=batch_first, bidirectional=both, **options
        )
        width = WIDTH * (2 if both else 1)
        self.weigh = nn.Linear(width, 1)
        self.output = nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        outputs, state = self.rnn(self.embedding(x))
        return self.output(READS[self.read](self, outputs, state))


def _last(module: Recurrent, outputs: Tensor, state: Any) -> Tensor:
    return outputs[:, -1] if module.batch_first else outputs[-1]


def _attended(module: Recurrent, outputs: Tensor, state: Any) -> Tensor:
    weights = module.weigh(outputs).softmax(dim=1)
    return torch.bmm(weights.transpose(1, 2), outputs).squeeze(1)


def _final(module: Recurrent, outputs: Tensor, state: Any) -> Tensor:
    hidden = state[0] if module.cell == "lstm" else state
    return hidden[-1]


READS: dict[str, Callable[[Recurrent, Tensor, Any], Tensor]] = {
    "steps": lambda module, outputs, state: outputs,
    "last": _last,
    "mean": lambda module, outputs, state: outputs.mean(dim=1),
    "max": lambda module, outputs, state: outputs.max(dim=1).values,
    "deviation": lambda module, outputs, state: outputs.std(dim=1),
    "sum": lambda module, outputs, state: outputs.sum(dim=1),
    "attended": _attended,
    "final": _final,
    "turned": lambda module, outputs, state: outputs.flip(1),
    "summed": lambda module, outputs, state: outputs.cumsum(1),
    "flat": lambda module, outputs, state: torch.tanh(outputs.reshape(-1, WIDTH)).reshape(outputs.shape),
}


class Packed(Recurrent):
    """Reads packed sequences, as torch's users do for rows of different length."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = pack_padded_sequence(self.embedding(x), lengths, self.batch_first, enforce_sorted=False)
        outputs, state = self.rnn(packed)
        steps, _ = pad_packed_sequence(outputs, self.batch_first)
        return self.output(READS[self.read](self, steps, state))


class ExplicitLSTM(Recurrent):
    """Takes and returns its state, as models for streams do."""

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        outputs, (hidden, cell) = self.rnn(x, (h0, c0))
        return self.output(outputs), hidden, cell


class ExplicitGRU(Recurrent):
    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        outputs, hidden = self.rnn(x, h0)
        return self.output(outputs), hidden


class LearnedStart(Recurrent):
    """Begins from a state that was learned."""

    def __init__(self) -> None:
        super().__init__("gru")
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.rnn(x, self.start.expand(-1, x.shape[0], -1).contiguous())[0])


class Convolved(Recurrent):
    """A convolution over time before the recurrence."""

    def __init__(self) -> None:
        super().__init__("gru")
        self.convolution = nn.Conv1d(FEATURES, FEATURES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.relu(self.convolution(x.transpose(1, 2)).transpose(1, 2)))


class Normalised(Recurrent):
    """Two recurrences with a residual connection and layer normalisation."""

    def __init__(self) -> None:
        super().__init__("lstm")
        self.second = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        first, _ = self.rnn(x)
        second, _ = self.second(first)
        both = self.norm(first + second)
        return self.output(both).softmax(dim=-1), both[:, -1]


class TwoInputs(nn.Module):
    """Ids and features of each step, and features of the whole row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding = nn.Embedding(IDS, 4)
        self.rnn = nn.LSTM(4 + FEATURES + 2, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, LABELS)

    def forward(self, words: Tensor, x: Tensor, speaker: Tensor) -> Tensor:
        of_row = speaker.unsqueeze(1).expand(-1, x.shape[1], -1)
        return self.output(self.rnn(torch.cat([self.embedding(words), x, of_row], dim=2))[0])


class Masked(Recurrent):
    """Takes a mask of its steps."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        outputs = self.rnn(x * mask.unsqueeze(2).float())[0]
        return self.output((outputs * mask.unsqueeze(2).float()).sum(dim=1) / mask.float().sum(dim=1, keepdim=True))


class OfDoubles(Recurrent):
    """Takes and gives doubles, and computes in single precision."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).double()


class Averaged(Recurrent):
    """Takes lengths for the mean of its outputs, while its recurrences read padding."""

    def forward(self, x: Tensor, row_lengths: Tensor) -> Tensor:  # type: ignore[override]
        outputs = self.rnn(x)[0]
        is_inside = torch.arange(x.shape[1])[None] < row_lengths[:, None]
        total = (outputs * is_inside[:, :, None]).sum(dim=1)
        return self.output(total / row_lengths[:, None])


class Flattening(Recurrent):
    """Gives the steps of all rows in one axis, as loss functions want them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(-1, LABELS)


class Chosen(Recurrent):
    """Gives the best label of each step, a whole number, and its score."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        scores = super().forward(x)
        return scores.argmax(dim=-1), scores.max(dim=-1).values


class Positions(Recurrent):
    """Adds what belongs to the place of a step in its row, which a chunk does not know."""

    def __init__(self) -> None:
        super().__init__("gru")
        self.places = nn.Embedding(64, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.places(torch.arange(x.shape[1])))


class OneState(Recurrent):
    """Takes hidden state and cell state as one input, and gives them as one output."""

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        outputs, state = self.rnn(x, (h0[:1], h0[1:]))
        return self.output(outputs), torch.cat(state)


class FromContext(nn.Module):
    """The state of the second recurrence begins from what the first has read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.GRU(FEATURES, WIDTH, batch_first=True)
        self.second = nn.GRU(FEATURES, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x, self.first(x)[1])[0]


def features(batch: int = BATCH, steps: int = STEPS, seed: int = 0) -> Tensor:
    return torch.rand(batch, steps, FEATURES, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ids(batch: int = BATCH, steps: int = STEPS) -> Tensor:
    return torch.randint(0, IDS, (batch, steps), generator=torch.Generator().manual_seed(0))


STEPS_FREE = {"x": {0: "batch", 1: "steps"}, "y": {0: "batch", 1: "steps"}}
ROWS_FREE = {"x": {0: "batch", 1: "steps"}, "y": {0: "batch"}}


def by_step(module: nn.Module, **more: Any) -> ForeignModel:
    """A model of features with one output a step."""
    return ForeignModel(module, {"x": features()}, free=STEPS_FREE, **more)


def by_row(module: nn.Module, *, in_chunks: bool = True, **more: Any) -> ForeignModel:
    """A model of ids with one output a row."""
    return ForeignModel(module, {"x": ids()}, free=ROWS_FREE, in_chunks=in_chunks, **more)


def packed(module: nn.Module, *, in_chunks: bool = True) -> ForeignModel:
    inputs = {"x": features(), "lengths": torch.tensor([4, 2])}
    return ForeignModel(module, inputs, free={**STEPS_FREE, "lengths": {0: "batch"}}, in_chunks=in_chunks)


def explicit(module: nn.Module, states: Sequence[str], layers: int, *, is_free: bool = True) -> ForeignModel:
    zeros = {name: torch.zeros(layers, BATCH, WIDTH) for name in states}
    free = {**STEPS_FREE, **{name: {1: "batch"} for name in states}} if is_free else {}
    return ForeignModel(module, {"x": features(), **zeros}, ("y", *(f"{name[0]}n" for name in states)), free)


def of_one_size(module: nn.Module, inputs: Tensor, *, in_chunks: bool = True) -> ForeignModel:
    return ForeignModel(module, {"x": inputs}, in_chunks=in_chunks)


def of_doubles() -> ForeignModel:
    return ForeignModel(OfDoubles("lstm"), {"x": features().double()}, free=STEPS_FREE)


def two_inputs() -> ForeignModel:
    free = {name: {0: "batch", 1: "steps"} for name in ("words", "x", "y")} | {"speaker": {0: "batch"}}
    return ForeignModel(TwoInputs(), {"words": ids(), "x": features(), "speaker": torch.rand(BATCH, 2)}, free=free)


def masked() -> ForeignModel:
    free = {**ROWS_FREE, "mask": {0: "batch", 1: "steps"}}
    inputs = {"x": features(), "mask": torch.ones(BATCH, STEPS, dtype=torch.bool)}
    return ForeignModel(Masked("gru"), inputs, free=free, in_chunks=False)


def averaged(*, both: bool) -> ForeignModel:
    inputs = {"x": features(), "row_lengths": torch.tensor([4, 2])}
    free = {**ROWS_FREE, "row_lengths": {0: "batch"}}
    return ForeignModel(Averaged("gru", both=both), inputs, free=free, in_chunks=False)


def flattening(*, batch_first: bool = True) -> ForeignModel:
    module = Flattening("gru", batch_first=batch_first)
    given = features() if batch_first else features().transpose(0, 1)
    axes = {0: "batch", 1: "steps"} if batch_first else {0: "steps", 1: "batch"}
    return ForeignModel(module, {"x": given}, free={"x": axes, "y": {0: "all"}})


def chosen() -> ForeignModel:
    free = {**STEPS_FREE, "z": {0: "batch", 1: "steps"}}
    return ForeignModel(Chosen("lstm"), {"x": features()}, ("y", "z"), free)


def time_first(cell: str, **options: Any) -> ForeignModel:
    free = {"x": {0: "steps", 1: "batch"}, "y": {0: "steps", 1: "batch"}}
    module = Recurrent(cell, batch_first=False, **options)
    return ForeignModel(module, {"x": features().transpose(0, 1)}, free=free)


#: Every model of torch, exported by TorchScript.
MODELS: dict[str, Callable[[], ForeignModel]] = {
    "lstm": lambda: by_step(Recurrent("lstm")),
    "gru": lambda: by_step(Recurrent("gru")),
    "rnn of relu": lambda: by_step(Recurrent("rnn", nonlinearity="relu")),
    "lstm without bias": lambda: by_step(Recurrent("lstm", bias=False)),
    "lstm of 2 layers": lambda: by_step(Recurrent("lstm", layers=2)),
    "gru of 2 layers": lambda: by_step(Recurrent("gru", layers=2)),
    "lstm, time first": lambda: time_first("lstm"),
    "rnn, time first, 2 layers": lambda: time_first("rnn", layers=2),
    "lstm both ways": lambda: by_step(Recurrent("lstm", both=True), in_chunks=False),
    "gru both ways, 2 layers": lambda: by_step(Recurrent("gru", layers=2, both=True), in_chunks=False),
    "packed lstm": lambda: packed(Packed("lstm")),
    "packed gru both ways": lambda: packed(Packed("gru", both=True), in_chunks=False),
    "lstm with its state": lambda: explicit(ExplicitLSTM("lstm"), ("h0", "c0"), 1),
    "gru of 2 layers with its state": lambda: explicit(ExplicitGRU("gru", layers=2), ("h0",), 2),
    "lstm of one size with its state": lambda: explicit(ExplicitLSTM("lstm"), ("h0", "c0"), 1, is_free=False),
    "ids to the last step": lambda: by_row(Recurrent("lstm", "last", embeds=True)),
    "ids to the final state": lambda: by_row(Recurrent("gru", "final", embeds=True)),
    "ids to the mean": lambda: by_row(Recurrent("gru", "mean", embeds=True), in_chunks=False),
    "ids to the maximum": lambda: by_row(Recurrent("lstm", "max", embeds=True, both=True), in_chunks=False),
    "ids to the sum": lambda: by_row(Recurrent("rnn", "sum", embeds=True), in_chunks=False),
    "ids with attention": lambda: by_row(Recurrent("lstm", "attended", embeds=True), in_chunks=False),
    "one size of 1 row": lambda: of_one_size(Recurrent("lstm"), features(1)),
    "one size, both ways, 2 layers": lambda: of_one_size(
        Recurrent("gru", layers=2, both=True), features(), in_chunks=False
    ),
    "one size, ids to the last step": lambda: of_one_size(Recurrent("gru", "last", embeds=True), ids()),
    "convolution before it": lambda: by_step(Convolved(), in_chunks=False),
    "residual and normalised": lambda: ForeignModel(
        Normalised(), {"x": features()}, ("y", "z"), {**STEPS_FREE, "z": {0: "batch"}}
    ),
    "learned initial state": lambda: by_step(LearnedStart()),
    "ids, features and a row": two_inputs,
    "with a mask": masked,
    "doubles in and out": of_doubles,
    "flattened in between": lambda: by_step(Recurrent("lstm", "flat")),
    "steps of all rows in one axis": flattening,
    "the same, time first": lambda: flattening(batch_first=False),
    "best labels": chosen,
    "places of steps": lambda: by_step(Positions(), in_chunks=False),
    "both states as one": lambda: explicit(OneState("lstm"), ("h0",), 2),
    "mean by lengths": lambda: averaged(both=False),
    "mean by lengths, both ways": lambda: averaged(both=True),
    "state from what was read": lambda: by_step(FromContext(), in_chunks=False),
    "steps in reverse order": lambda: by_step(Recurrent("lstm", "turned"), in_chunks=False, in_batches=False),
    "running sums": lambda: by_step(Recurrent("lstm", "summed"), in_chunks=False, in_batches=False),
}
#: Models that the newer exporter of torch writes.
DYNAMO_MODELS: dict[str, Callable[[], ForeignModel]] = {
    "lstm": MODELS["lstm"],
    "ids to the last step": MODELS["ids to the last step"],
    "one size, both ways, 2 layers": MODELS["one size, both ways, 2 layers"],
}
