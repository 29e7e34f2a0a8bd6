"""Runs a torch network under the graph names and tensor names of a bundle: what the graphs are measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from service.tasks.core.task import Array
from training.networks.captioner import Captioner
from training.networks.classifier import Classifier
from training.networks.forecaster import Forecaster
from training.networks.language_model import LanguageModel
from training.networks.layers.recurrent import STATE_NAMES, State
from training.networks.signal_classifier import SignalClassifier
from training.networks.tagger import Tagger, TaggerReading
from training.networks.translator import Translator

#: The networks whose graphs may take a state in and give it back.
Stateful = Tagger | Classifier | SignalClassifier | Translator | Captioner | LanguageModel
Tensors = dict[str, Tensor]
GraphFunction = Callable[[Tensors], Tensors]


class TorchRunner:
    """A `service.tasks.core.task.Runner` on a torch network. Dropout is off during a run, and no gradient is kept."""

    def __init__(self, network: nn.Module) -> None:
        """Raises ValueError when nothing is known about this kind of network."""
        self._network = network
        self._functions = graph_functions(network)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once: every input by name in, every output by name out."""
        device = next(self._network.parameters()).device
        tensors = {name: torch.from_numpy(array).to(device) for name, array in feeds.items()}
        with evaluating(self._network), torch.no_grad():
            outputs = self._functions[graph](tensors)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the mode of before afterwards."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: small batches gain nothing from more, and sums then do not depend on the machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def graph_functions(network: nn.Module) -> dict[str, GraphFunction]:
    """For each graph of the network's task a function from named inputs to named outputs."""
    match network:
        case Tagger():
            return {"tagger": lambda feeds: _tag(network, feeds)}
        case SignalClassifier():
            return {"classifier": lambda feeds: _classify_signal(network, feeds)}
        case Classifier():
            return {"classifier": lambda feeds: _classify(network, feeds)}
        case Translator():
            return {
                "encoder": lambda feeds: _encode(network, feeds),
                "decoder_step": lambda feeds: _decode_step(network, feeds),
            }
        case Captioner():
            return {
                "encoder": lambda feeds: _look(network, feeds),
                "decoder_step": lambda feeds: _decode_step(network, feeds),
            }
        case Forecaster():
            return {"forecaster": lambda feeds: _forecast(network, feeds)}
        case LanguageModel():
            return {"prompt": lambda feeds: _prompt(network, feeds), "step": lambda feeds: _step(network, feeds)}
        case _:
            raise ValueError(f"there are no graphs for a {type(network).__name__}")


def _tag(network: Tagger, feeds: Tensors) -> Tensors:
    words = feeds["words"]
    # A network that reads no characters has no such input; it ignores what it is given.
    characters = feeds.get("characters", words.unsqueeze(2))
    if not network.reads_chunks:
        return _tagged(network.read(words, characters, feeds["lengths"]))
    reading, state = network.read_on(words, characters, feeds["lengths"], _state(network, feeds))
    return {**_tagged(reading), **_next_state(network, state)}


def _tagged(reading: TaggerReading) -> Tensors:
    emissions = {"emissions": reading.emissions}
    return emissions if reading.text_logits is None else {**emissions, "text_logits": reading.text_logits}


def _classify(network: Classifier, feeds: Tensors) -> Tensors:
    tokens, lengths, characters = feeds["tokens"], feeds["lengths"], feeds.get("characters")
    if not network.reads_chunks:
        return {"logits": network.logits(tokens, lengths, characters)}
    logits, state = network.read_on(tokens, lengths, _state(network, feeds), characters)
    return {"logits": logits, **_next_state(network, state)}


def _forecast(network: Forecaster, feeds: Tensors) -> Tensors:
    forecast, quantiles = network.forecast(feeds["frames"])
    return {"forecast": forecast} if quantiles is None else {"forecast": forecast, "quantiles": quantiles}


def _classify_signal(network: SignalClassifier, feeds: Tensors) -> Tensors:
    values = feeds[network.input_name]
    if not network.reads_chunks:
        return {"logits": network.logits(values, feeds["lengths"])}
    logits, state = network.read_on(values, feeds["lengths"], _state(network, feeds))
    return {"logits": logits, **_next_state(network, state)}


def _encode(network: Translator, feeds: Tensors) -> Tensors:
    memory, keys, state = network.encode(feeds["tokens"], feeds["lengths"])
    return {"memory": memory, "memory_keys": keys, **_next_state(network, state)}


def _look(network: Captioner, feeds: Tensors) -> Tensors:
    memory, keys, state = network.encode(feeds["pixels"])
    return {"memory": memory, "memory_keys": keys, **_next_state(network, state)}


def _decode_step(network: Translator | Captioner, feeds: Tensors) -> Tensors:
    sources = feeds["memory"], feeds["memory_keys"], feeds["lengths"]
    logits, attention, state = network.step(feeds["token"], *sources, _state(network, feeds))
    return {"logits": logits, "attention": attention, **_next_state(network, state)}


def _prompt(network: LanguageModel, feeds: Tensors) -> Tensors:
    logits, state = network.prompt(feeds["tokens"], feeds["lengths"], _state(network, feeds))
    return {"logits": logits, **_next_state(network, state)}


def _step(network: LanguageModel, feeds: Tensors) -> Tensors:
    logits, state = network.step(feeds["token"], _state(network, feeds))
    return {"logits": logits, **_next_state(network, state)}


def _state(network: Stateful, feeds: Tensors) -> State:
    return tuple(feeds[name].contiguous() for name in _state_names(network))


def _next_state(network: Stateful, state: State) -> Tensors:
    return {f"next_{name}": part for name, part in zip(_state_names(network), state, strict=True)}


def _state_names(network: Stateful) -> tuple[str, ...]:
    return tuple(network.state_shapes) if isinstance(network, Translator) else STATE_NAMES[network.config.cell]


def decode_whole(network: Translator | Captioner, tokens: Array, feeds: Mapping[str, Array]) -> tuple[Array, Array]:
    """All of `tokens` `[batch, steps]` at once, as in training, from the other feeds of `decoder_step`.

    Returns:
        logits `[batch, steps, vocab]` and attention weights `[batch, steps, time]`.
    """
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    sources = tensors["memory"], tensors["memory_keys"], tensors["lengths"]
    with evaluating(network), torch.no_grad():
        logits, attention, _ = network.decode(torch.from_numpy(tokens), *sources, _state(network, tensors))
    return logits.numpy(), attention.numpy()


def transitions_of(network: nn.Module) -> Array | None:
    """The transition scores of a CRF tagger, float32 `[labels + 1, labels + 1]`; None for any other network."""
    if not isinstance(network, Tagger) or network.crf is None:
        return None
    return np.asarray(network.crf.transitions.detach().cpu().float().numpy())
