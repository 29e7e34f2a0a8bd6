"""Checkpoints: weights, optimiser, averages, carried state, random state and progress in one safetensors file.

No pickle: loading runs no code. Tensors are stored on the CPU, so that a run started on a GPU can resume without one.
Writes are atomic and durable, the content has a checksum, and the checkpoint before the last one is kept beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from training.fit.distributed import ALONE, Workers, interleaved
from training.networks.network import Network
from training.preprocessing.tensor_file import CheckpointFault, read_tensors, write_tensors

CHECKPOINT_VERSION: Final = 1


class Progress(BaseModel):
    """Progress of a run. `batch` counts within the epoch, `step` from the start. Higher scores are better.

    `averaging_from` is the step at which `asgd` began to average, None before that.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = CHECKPOINT_VERSION
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0
    rate_factor: float = 1.0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    finished: bool = False
    dev_scores: list[float] = []
    averaging_from: int | None = None


class RunState(BaseModel):
    """All state that determines the next update."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    network: Network
    optimizer: torch.optim.Optimizer
    averages: dict[str, Tensor]
    carried: tuple[Tensor, ...]
    progress: Progress


def save_checkpoint(path: Path, state: RunState, workers: Workers = ALONE) -> None:
    """Write `path` atomically. All workers call this; the first one writes."""
    random_numbers = workers.gather(_random_numbers())
    carried = workers.gather(tuple(part.cpu() for part in state.carried))
    if not workers.is_first:
        return
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in state.averages.items()}
    tensors |= {f"carried.{number}": value for number, value in enumerate(_whole(carried))}
    for rank, generators in enumerate(random_numbers):
        tensors |= {_random_key(rank, name): value for name, value in generators.items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in values.items()}
    write_tensors(path, tensors, {"progress": state.progress.model_dump_json()}, previous_of(path))


def previous_of(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_name(f"previous-{path.name}")


def recover_checkpoint(path: Path) -> str:
    """Make sure that the checkpoint `path` can be read; puts the previous one in its place where it cannot.

    Returns:
        What was done, as a sentence; "" where nothing had to be.

    Raises:
        CheckpointFault: neither of both can be read.
    """
    try:
        read_progress(path)
        return ""
    except CheckpointFault as error:
        fault, previous = error, previous_of(path)
    try:
        progress = read_progress(previous)
    except CheckpointFault:
        raise fault from None
    previous.replace(path)
    return f"{fault}; the previous checkpoint is used (epoch {progress.epoch + 1}, update {progress.step:,})"


def load_checkpoint(path: Path, state: RunState, workers: Workers = ALONE) -> RunState:
    """Load `path` into the network and the optimiser of `state`; returns the state to resume from.

    The number of workers may differ: batches are the same, random numbers are not.

    Raises:
        CheckpointFault: the file is missing, damaged, no checkpoint of a run, or of another network.
    """
    tensors, metadata = read_tensors(path)
    progress = _progress(path, metadata)
    try:
        state.network.load_state_dict(_under("network.", tensors))
        _restore_optimizer(state.optimizer, _under("optimizer.", tensors))
        _restore_random_numbers(tensors, workers.rank)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointFault(f"{path}: does not fit this run: {error}") from error
    device = next(state.network.parameters()).device
    carried = _under("carried.", tensors)
    return RunState(
        network=state.network,
        optimizer=state.optimizer,
        averages={name: value.to(device) for name, value in _under("average.", tensors).items()},
        carried=tuple(
            carried[str(number)][:, workers.rank :: workers.count].to(device) for number in range(len(carried))
        ),
        progress=progress,
    )


def save_weights(path: Path, network: Network) -> None:
    """Save the weights of a network to score and export."""
    write_tensors(path, _weights(network), {})


def load_weights(path: Path, network: Network) -> None:
    """Load saved weights into a network of the same shape.

    Raises:
        CheckpointFault: the file is missing, damaged, or of another network.
    """
    tensors, _ = read_tensors(path)
    wanted = _weights(network).keys()
    strangers = sorted((wanted - tensors.keys()) | (tensors.keys() - network.state_dict().keys()))
    if strangers:
        raise CheckpointFault(f"{path}: does not fit this network, beginning with {strangers[0]}")
    try:
        network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
    except RuntimeError as error:
        raise CheckpointFault(f"{path}: does not fit this network: {error}") from error


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """All weights by name. Tied weights occur once, under the name that the averages use."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    values: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        values.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})


def _random_numbers() -> dict[str, Tensor]:
    """Random state of this process."""
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    return generators


def _random_key(rank: int, name: str) -> str:
    return f"random.{name}" if rank == 0 else f"random.{rank}.{name}"


def _restore_random_numbers(tensors: dict[str, Tensor], rank: int) -> None:
    if rank and _random_key(rank, "cpu") not in tensors:  # a worker that did not exist when the run was stopped
        return
    torch.set_rng_state(tensors[_random_key(rank, "cpu")])
    if _random_key(rank, "cuda") in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors[_random_key(rank, "cuda")])


def _whole(carried: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The state of the whole batch, from the states of each worker's rows; a worker may have none."""
    parts = [parts for parts in carried if parts]
    return tuple(interleaved(each) for each in zip(*parts, strict=True)) if len(parts) > 1 else (*parts, ())[0]


def read_progress(path: Path) -> Progress:
    """Progress of a run, without loading its weights."""
    _, metadata = read_tensors(path)
    return _progress(path, metadata)


def _progress(path: Path, metadata: dict[str, str]) -> Progress:
    try:
        return Progress.model_validate_json(metadata["progress"])
    except (KeyError, ValidationError) as error:
        raise CheckpointFault(f"{path}: not a checkpoint of a run: {error}") from error
