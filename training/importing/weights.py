"""Weights without their program: a state dictionary of an embedding, a recurrence and a linear layer.

Names and shapes say nearly everything: `rnn.weight_ih_l0` `[4 * hidden, input]` is an LSTM, three times hidden a GRU,
once an Elman network; `_l1` is a second layer, `_reverse` the other direction. What is read of its outputs is not in
the weights: the user says it.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from warnings import catch_warnings

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.importing.graph.source import MAX_BYTES, ImportRefused
from training.importing.torch_models import open_module
from training.importing.understanding import Understanding

#: What is read of the outputs of the recurrence: every step, the last one, the final states, the mean or the maximum.
Read = Literal["steps", "last", "final", "mean", "max"]
#: Suffixes of files of weights.
WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".bin")

#: What a file must be. The readers' own messages tell of options that are not to be used on foreign files.
_WANTED = (
    "it must be a whole file of safetensors, or of torch.save(module.state_dict(), file); a whole module or a script "
    "must be saved as its state dictionary or exported to ONNX"
)
_FIRST = re.compile(r"^(.*)weight_ih_l0$")
_CELLS: dict[int, Callable[..., nn.RNNBase]] = {4: nn.LSTM, 3: nn.GRU, 1: nn.RNN}


def open_weights(
    file: Path,
    read: Read = "steps",
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    *,
    may_have_state: bool = True,
) -> Understanding:
    """Build the network that the weights are of, and understand it.

    Args:
        read: what goes into the linear layer.
        nonlinearity: of an Elman network.

    Raises:
        ImportRefused: the file holds something other than weights, or weights of another network.
    """
    network = known_network(read_weights(file), read, nonlinearity)
    network.eval()
    table = network.embedding
    axes = {"x": ("batch", "time") if table is not None else ("batch", "time", network.rnn.input_size)}
    num_ids = {} if table is None else {"x": table.num_embeddings}
    found = open_module(network, axes, ["y"], num_ids=num_ids, may_have_state=may_have_state)
    found.mended.insert(0, network.told())
    return found


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of one of `torch.save` that holds a state dictionary and nothing else."""
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    if file.stat().st_size > MAX_BYTES:
        raise ImportRefused(f"{file} is larger than {MAX_BYTES:,} bytes")
    found: Any = None
    try:
        if file.suffix == ".safetensors":
            found = load_file(file)
        else:  # with `weights_only` no class of the file is called: it holds tensors, numbers, text and containers
            with catch_warnings(action="ignore", category=UserWarning):  # it warns of scripts, and then refuses them
                found = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ImportRefused(f"{file} holds no weights that can be read without running code: {_WANTED}") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ImportRefused(f"{file} holds no state dictionary: names with a tensor each")
    return {str(name): tensor.float() for name, tensor in found.items()}


class KnownNetwork(nn.Module):
    """Ids through an embedding, or features -> recurrence, batch first -> what is read of it -> a linear layer."""

    def __init__(self, embedding: nn.Embedding | None, rnn: nn.RNNBase, output: nn.Linear | None, read: Read) -> None:
        super().__init__()
        self.embedding, self.rnn, self.output, self.read = embedding, rnn, output, read

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, time]` or `[batch, time, features]` -> `[batch, time, outputs]` or `[batch, outputs]`."""
        outputs, state = self.rnn(x if self.embedding is None else self.embedding(x))
        hidden = state[0] if isinstance(self.rnn, nn.LSTM) else state
        taken = _taken(self.read, outputs, hidden, 2 if self.rnn.bidirectional else 1)
        return taken if self.output is None else self.output(taken)

    def told(self) -> str:
        """What the weights were read as, as a sentence."""
        both = " in both directions" if self.rnn.bidirectional else ""
        parts = [
            *([f"an embedding of {self.embedding.num_embeddings} ids"] if self.embedding is not None else []),
            f"{self.rnn.mode.split('_')[0]} of {self.rnn.num_layers} layers and width {self.rnn.hidden_size}{both}",
            self.read,
            *([f"a linear layer to {self.output.out_features}"] if self.output is not None else []),
        ]
        return f"the weights were read as: {', '.join(parts)}"


def _taken(read: Read, outputs: Tensor, hidden: Tensor, directions: int) -> Tensor:
    match read:
        case "steps":
            return outputs
        case "last":
            return outputs[:, -1]
        case "mean":
            return outputs.mean(dim=1)
        case "max":
            return outputs.max(dim=1).values
        case "final":
            return hidden[-1] if directions == 1 else torch.cat([hidden[-2], hidden[-1]], dim=1)


def known_network(weights: Mapping[str, Tensor], read: Read, nonlinearity: Literal["tanh", "relu"]) -> KnownNetwork:
    """The network of a state dictionary. Raises ImportRefused for weights of another one."""
    prefixes = [match[1] for name in weights if (match := _FIRST.match(name))]
    if len(prefixes) != 1:
        found = ", ".join(repr(prefix) for prefix in prefixes) or "none"
        raise ImportRefused(
            f"the weights need one recurrence, with names such as rnn.weight_ih_l0; found: {found}. Export the model "
            "to ONNX"
        )
    rnn = _recurrence(weights, prefixes[0], nonlinearity)
    width = rnn.hidden_size * (2 if rnn.bidirectional else 1)
    rest = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{prefixes[0]}weight_")}
    rest = {name: tensor for name, tensor in rest.items() if not name.startswith(f"{prefixes[0]}bias_")}
    output = _linear(rest, width)
    embedding = _embedding(rest, rnn.input_size)
    if rest:
        name = min(rest)
        raise ImportRefused(
            f"the weights have {name} {list(rest[name].shape)}, which is neither an embedding [ids, {rnn.input_size}] "
            f"nor a linear layer [outputs, {width}]: only embedding, recurrence and linear layer are known. Export the "
            "model to ONNX"
        )
    return KnownNetwork(embedding, rnn, output, read)


def _recurrence(weights: Mapping[str, Tensor], prefix: str, nonlinearity: str) -> nn.RNNBase:
    names = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    own = {name: tensor for name, tensor in names.items() if re.match(r"(weight|bias)_(ih|hh|hr)_l\d+", name)}
    hidden_product = own.get("weight_hh_l0")
    if hidden_product is None or any("_hr_" in name for name in own) or hidden_product.dim() != 2:
        raise ImportRefused(f"the recurrence {prefix!r} is of a form that is not known: export the model to ONNX")
    gates, width = len(hidden_product) // max(1, hidden_product.shape[1]), hidden_product.shape[1]
    if gates not in _CELLS or len(hidden_product) != gates * width:
        raise ImportRefused(f"{prefix}weight_hh_l0 is {list(hidden_product.shape)}, of no LSTM, GRU or Elman network")
    rnn = _CELLS[gates](
        own["weight_ih_l0"].shape[1],
        width,
        num_layers=1 + max(int(name.split("_l")[1].split("_")[0]) for name in own),
        bias="bias_ih_l0" in own,
        bidirectional="weight_ih_l0_reverse" in own,
        batch_first=True,
        **({"nonlinearity": nonlinearity} if gates == 1 else {}),
    )
    try:
        rnn.load_state_dict(own)
    except RuntimeError as error:
        raise ImportRefused(f"the recurrence {prefix!r} is not whole: {str(error).splitlines()[-1].strip()}") from error
    return rnn


def _linear(rest: dict[str, Tensor], width: int) -> nn.Linear | None:
    """The linear layer after the recurrence, taken out of `rest`; None where there is none."""
    fitting = [
        name
        for name, tensor in rest.items()
        if tensor.dim() == 2 and tensor.shape[1] == width and f"{name.removesuffix('weight')}bias" in rest
    ]
    fitting = fitting or [n for n, t in rest.items() if t.dim() == 2 and t.shape[1] == width and "emb" not in n.lower()]
    if len(fitting) != 1:
        return None
    weight = rest.pop(fitting[0])
    bias = rest.pop(f"{fitting[0].removesuffix('weight')}bias", None)
    layer = nn.Linear(width, len(weight), bias=bias is not None)
    layer.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
    return layer


def _embedding(rest: dict[str, Tensor], size: int) -> nn.Embedding | None:
    """The embedding before the recurrence, taken out of `rest`; None where features are read."""
    fitting = [name for name, tensor in rest.items() if tensor.dim() == 2 and tensor.shape[1] == size]
    return nn.Embedding.from_pretrained(rest.pop(fitting[0])) if len(fitting) == 1 else None
