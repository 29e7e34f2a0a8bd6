"""Graph writers of the video captioner: the encoder of a clip, and one decoder step."""

from __future__ import annotations

from onnx import TensorProto

from training.networks.visual.video_captioner import VideoCaptioner
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import recurrent_encoder
from training.onnx_graph.parts.layers import axis_size, linear, valid_mask
from training.onnx_graph.parts.sequences import time_major
from training.onnx_graph.visual.captioner import caption_step, first_state, image_encoder


def write_video_encoder(graph: GraphBuilder, network: VideoCaptioner) -> None:
    """Frames -> memory, keys, the decoder's first state, and the actions after each frame."""
    lengths = graph.input("lengths")
    by_frame, cells = _frame_features(graph, graph.input("frames"), network)
    seen = graph.node("Relu", linear(graph, by_frame, network.frame))
    states = time_major(graph, recurrent_encoder(graph, time_major(graph, seen), lengths, network.recurrent))
    memory = _memory(graph, cells, states, network)
    graph.output("memory", _side_by_side(graph, memory, network.num_places))
    keys = linear(graph, memory, network.attention.key)
    graph.output("memory_keys", _side_by_side(graph, keys, network.num_places))
    first_state(graph, network, _masked_mean(graph, memory, _places_mask(graph, states, lengths, network)))
    forward, _ = graph.nodes("Split", states, num_outputs=2, axis=2)
    hidden = graph.node("Relu", linear(graph, forward, network.moment))
    graph.output("action_logits", linear(graph, hidden, network.action))
    graph.output("next_logits", linear(graph, hidden, network.next_action))


def _frame_features(graph: GraphBuilder, frames: str, network: VideoCaptioner) -> tuple[str, str]:
    """The convolutions of each frame beside the one before it, which of the first frame is itself.

    Returns:
        `[batch, time, places * channels]` in the order that the network reads them, and `[batch, time, places,
        channels]`.
    """
    config, channels = network.config, network.config.channels[-1]
    scaled = graph.node("Div", graph.node("Cast", frames, to=TensorProto.FLOAT), graph.scalar(127.5))
    clips = graph.node("Transpose", graph.node("Sub", scaled, graph.scalar(1.0)), perm=[0, 1, 4, 2, 3])
    start, time = graph.integers(0), graph.integers(1)
    first = graph.node("Slice", clips, start, graph.integers(1), time)
    others = graph.node("Slice", clips, start, graph.integers(-1), time)
    pairs = graph.node("Concat", clips, graph.node("Concat", first, others, axis=1), axis=2)
    sizes = 6, config.image_rows, config.image_columns
    features = image_encoder(graph, graph.node("Reshape", pairs, graph.integers(-1, *sizes)), network.encoder)
    by_place = graph.node("Transpose", features, perm=[0, 2, 3, 1])
    batch_and_time = graph.node("Shape", frames, start=0, end=2)
    shape = graph.node("Concat", batch_and_time, graph.integers(network.num_places, channels), axis=0)
    cells = graph.node("Reshape", by_place, shape)
    flat = graph.node("Reshape", cells, graph.integers(0, 0, network.num_places * channels))
    return flat, cells


def _memory(graph: GraphBuilder, cells: str, states: str, network: VideoCaptioner) -> str:
    """`[batch, time * places, place_size]`: features of each place beside the states at its frame."""
    around = graph.node("Unsqueeze", states, graph.integers(2))
    repeated = graph.node("Expand", around, graph.integers(1, 1, network.num_places, 1))
    joined = graph.node("Concat", cells, repeated, axis=3)
    return graph.node("Reshape", joined, graph.integers(0, -1, network.place_size))


def _side_by_side(graph: GraphBuilder, values: str, num_places: int) -> str:
    """`[batch, time * places, size]` -> `[batch, time, places * size]`."""
    size = graph.node("Shape", values, start=2, end=3)
    width = graph.node("Mul", size, graph.integers(num_places))
    shape = graph.node("Concat", graph.integers(0, -1), width, axis=0)
    return graph.node("Reshape", values, shape)


def _places_mask(graph: GraphBuilder, values: str, lengths: str, network: VideoCaptioner) -> str:
    """`[batch, time * places]` of bool: the places of valid frames; `values` is `[batch, time, ...]`."""
    frames = graph.node("Unsqueeze", valid_mask(graph, values, lengths), graph.integers(2))
    places = graph.node("Expand", frames, graph.integers(1, 1, network.num_places))
    return graph.node("Reshape", places, graph.integers(0, -1))


def _masked_mean(graph: GraphBuilder, memory: str, mask: str) -> str:
    """`[batch, size]`: the mean over the valid places."""
    kept = graph.node("Cast", graph.node("Unsqueeze", mask, graph.integers(2)), to=TensorProto.FLOAT)
    total = graph.node("ReduceSum", graph.node("Mul", memory, kept), graph.integers(1), keepdims=0)
    return graph.node("Div", total, graph.node("ReduceSum", kept, graph.integers(1), keepdims=0))


def write_video_step(graph: GraphBuilder, network: VideoCaptioner) -> None:
    """One decoder step over the places of all frames; attention comes before the recurrence."""
    lengths, places = graph.input("lengths"), network.num_places
    wide, keys = graph.input("memory"), graph.input("memory_keys")
    memory = graph.node("Reshape", wide, graph.integers(0, -1, network.place_size))
    by_place = graph.node("Reshape", keys, graph.integers(0, -1, network.attention.key_size))
    mask = _places_mask(graph, wide, lengths, network)
    weights = caption_step(graph, network, memory, by_place, mask)
    time = graph.node("Unsqueeze", axis_size(graph, wide, axis=1), graph.integers(0))
    shape = graph.node("Concat", graph.integers(0), time, graph.integers(places), axis=0)
    graph.output("attention", graph.node("Reshape", weights, shape))
