"""Which axis of each input is the batch and which is time, and whether their sizes are free.

Declared names are a hint and no proof. The recurrences are one: their sequence is `[time, batch, width]`, whatever was
transposed before it. The graph is run at sizes that differ, and the axes that follow them are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.importing.graph.edited_graph import (
    EditedGraph,
    attribute,
)
from training.importing.graph.inputs import embedded_ids, lengths_input, require_single_precision, state_inputs
from training.importing.graph.loosening import (
    batch_second,
    counted_steps,
    free_initial_states,
    free_last_steps,
    free_reshapes,
)
from training.importing.graph.probing import (
    BATCH,
    OTHER,
    PROBES,
    ROWS,
    TIME,
    Arrays,
    Label,
    Opened,
    RunRefused,
    SourceInput,
    draw,
    every_value,
    fold_constants,
    label_axes,
    source_inputs,
)
from training.importing.graph.source import ImportRefused

#: Ids that are drawn where no embedding bounds them.
UNBOUNDED_IDS = 2


@dataclass
class Foreign:
    """A foreign graph with what is known of its axes.

    Attributes:
        source: the inputs as the file declares them.
        labels: what each axis counts, of every value of the graph.
        state: inputs that are initial states of recurrences and nothing else.
        lengths: the input with the lengths of the rows; "" where there is none.
        num_ids: the rows of the embedding that an input indexes.
        fixed_steps: the number of steps that the graph is bound to, and why; None where it is free.
        fixed_batch, bound_steps: sizes of the export, where the file declares them.
        flat: outputs with the steps of all rows in one axis: "batch" if row follows row, "time" if step follows step.
        notes: what was mended, as sentences.
    """

    graph: EditedGraph
    source: dict[str, SourceInput]
    labels: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    lengths: str = ""
    num_ids: dict[str, int] = field(default_factory=dict)
    fixed_steps: int | None = None
    why_fixed: str = ""
    fixed_batch: int | None = None
    bound_steps: int | None = None
    flat: dict[str, str] = field(default_factory=dict)
    values: Arrays = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def feeds(self, batch: int, steps: int, seed: int = 0) -> Arrays:
        """Random inputs of one size; initial states are zero and rows are full."""
        random = np.random.default_rng(seed)
        return {name: self._array(one, batch, steps, random) for name, one in self.source.items()}

    def shape_of(self, name: str, batch: int, steps: int) -> tuple[int, ...]:
        """The shape of an input at one size."""
        sizes = {BATCH: batch, TIME: steps}
        return tuple(sizes[label] if isinstance(label, str) else label for label in self.labels[name])

    def _array(self, one: SourceInput, batch: int, steps: int, random: np.random.Generator) -> NDArray[Any]:
        shape = self.shape_of(one.name, batch, steps)
        if one.name == self.lengths:
            return np.full(shape, steps, dtype=one.dtype)
        if one.name in self.state:
            return np.zeros(shape, dtype=one.dtype)
        if one.name in self.num_ids:
            return random.integers(0, self.num_ids[one.name], size=shape).astype(one.dtype)
        return draw(one, shape, random, UNBOUNDED_IDS)


def find_axes(graph: EditedGraph, given: Mapping[str, Sequence[Label]] | None = None) -> Foreign:
    """Find batch and time, and make them free where the graph allows it.

    Args:
        given: what the axes of an input count, as the caller says: "batch", "time" or a number.

    Raises:
        ImportRefused: they cannot be told, or the batch is fixed by the graph.
    """
    notes = [f"{name}: layout = 1 (batch first) rewritten as time first" for name in batch_second(graph)]
    require_single_precision(graph)
    _require_known(given or {}, graph.inputs)
    source = {one.name: _as_given(one, (given or {}).get(one.name)) for one in source_inputs(graph)}
    fold_constants(graph)
    foreign = Foreign(graph, source, notes=notes)
    foreign.state, foreign.lengths = state_inputs(graph), lengths_input(graph, source)
    foreign.num_ids = embedded_ids(graph, source)
    main = _main_input(foreign)
    reasons: list[str] = []
    for free_time, order in product((True, False), ((BATCH, TIME), (TIME, BATCH))):
        attempt = _attempt(foreign, main, order, free_time, given or {}, reasons)
        if attempt is not None:
            attempt.why_fixed = reasons[0] if not free_time and reasons else ""
            return attempt
    reason = f" ({reasons[0]})" if reasons else ""
    raise ImportRefused(
        f"the axes of {main!r} could not be told, or the graph runs at one size only{reason}: export it with free axes "
        f"for batch and time; or name them with --axes {main}=batch,time,..., and a number where the steps are fixed"
    )


def _require_known(given: Mapping[str, Sequence[Label]], inputs: Sequence[str]) -> None:
    unknown = [name for name in given if name not in inputs]
    if unknown:
        raise ImportRefused(f"--axes names {unknown[0]!r}, which is no input; there are {', '.join(inputs)}")


def _as_given(one: SourceInput, axes: Sequence[Label] | None) -> SourceInput:
    """An input with the sizes that the caller names. Raises ImportRefused for another number of axes."""
    if axes is None:
        return one
    if len(axes) != len(one.dims):
        raise ImportRefused(f"--axes names {len(axes)} axes of {one.name!r}, which has {len(one.dims)}")
    dims = tuple(axis if isinstance(axis, int) else dim for axis, dim in zip(axes, one.dims, strict=True))
    return replace(one, dims=dims)


def _main_input(foreign: Foreign) -> str:
    """The input with the sequence that the first recurrence reads."""
    graph = foreign.graph
    scans = [node.input[-1] for node in graph.stateful if node.op_type == "Scan"]
    value = graph.recurrences[0].input[0] if graph.recurrences else [*scans, graph.outputs[0]][0]
    aside = {*foreign.state, foreign.lengths}
    depends = graph.depends_on(value)
    sequences = [n for n in graph.inputs if n in depends and n not in aside and len(foreign.source[n].dims) >= 2]
    if not sequences:
        raise ImportRefused("no input of at least two axes, batch and time, reaches the model's recurrence")
    return sequences[0]


def _attempt(
    foreign: Foreign,
    main: str,
    order: tuple[str, str],
    free_time: bool,
    given: Mapping[str, Sequence[Label]],
    reasons: list[str],
) -> Foreign | None:
    """Try one order of the axes of the main input; None, with a reason, where the graph contradicts it."""
    declared = dict(zip(order, foreign.source[main].dims, strict=False))
    steps = declared[TIME] if isinstance(declared[TIME], int) else None
    if not free_time and steps is None:
        return None
    labels = _input_labels(foreign, main, order, given)
    if labels is None or not _fits(order, given.get(main, order)):
        return None
    tried = Foreign(foreign.graph.copy(), foreign.source, labels, foreign.state, foreign.lengths, foreign.num_ids)
    tried.notes = list(foreign.notes)
    tried.bound_steps = steps
    tried.fixed_batch = declared[BATCH] if isinstance(declared[BATCH], int) else None
    tried.fixed_steps = None if free_time else steps
    try:
        _make_free(tried)
    except (RunRefused, _Contradiction) as error:
        reasons.append(str(error))
        return None
    return tried


def _fits(order: tuple[str, str], given: Sequence[Label]) -> bool:
    """Whether the order of the first two axes is what the caller says; a number may be either."""
    return all(isinstance(label, int) or label == axis for axis, label in zip(order, given, strict=False))


class _Contradiction(Exception):
    """The runs do not agree with what was supposed of the axes."""


def _input_labels(
    foreign: Foreign, main: str, order: tuple[str, str], given: Mapping[str, Sequence[Label]]
) -> dict[str, tuple[Label, ...]] | None:
    """What the axes of every input count if those of `main` begin with `order`; None for an axis of unknown size."""
    dims = foreign.source[main].dims
    names = {dim: label for dim, label in zip(dims, order, strict=False) if isinstance(dim, str) and dim}
    labels: dict[str, tuple[Label, ...]] = {}
    for name, one in foreign.source.items():
        if name in given and name != main:
            labels[name] = tuple(given[name])
            continue
        found: list[Label] = []
        for axis, dim in enumerate(one.dims):
            found.append(_label_of(foreign, name, axis, dim, order, dims, names, is_main=name == main))
        if OTHER in found:
            return None
        labels[name] = tuple(found)
    return labels


def _label_of(
    foreign: Foreign,
    name: str,
    axis: int,
    dim: int | str,
    order: tuple[str, str],
    main_dims: Sequence[int | str],
    names: Mapping[str, str],
    *,
    is_main: bool,
) -> Label:
    if name in foreign.state:
        is_rows = axis == (1 if len(foreign.source[name].dims) == 3 else 0)
        return BATCH if is_rows else (dim if isinstance(dim, int) else OTHER)
    if name == foreign.lengths:
        return BATCH
    if is_main and axis < 2:
        return order[axis]
    if isinstance(dim, int):
        return order[axis] if axis < 2 and dim == main_dims[axis] else dim
    return names.get(dim, order[axis] if axis < 2 and not is_main else OTHER)


def _make_free(tried: Foreign) -> None:
    """Free the sizes of the graph, and label every value. Raises RunRefused or _Contradiction."""
    graph = tried.graph
    batch, steps = tried.fixed_batch or PROBES[0][0], tried.bound_steps or PROBES[0][1]
    _declare_free(tried)
    values = Opened(every_value(graph)).run(tried.feeds(batch, steps))
    free_initial_states(graph, {**values, **tried.feeds(batch, steps), **_constants(graph)})
    sizes = [size for size in (tried.fixed_batch, None if tried.fixed_steps else tried.bound_steps) if size]
    if sizes:
        free_reshapes(graph, {**values, **tried.feeds(batch, steps)}, sizes)
    tried.labels |= _labels_of_values(tried)
    if tried.bound_steps and not tried.fixed_steps:
        counted = counted_steps(graph, tried.bound_steps)
        if counted:
            raise _Contradiction(counted)
        changed, stuck = free_last_steps(graph, tried.labels, tried.bound_steps)
        if stuck:
            raise _Contradiction(f"{stuck[0]} of {tried.bound_steps}")
        if changed:
            tried.notes.append(
                f"step {tried.bound_steps - 1} of {tried.bound_steps} is read as the last step of any input"
            )
        tried.labels |= _labels_of_values(tried)
    _require_sequences(tried)
    tried.flat = {
        name: _order_of_rows(tried, name) for name in graph.outputs if tried.labels.get(name, ())[:1] == (ROWS,)
    }
    _require_same_answers(tried, values, batch, steps)


def _order_of_rows(tried: Foreign, output: str) -> str:
    """Whether an axis with the steps of all rows goes through the steps of a row first ("batch"), or through rows."""
    opened, steps = Opened(tried.graph.model()), tried.fixed_steps or 3
    first, second = tried.feeds(2, steps, seed=1), tried.feeds(2, steps, seed=2)
    for name, array in first.items():
        labels = tried.labels[name]
        if BATCH in labels:
            second[name] = np.where(_second_row(array.shape, labels.index(BATCH)), array, second[name])
    before, after = (opened.run(feeds)[output].reshape(2 * steps, -1) for feeds in (first, second))
    changed = (before != after).any(axis=1)
    if not changed[steps:].any():
        return BATCH
    return TIME if not changed[1::2].any() else ""


def _second_row(shape: Sequence[int], axis: int) -> NDArray[np.bool_]:
    """True in the second of two rows along an axis."""
    place = [1] * len(shape)
    place[axis] = 2
    return np.array([False, True]).reshape(place)


def _constants(graph: EditedGraph) -> Arrays:
    names = {name for node in graph.recurrences for name in node.input if name}
    return {name: array for name in names if (array := graph.constant(name)) is not None}


def _declare_free(tried: Foreign) -> None:
    for value in tried.graph.graph.input:
        for dim, label in zip(value.type.tensor_type.shape.dim, tried.labels[value.name], strict=True):
            is_fixed = label == TIME and tried.fixed_steps is not None
            if isinstance(label, str) and not is_fixed:
                dim.dim_param = label
    for output in tried.graph.graph.output:
        output.type.Clear()


def _labels_of_values(tried: Foreign) -> dict[str, tuple[Label, ...]]:
    opened = Opened(every_value(tried.graph))
    runs = []
    for batch, time in PROBES:
        feeds = tried.feeds(batch, tried.fixed_steps or time, seed=batch + time)
        runs.append(opened.run(feeds))
    tried.values = runs[0]
    labels = {name: label_axes([_shape_of(run[name]) for run in runs], tried.fixed_steps) for name in runs[0]}
    return labels | {name: tried.labels[name] for name in tried.source}


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array; a value of another type has none."""
    return value.shape if isinstance(value, np.ndarray) else ()


def _require_sequences(tried: Foreign) -> None:
    """Raises _Contradiction unless every recurrence reads `[time, batch, width]` of the input's steps and rows."""
    time: Label = tried.fixed_steps or TIME
    for node in tried.graph.recurrences:
        found = tried.labels.get(node.input[0], ())
        if found[1:2] != (BATCH,) or found[0] not in (time, OTHER):
            what = f"{node.name or node.op_type} reads {list(found)}"
            raise _Contradiction(f"{what}, a recurrence reads [time, batch, width]")
    for node in tried.graph.stateful:
        _require_scan_over_time(tried, node, time)


def _require_scan_over_time(tried: Foreign, node: Any, time: Label) -> None:
    count = attribute(node, "num_scan_inputs", 0)
    axes = attribute(node, "scan_input_axes", [0] * count)
    for name, axis in zip(node.input[len(node.input) - count :], axes, strict=True):
        labels = tried.labels.get(name, ())
        if labels and labels[axis] != time:
            raise _Contradiction(f"{node.name} goes over axis {axis} of {list(labels)}, which is not time")


def _require_same_answers(tried: Foreign, before: Arrays, batch: int, steps: int) -> None:
    """Raises _Contradiction unless the freed graph answers as it did at the sizes of its export."""
    after = Opened(tried.graph.model()).run(tried.feeds(batch, steps))
    for name, expected in before.items():
        if name not in after or np.asarray(expected).dtype.kind not in "fiub":
            continue
        if not np.allclose(expected, after[name], rtol=1e-4, atol=1e-5, equal_nan=True):
            raise _Contradiction(f"{name} would change")
