"""A minimal character model: an Elman network with four units learns to spell "hello"; all its weights are shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.experiments.harness.fitting import Budget, Fit, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Table, Tell
from training.experiments.harness.probe import Probe
from training.networks.layers.recurrent import RecurrentLayer

WORD = "hello"
LETTERS = "helo"
#: Without memory the two l cannot be told apart; the best prediction gives l and o one half each: 2 ln 2 / 4 letters.
FLOOR_WITHOUT_MEMORY = 0.3466


@dataclass(frozen=True)
class Settings:
    """There is one word, which every update uses."""

    hidden: int = 4
    num_steps: int = 300
    learning_rate: float = 0.05
    seed: int = 1


def letters(text: str) -> Tensor:
    """Ids `[1, length]`."""
    return torch.tensor([[LETTERS.index(letter) for letter in text]])


class OneHot(nn.Module):
    """One-hot encoding."""

    def forward(self, ids: Tensor) -> Tensor:
        """`[batch, time]` -> `[batch, time, letters]`."""
        return F.one_hot(ids, len(LETTERS)).float()


def spell(settings: Settings, *, with_memory: bool = True) -> tuple[Probe, Fit]:
    """Train a network to predict the next letter. Without memory it reads each letter from the zero state."""
    inputs, targets = letters(WORD[:-1]), letters(WORD[1:])
    if not with_memory:
        inputs, targets = inputs.transpose(0, 1), targets.transpose(0, 1)
    with seeded(settings.seed):
        network = Probe("rnn", OneHot(), len(LETTERS), settings.hidden, len(LETTERS))
        history = fit(
            network,
            lambda _step: F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten()),
            Budget(settings.num_steps, settings.learning_rate),
        )
    return network, history


def weights_table(network: Probe) -> Table:
    """Every weight: h = tanh(W x + U h' + b), logits = V h + c. One row for each unit and each letter."""
    layer = network.encoder.layers[0]
    assert isinstance(layer, RecurrentLayer)
    parameters = dict(layer.forward_rnn.named_parameters())
    bias = (parameters["bias_ih_l0"] + parameters["bias_hh_l0"]).unsqueeze(1)
    units = [f"h{number}" for number in range(1, len(bias) + 1)]
    hidden = torch.cat([parameters["weight_ih_l0"], parameters["weight_hh_l0"], bias], dim=1).tolist()
    nothing = [None] * len(LETTERS)
    outputs = torch.cat([network.output.weight, network.output.bias.unsqueeze(1)], dim=1).tolist()
    rows = [(name, *row) for name, row in zip(units, hidden, strict=True)]
    rows += [(f"logit {letter}", *nothing, *row) for letter, row in zip(LETTERS, outputs, strict=True)]
    columns = {"computed": ""} | {f"from {name}": ".2f" for name in [*LETTERS, *units]} | {"bias": ".2f"}
    return Table(columns, rows, "The weights, one row for each number that is computed")


@torch.no_grad()
def steps_table(network: Probe) -> Table:
    """The hidden state and the prediction at each letter of the word."""
    inputs = letters(WORD[:-1])
    lengths = torch.tensor([inputs.shape[1]])
    states = network.encoder(network.inputs(inputs), lengths)[0]
    chances = network.output(states).softmax(dim=1)
    rows = [
        (read, *state.tolist(), *(100 * chance).tolist(), LETTERS[int(chance.argmax())], wanted)
        for read, wanted, state, chance in zip(WORD, WORD[1:], states, chances, strict=False)
    ]
    units = {f"h{number}": ".3f" for number in range(1, states.shape[1] + 1)}
    columns = {"read": ""} | units | {f"p({letter}), %": ".1f" for letter in LETTERS} | {"says": "", "right": ""}
    return Table(columns, rows, "What it holds and says, letter by letter")


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train with and without memory, and show all numbers of the network with memory."""
    network, history = spell(settings)
    _, memoryless = spell(settings, with_memory=False)
    tell(f"loss {history.losses[-1]:.4f} with memory, {memoryless.losses[-1]:.4f} without")
    steps = range(1, settings.num_steps + 1)
    lines = [Line("with memory", steps, history.losses), Line("without memory", steps, memoryless.losses)]
    floor = {"2 ln 2 / 4: both l alike": FLOOR_WITHOUT_MEMORY}
    panel = Panel("Learning to spell hello", "update", "loss, nats a letter", lines, levels=floor, log_y=True)
    return Outcome([steps_table(network), weights_table(network)], [panel])


HELLO = Experiment(
    "hello",
    "What does every number of a four-unit network do when it spells hello?",
    Settings(),
    Settings(num_steps=60),
    run,
)
