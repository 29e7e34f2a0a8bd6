"""Graph writers of speech recognition: the encoder of CTC."""

from __future__ import annotations

from training.networks.network import Network
from training.networks.transcriber import SpeechEncoder, Transcriber
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import encoder_from_state
from training.onnx_graph.parts.layers import linear
from training.onnx_graph.parts.sequences import time_major
from training.onnx_graph.parts.state import state_inputs, state_outputs
from training.onnx_graph.parts.streaming_front_end import streaming_front_end


def write_transcriber(graph: GraphBuilder, network: Transcriber) -> None:
    """Samples or frames -> log-probabilities of tokens `[batch, steps, vocab]`."""
    outputs = write_speech_encoder(graph, network, network.speech)
    graph.output("log_probs", graph.node("LogSoftmax", linear(graph, outputs, network.output), axis=-1))


def write_speech_encoder(graph: GraphBuilder, network: Network, speech: SpeechEncoder) -> str:
    """The outputs of the encoder, `[batch, steps, width]`; also outputs the next state of a network that has one."""
    values, lengths = graph.input(speech.input_name), graph.input("lengths")
    state = dict(zip(network.state_shapes, state_inputs(graph, network), strict=True))
    features, steps, after = streaming_front_end(graph, values, lengths, speech.front_end, state)
    recurrent = [state[name] for name in state if name not in speech.front_end.state_shapes]
    outputs, next_state = encoder_from_state(graph, time_major(graph, features), steps, speech.encoder, recurrent)
    if state:
        state_outputs(graph, network, [after[name] for name in speech.front_end.state_shapes] + list(next_state))
    return time_major(graph, outputs)
