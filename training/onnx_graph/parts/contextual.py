"""Contextual string embeddings, computed from the characters of the words."""

from __future__ import annotations

from typing import NamedTuple

from onnx import TensorProto

from training.networks.inputs.contextual import ContextualFeatures, FrozenLanguageModel
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import backward_recurrence, recurrence
from training.onnx_graph.parts.layers import axis_size, embedding, linear
from training.onnx_graph.parts.sequences import time_major_ids


class CharacterStreamValues(NamedTuple):
    """`characters` `[stream, batch]`, `lengths` `[batch]`; where each word starts and ends, `[batch, time]`."""

    characters: str
    lengths: str
    first: str
    last: str


def contextual_features(graph: GraphBuilder, words: str, module: ContextualFeatures) -> str:
    """`[batch, time, characters]` of ids -> `[time, batch, size]`."""
    stream = character_stream(graph, words, module.blank_id, module.line_end_id)
    forward = recurrence(graph, _embedded(graph, stream, module.forward_reader), module.forward_reader.rnn).outputs
    of_backward = _embedded(graph, stream, module.backward_reader)
    backward = backward_recurrence(graph, of_backward, stream.lengths, module.backward_reader.rnn)
    states = _states_at(graph, forward, stream.last), _states_at(graph, backward, stream.first)
    return linear(graph, graph.node("Concat", *states, axis=2), module.projection)


def character_stream(graph: GraphBuilder, words: str, blank_id: int, line_end_id: int) -> CharacterStreamValues:
    """As in `networks.inputs.contextual`: the words of each row and the breaks between them, without padding."""
    grid = graph.node("Concat", _breaks(graph, words, blank_id, line_end_id), words, axis=2)
    num_rows = graph.node("Shape", words, start=0, end=1)
    one_a_row = graph.node("Concat", num_rows, graph.integers(1), axis=0)
    line_ends = graph.node("Expand", graph.integers(line_end_id), one_a_row)
    row = graph.node("Concat", graph.node("Reshape", grid, graph.integers(0, -1)), line_ends, axis=1)
    is_character = graph.node("Greater", row, graph.integer(0))
    num_before = graph.node("CumSum", graph.node("Cast", is_character, to=TensorProto.INT64), graph.integer(1))
    lengths = graph.node("Gather", num_before, graph.integer(-1), axis=1)
    places = graph.node("Sub", num_before, graph.integer(1))
    characters = _compacted(graph, row, graph.node("Where", is_character, places, _largest(graph, lengths)), lengths)
    before_end = graph.node("Slice", places, graph.integers(0), graph.integers(-1), graph.integers(1))
    of_words = graph.node("Reshape", before_end, graph.node("Shape", grid))
    first, last = (graph.node("Gather", of_words, graph.integer(column), axis=2) for column in (1, -1))
    return CharacterStreamValues(characters, lengths, first, last)


def _breaks(graph: GraphBuilder, words: str, blank_id: int, line_end_id: int) -> str:
    """The character before each word, `[batch, time, 1]`: a line end, then blanks; padding where there is no word."""
    times = graph.node("Range", graph.integer(0), axis_size(graph, words, axis=1), graph.integer(1))
    is_start = graph.node("Equal", times, graph.integer(0))
    breaks = graph.node("Where", is_start, graph.integer(line_end_id), graph.integer(blank_id))
    starts = graph.node("Slice", words, graph.integers(0), graph.integers(1), graph.integers(2))
    is_word = graph.node("Greater", starts, graph.integer(0))
    return graph.node("Where", is_word, graph.node("Unsqueeze", breaks, graph.integers(1)), graph.integer(0))


def _compacted(graph: GraphBuilder, row: str, targets: str, lengths: str) -> str:
    """`[batch, columns]` -> `[stream, batch]`; padding is scattered to an extra position, which is cut off."""
    longest = graph.node("Unsqueeze", _largest(graph, lengths), graph.integers(0))
    one_more = graph.node("Add", longest, graph.integers(1))
    shape = graph.node("Concat", graph.node("Shape", row, start=0, end=1), one_more, axis=0)
    empty = graph.node("Expand", graph.integers(0), shape)
    moved = graph.node("ScatterElements", empty, targets, row, axis=1)
    return time_major_ids(graph, graph.node("Slice", moved, graph.integers(0), longest, graph.integers(1)))


def _largest(graph: GraphBuilder, lengths: str) -> str:
    return graph.node("ReduceMax", lengths, keepdims=0)


def _embedded(graph: GraphBuilder, stream: CharacterStreamValues, reader: FrozenLanguageModel) -> str:
    return embedding(graph, stream.characters, reader.embedding)


def _states_at(graph: GraphBuilder, states: str, places: str) -> str:
    """`[stream, batch, hidden]` at `[batch, time]` -> `[time, batch, hidden]`."""
    by_time = time_major_ids(graph, places)
    rows = graph.node("Range", graph.integer(0), axis_size(graph, states, axis=1), graph.integer(1))
    rows = graph.node("Expand", rows, graph.node("Shape", by_time))
    index = [graph.node("Unsqueeze", part, graph.integers(2)) for part in (by_time, rows)]
    return graph.node("GatherND", states, graph.node("Concat", *index, axis=2))
