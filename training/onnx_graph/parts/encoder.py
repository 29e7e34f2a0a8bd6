"""Stacks of recurrent layers: bidirectional encoders over whole sequences, and forward stacks with explicit state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from torch import nn

from training.networks.layers.feed_forward import IdentityEncoder
from training.networks.layers.recurrent import RecurrentEncoder, RecurrentLayer, StatefulStack
from training.networks.layers.residual import ResidualConnection
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import backward_recurrence, recurrence
from training.onnx_graph.parts.layers import layer_norm, linear
from training.onnx_graph.parts.sequences import first, last_valid


def recurrent_layer(graph: GraphBuilder, inputs: str, lengths: str, layer: RecurrentLayer) -> str:
    """`[time, batch, input]` -> `[time, batch, hidden * directions]`; values beyond a length are undefined."""
    forward = recurrence(graph, inputs, layer.forward_rnn).outputs
    if layer.backward_rnn is None:
        return forward
    return graph.node("Concat", forward, backward_recurrence(graph, inputs, lengths, layer.backward_rnn), axis=2)


def recurrent_encoder(graph: GraphBuilder, inputs: str, lengths: str, encoder: RecurrentEncoder) -> str:
    """`[time, batch, input]` -> `[time, batch, output_size]` through every layer."""
    outputs = inputs
    for layer, end in zip(encoder.layers, encoder.ends, strict=True):
        values = recurrent_layer(graph, outputs, lengths, cast(RecurrentLayer, layer))
        outputs = residual_connection(graph, outputs, values, cast(ResidualConnection, end))
    return outputs


def residual_connection(graph: GraphBuilder, inputs: str, outputs: str, end: ResidualConnection) -> str:
    """The connection around a layer, from its input and output `[time, batch, size]`, and layer normalisation."""
    if end.is_residual:
        outputs = graph.node("Add", inputs, outputs)
    if end.gate is not None:
        gate = graph.node("Sigmoid", linear(graph, inputs, end.gate))
        outputs = graph.node("Add", inputs, graph.node("Mul", gate, graph.node("Sub", outputs, inputs)))
    return outputs if end.norm is None else layer_norm(graph, outputs, end.norm)


def final_state(graph: GraphBuilder, outputs: str, lengths: str, layer: RecurrentLayer) -> str:
    """`[time, batch, width]` -> `[batch, width]`: forward at the end, backward at step 0."""
    at_end = last_valid(graph, outputs, lengths)
    if layer.backward_rnn is None:
        return at_end
    forward, _ = halves(graph, at_end)
    _, backward = halves(graph, first(graph, outputs))
    return graph.node("Concat", forward, backward, axis=1)


def top_layer(encoder: RecurrentEncoder | IdentityEncoder) -> RecurrentLayer | None:
    """The top layer of the encoder; None without a recurrence."""
    return None if isinstance(encoder, IdentityEncoder) else cast(RecurrentLayer, encoder.layers[-1])


def halves(graph: GraphBuilder, values: str) -> tuple[str, str]:
    """The two directions of `[batch, 2 * hidden]`."""
    forward, backward = graph.nodes("Split", values, num_outputs=2, axis=1)
    return forward, backward


def encoder_from_state(
    graph: GraphBuilder,
    inputs: str,
    lengths: str,
    encoder: RecurrentEncoder | IdentityEncoder,
    state: Sequence[str] = (),
) -> tuple[str, tuple[str, ...]]:
    """`recurrent_encoder`, with `state` if given; then also the state after each row's last step.

    Without a recurrence, the inputs unchanged.

    Raises:
        ValueError: there is a state, but the encoder is bidirectional.
    """
    if isinstance(encoder, IdentityEncoder):
        return inputs, ()
    if not state:
        return recurrent_encoder(graph, inputs, lengths, encoder), ()
    if not encoder.is_forward_only:
        raise ValueError("a bidirectional encoder cannot continue from a state")
    layers = [cast(RecurrentLayer, layer).forward_rnn for layer in encoder.layers]
    return stateful_layers(graph, inputs, state, layers, encoder.ends, lengths)


def stateful_stack(
    graph: GraphBuilder, inputs: str, state: Sequence[str], stack: StatefulStack, lengths: str = ""
) -> tuple[str, tuple[str, ...]]:
    """Run a stack from a state; also the state after each row's last step.

    Args:
        inputs: `[time, batch, input]`.
        state: one `[layers, batch, hidden]` for each part: hidden, and cell for LSTM.
        lengths: `[batch]`; without it every row is `time` long.

    Returns:
        outputs `[time, batch, hidden]` and the next state, shaped and ordered like `state`.
    """
    return stateful_layers(graph, inputs, state, list(stack.layers), stack.ends, lengths)


def stateful_layers(
    graph: GraphBuilder,
    inputs: str,
    state: Sequence[str],
    layers: Sequence[nn.Module],
    ends: Iterable[nn.Module],
    lengths: str = "",
) -> tuple[str, tuple[str, ...]]:
    """`stateful_stack` for the forward layers of any stack, with the residual connection of each in `ends`."""
    before = layer_states(graph, state, len(layers))
    outputs, afters = inputs, []
    for module, end, parts in zip(layers, ends, before, strict=True):
        values, after = recurrence(graph, outputs, module, parts, lengths)
        outputs = residual_connection(graph, outputs, values, cast(ResidualConnection, end))
        afters.append(after)
    return outputs, joined_state(graph, afters)


def layer_states(graph: GraphBuilder, state: Sequence[str], layers: int) -> list[tuple[str, ...]]:
    """Parts `[layers, batch, hidden]` -> for each layer its parts `[1, batch, hidden]`."""
    if layers == 1:
        return [tuple(state)]
    split = [graph.nodes("Split", part, num_outputs=layers, axis=0) for part in state]
    return list(zip(*split, strict=True))


def joined_state(graph: GraphBuilder, layers: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """For each layer its parts `[1, batch, hidden]` -> parts `[layers, batch, hidden]`."""
    if len(layers) == 1:
        return layers[0]
    return tuple(graph.node("Concat", *parts, axis=0) for parts in zip(*layers, strict=True))
