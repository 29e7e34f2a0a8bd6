"""SegRNN (Lin et al. 2023): a recurrence over segments of the past; its final state predicts all future segments.

    past      [rows, look_back] -> segments -> linear, ReLU -> recurrence -> final state
    future    for each future segment one step of the same cell from that state; its input is the segment's query
    forecast  linear -> segment, plus the last known value

The last known value is subtracted from the input and added to the output, so that the network does not depend on the
level of the series. With a day per segment, 720 hours are 30 steps; the future is predicted in parallel.

Each target is forecast from its own past with shared weights (`mixing = "independent"`), or from all channels jointly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.task_options import MEDIAN
from training.config.networks import ForecasterConfig
from training.networks.layers.cells import State, recurrence, run_recurrence, state_names
from training.networks.network import Network, NetworkGraph, Tensors, float32
from training.preprocessing.batches import ForecastingBatch
from training.preprocessing.scales.series_scale import SeriesScale


class Forecaster(Network):
    """One recurrent layer over segments of the past, and one linear layer for the segments of the future."""

    def __init__(self, config: ForecasterConfig, scale: SeriesScale) -> None:
        super().__init__()
        self.config = config
        self.scale = scale
        width, segment = config.hidden_size, config.segment
        self.num_targets = len(scale.targets)
        self.num_outputs = max(1, len(config.quantiles))
        self._register_scale(scale)
        self.segment_input = nn.Linear(segment * (1 if self.is_independent else len(scale.channels)), width)
        self.rnn = recurrence(config.cell, width, width)
        self.position_embedding = nn.Parameter(torch.randn(config.num_future_segments, width // 2))
        self.target_embedding = nn.Parameter(torch.randn(self.num_targets, width - width // 2))
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(width, segment * self.num_outputs)

    def _register_scale(self, scale: SeriesScale) -> None:
        """Buffers with the scale of the channels; float64, so that rounding to half precision keeps them exact."""
        constants = {
            "target_index": torch.tensor(scale.target_index),
            "mean": torch.tensor(scale.mean, dtype=torch.float64),
            "deviation": torch.tensor(scale.deviation, dtype=torch.float64),
        }
        for name, value in constants.items():
            self.register_buffer(name, value)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`forecaster`: frames -> forecast, and quantiles if configured; in the units of the data."""
        frames = float32("frames", "batch", self.config.look_back, len(self.scale.channels))
        shape = ("batch", self.config.horizon, self.num_targets)
        outputs = [float32("forecast", *shape)]
        if self.config.quantiles:
            outputs.append(float32("quantiles", *shape, len(self.config.quantiles)))
        return {"forecaster": NetworkGraph(self._forecast, (frames,), tuple(outputs))}

    def _forecast(self, feeds: Tensors) -> Tensors:
        forecast, quantiles = self.forecast(feeds["frames"])
        return {"forecast": forecast} if quantiles is None else {"forecast": forecast, "quantiles": quantiles}

    @property
    def is_independent(self) -> bool:
        """Whether each target is forecast from its own past only."""
        return self.config.mixing == "independent"

    def forward(self, frames: Tensor) -> Tensor:
        """`[batch, look_back, channels]` -> `[batch, horizon, targets, outputs]`, in deviations from the last value."""
        deviation = self.get_buffer("deviation").float()
        rows = self._target_past(frames, deviation) if self.is_independent else self._joint_past(frames, deviation)
        batch, segment = frames.shape[0], self.config.segment
        inputs = rows.reshape(-1, self.config.num_past_segments, self.segment_input.in_features)
        embedded = F.relu(self.segment_input(inputs))
        zeros = embedded.new_zeros(1, embedded.shape[0], self.config.hidden_size)
        _, state = run_recurrence(self.rnn, embedded, (zeros,) * len(state_names(self.config.cell)))
        future = self._future_outputs(state, batch)
        values = self.output(self.dropout(future)).reshape(batch, self.num_targets, -1, segment, self.num_outputs)
        steps = values.reshape(batch, self.num_targets, -1, self.num_outputs)[:, :, : self.config.horizon]
        return _non_crossing(steps.transpose(1, 2))

    def _target_past(self, frames: Tensor, deviation: Tensor) -> Tensor:
        """`[batch, targets, look_back]`, each target in deviations from its last value."""
        own = frames[:, :, self.get_buffer("target_index")]
        return ((own - own[:, -1:]) / deviation[self.get_buffer("target_index")]).transpose(1, 2)

    def _joint_past(self, frames: Tensor, deviation: Tensor) -> Tensor:
        """`[batch, look_back, channels]`, each channel in deviations from its mean."""
        return (frames - self.get_buffer("mean").float()) / deviation

    def _future_outputs(self, state: State, batch: int) -> Tensor:
        """`[batch * targets * segments, width]`: the cell's output for each query, from the state of its row."""
        segments = self.config.num_future_segments
        queries = self.queries().repeat(batch, 1).unsqueeze(1)
        copies = queries.shape[0] // state[0].shape[1]
        before = tuple(part.repeat_interleave(copies, dim=1) for part in state)
        answers, _ = run_recurrence(self.rnn, queries, before)
        return answers.reshape(batch * self.num_targets * segments, -1)

    def queries(self) -> Tensor:
        """`[targets * segments, width]`: position embedding of the segment, embedding of the target."""
        segments = self.config.num_future_segments
        position = self.position_embedding.repeat(self.num_targets, 1)
        target = self.target_embedding.repeat_interleave(segments, dim=0)
        return torch.cat([position, target], dim=1)

    def forecast(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """`[batch, horizon, targets]`, and with quantiles those as `[batch, horizon, targets, quantiles]`."""
        index = self.get_buffer("target_index")
        deviation = self.get_buffer("deviation").float()[index].unsqueeze(1)
        values = frames[:, -1, index][:, None, :, None] + self(frames) * deviation
        if self.config.minimum is not None:
            values = values.clamp(min=self.config.minimum)
        if not self.config.quantiles:
            return values.squeeze(3), None
        return values[..., self.config.quantiles.index(MEDIAN)], values

    def loss(self, batch: ForecastingBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean squared, absolute or quantile (pinball) error over the known values, in standard deviations."""
        index = self.get_buffer("target_index")
        deviation = self.get_buffer("deviation").float()[index]
        right = (batch.future - batch.frames[:, -1:, index]) / deviation
        wrong = right.unsqueeze(3) - self(batch.frames).float()
        known = wrong.isfinite()
        return self._error(wrong.where(known, 0.0)).sum() / known.sum().clamp(min=1), ()

    def _error(self, wrong: Tensor) -> Tensor:
        if self.config.quantiles:
            quantiles = wrong.new_tensor(self.config.quantiles)
            return torch.maximum(quantiles * wrong, (quantiles - 1) * wrong)
        return wrong.square() if self.config.error == "squared" else wrong.abs()


def _non_crossing(values: Tensor) -> Tensor:
    """Quantiles that never cross: each is the one below plus the softplus of an output."""
    if values.shape[3] == 1:
        return values
    return torch.cat([values[..., :1], F.softplus(values[..., 1:])], dim=3).cumsum(dim=3)
