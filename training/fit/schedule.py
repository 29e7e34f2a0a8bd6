"""Learning-rate schedules and weight averaging, as pure functions of the progress."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config.recipe import TrainingConfig
from training.networks.network import Network


def learning_rate(config: TrainingConfig, step: int, total_steps: int, plateau_factor: float) -> float:
    """The learning rate of update `step` (from 0) of `total_steps`: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    # Epochs of running text differ by about a batch; updates beyond `total_steps` keep the last rate.
    done = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    shapes = {
        "constant": 1.0,
        "plateau": plateau_factor,
        "linear": 1.0 - done * (1.0 - config.final_rate),
        "cosine": config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * done)),
    }
    return config.learning_rate * shapes[config.schedule]


def layer_share(config: TrainingConfig, depth: int, epoch: int) -> float:
    """The learning rate of a layer `depth` below the output layers, as a share of theirs (Howard and Ruder 2018)."""
    return 0.0 if config.unfreeze == "gradual" and depth > epoch else config.layer_decay**depth


def layers_from_the_top(network: Network) -> list[list[nn.Parameter]]:
    """Parameters of the output layers, of each recurrent layer from the top, and of what these read."""
    children = dict(network.named_children())
    reading = [children[name] for name in network.reading_modules if name in children]
    stacks = [part for part in reading if isinstance(getattr(part, "layers", None), nn.ModuleList)]
    of_layers = [_parameters_of_layer(stack, number) for stack in stacks for number in reversed(range(_height(stack)))]
    below = [parameter for part in reading if part not in stacks for parameter in part.parameters()]
    inner = {id(parameter) for group in (*of_layers, below) for parameter in group}
    top = [parameter for parameter in network.parameters() if id(parameter) not in inner]
    return [group for group in (top, *of_layers, below) if group]


def _height(stack: nn.Module) -> int:
    return len(list(stack.get_submodule("layers").children()))


def _parameters_of_layer(stack: nn.Module, number: int) -> list[nn.Parameter]:
    """Those of a recurrent layer, and of the residual connection around it."""
    parts = (stack.get_submodule(f"{part}.{number}") for part in ("layers", "ends"))
    return [parameter for part in parts for parameter in part.parameters()]


def share_kept(config: TrainingConfig, step: int, total_steps: int, averaging_from: int = 0) -> float:
    """Decay of the averaged weights at update `step` (from 0).

    `ema` keeps `ema_decay`, less in the first steps to forget the start. `swa` keeps nothing until its share of the run
    begins; from then on all updates weigh alike (Polyak and Juditsky 1992, Izmailov et al. 2018).
    With `asgd` averaging begins at the step `averaging_from`, which the dev score decides.
    """
    if config.average == "ema":
        return min(config.ema_decay, (1 + step) / (10 + step))
    start = averaging_from if config.average == "asgd" else int(config.average_from * total_steps)
    num_averaged = max(0, step - start)
    return num_averaged / (num_averaged + 1)


@torch.no_grad()
def update_averages(averages: dict[str, Tensor], network: nn.Module, kept: float) -> None:
    """Update the averages: keep a share of them, take the rest from the weights."""
    for name, parameter in network.named_parameters():
        averages[name].lerp_(parameter, 1.0 - kept)


def start_averages(network: nn.Module, config: TrainingConfig) -> dict[str, Tensor]:
    """A copy of the weights to average into; empty if averaging is off or `asgd` has not begun."""
    wanted = config.average == "swa" or (config.average == "ema" and config.ema_decay > 0)
    return copied_weights(network) if wanted else {}


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the current weights."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def has_stopped_gaining(scores: Sequence[float], patience: int) -> bool:
    """The non-monotone trigger (Merity et al. 2018) on dev scores; higher is better.

    True once the last score is below the best of all but the `patience` scores before it.
    """
    *before, last = scores
    return len(before) > patience and last < max(before[: len(before) - patience])
