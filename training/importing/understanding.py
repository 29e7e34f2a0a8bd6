"""From a foreign graph to one in the normal form of bundles, by the best way that proves right.

The ways differ in what the bundle can do: lengths that keep padding out, and state that lets an input come in chunks.
Each is written and then compared with the original in numbers; the first without a difference is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import onnx

from service.bundle.manifest import LENGTHS, GraphSpec, StateSpec, TensorSpec
from service.errors import InferenceFailed
from training.importing.graph.axes import Foreign, find_axes
from training.importing.graph.edges import Edges, declare_inputs, declare_outputs, write_edges
from training.importing.graph.edited_graph import LOOPS, EditedGraph, attribute, name_stateful
from training.importing.graph.masking import Unmaskable, write_lengths
from training.importing.graph.packing import without_sorting
from training.importing.graph.probing import BATCH, TIME, Label, Opened, RunRefused, SourceInput
from training.importing.graph.recurrences import (
    StatePlan,
    final_state_outputs,
    plan_state,
    write_state,
)
from training.importing.graph.source import ImportRefused
from training.importing.original import Compute, OriginalRunner, onnx_compute
from training.importing.proof import prove
from training.publish.array_checks import Ranges
from training.publish.parity_report import ParityReport


@dataclass(frozen=True)
class Draft:
    """A graph in normal form, and how its edges are those of the original."""

    model: onnx.ModelProto
    foreign: Foreign
    edges: Edges
    plan: StatePlan
    has_lengths: bool

    @property
    def state(self) -> tuple[StateSpec, ...]:
        return tuple(part.spec for part in self.plan.parts)

    @property
    def spec(self) -> GraphSpec:
        """The graph as a manifest lists it."""
        state_in = [TensorSpec(name=s.name, dtype="float32", shape=(s.layers, BATCH, s.width)) for s in self.state]
        state_out = [
            TensorSpec(name=s.next_name, dtype="float32", shape=(s.layers, BATCH, s.width)) for s in self.state
        ]
        lengths = [TensorSpec(name=LENGTHS, dtype="int64", shape=(BATCH,))] if self.has_lengths else []
        arrays = [edge.spec for edge in self.edges.inputs if edge.spec.name != LENGTHS]
        outputs = [edge.spec for edge in self.edges.outputs]
        return GraphSpec(file="model.onnx", inputs=(*arrays, *lengths, *state_in), outputs=(*outputs, *state_out))

    @property
    def over_time(self) -> bool:
        return any(TIME in edge.spec.shape for edge in self.edges.inputs)


@dataclass
class Understanding:
    """What was understood of a model, and the graph that it became.

    Attributes:
        found: sentences on what the model is.
        mended: sentences on what was changed.
        missing: sentences on what is not possible, and why.
    """

    draft: Draft
    original: OriginalRunner
    proof: ParityReport
    found: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def understand(
    model: onnx.ModelProto,
    given: Mapping[str, Sequence[Label]] | None = None,
    compute: Compute | None = None,
    *,
    may_have_state: bool = True,
) -> Understanding:
    """Analyse and rewrite a model.

    Args:
        given: what the axes of inputs count, where the caller says so.
        compute: the model in its own framework; None: the file in onnxruntime.
        may_have_state: whether the task can carry a state from chunk to chunk.

    Raises:
        ImportRefused: its axes cannot be told, or no way of rewriting it computes what it computes.
    """
    model = name_stateful(model)
    foreign = find_axes(EditedGraph(model), given)
    foreign.notes += without_sorting(foreign)
    missing: list[str] = []
    for with_lengths, with_state in product(_lengths_to_try(foreign), (True, False)):
        if with_state and not may_have_state:
            continue
        found = _attempt(foreign, model, compute, with_lengths, with_state, missing)
        if found is not None:
            found.found, found.missing = _facts(found.draft), list(dict.fromkeys([*_limits(found.draft), *missing]))
            return found
    if foreign.fixed_batch != 1 and _rows_depend(foreign):
        raise ImportRefused("an answer depends on the other rows of its batch, which are those of other callers")
    raise ImportRefused(f"the model cannot be served as it is: {'; '.join(dict.fromkeys(missing))}")


def _rows_depend(foreign: Foreign) -> bool:
    """Whether a row of a full batch is answered otherwise than alone."""
    opened, steps = Opened(foreign.graph.model()), foreign.fixed_steps or 4
    batch = foreign.feeds(3, steps)
    alone = {}
    for name, array in batch.items():
        axis = foreign.labels[name].index(BATCH) if BATCH in foreign.labels[name] else None
        alone[name] = array if axis is None else array.take([0], axis=axis)
    try:
        whole, single = opened.run(batch), opened.run(alone)
    except RunRefused:
        return False
    for name, array in single.items():
        labels = foreign.labels[name]
        found = whole[name].take([0], axis=labels.index(BATCH)) if BATCH in labels else whole[name]
        if found.shape != array.shape or not np.allclose(found, array, rtol=1e-3, atol=1e-4, equal_nan=True):
            return True
    return False


def _lengths_to_try(foreign: Foreign) -> tuple[bool, ...]:
    """Whether padding is kept out by what is added to the graph. One that has lengths may need nothing more."""
    if foreign.lengths and foreign.fixed_steps is not None:
        raise ImportRefused(
            f"the model takes lengths, but its steps are fixed at {foreign.fixed_steps}: export it with time free"
        )
    if foreign.lengths:
        return (False, True)
    return (True, False) if foreign.fixed_steps is None else (False,)


def _attempt(
    foreign: Foreign,
    model: onnx.ModelProto,
    compute: Compute | None,
    with_lengths: bool,
    with_state: bool,
    missing: list[str],
) -> Understanding | None:
    """One way of rewriting; None, with a reason, where it is not possible or changes an answer."""
    try:
        mended: list[str] = []
        draft = write_draft(foreign, with_lengths, with_state, mended)
        of_file, finals = onnx_compute(model, draft.plan)
        run = of_file if compute is None else _with_finals(of_file, compute)
        original = OriginalRunner(draft.foreign, draft.edges, run, finals)
        proof = prove(draft.model, draft.spec, draft.state, original, ranges_of_ids(draft))
    except (Unmaskable, _NoState) as error:
        missing.append(str(error))
        return None
    except (RunRefused, InferenceFailed) as error:
        missing.append(f"{_way(with_lengths, with_state)} is refused: {error}")
        return None
    if not proof.passed:
        missing.append(_told_fault(proof.failures[0], draft.has_lengths, with_state))
        return None
    return Understanding(draft, original, proof, mended=[*draft.foreign.notes, *mended, *draft.edges.notes])


def _with_finals(of_file: Compute, compute: Compute) -> Compute:
    """The answers of the model's own framework, and final states, which it may not give, of the file."""
    return lambda feeds: {**of_file(feeds), **compute(feeds)}


class _NoState(Exception):
    """The graph has no state that goes from step to step."""


def _told_fault(fault: str, with_lengths: bool, with_state: bool) -> str:
    """What a difference means for the way that was tried."""
    if fault.startswith("chunks"):
        return f"it cannot be read in chunks: an answer depends on steps before by more than the state ({fault})"
    if with_lengths:
        return f"padding cannot be kept out of its answers ({fault})"
    return f"{_way(with_lengths, with_state)} would change answers: {fault}"


def _way(with_lengths: bool, with_state: bool) -> str:
    parts = [name for name, used in (("lengths", with_lengths), ("state", with_state)) if used]
    return f"a graph with {' and '.join(parts)}" if parts else "a graph without lengths and state"


def write_draft(foreign: Foreign, with_lengths: bool, with_state: bool, mended: list[str]) -> Draft:
    """Rewrite a copy of the graph one way; what is changed is added to `mended`. Raises Unmaskable or _NoState."""
    copy = Foreign(**{**vars(foreign), "graph": foreign.graph.copy(), "labels": dict(foreign.labels)})
    copy.notes = list(foreign.notes)
    plan = plan_state(copy) if with_state else StatePlan()
    if with_state and not plan.parts:
        raise _NoState(f"it cannot be read in chunks: {plan.obstacle}")
    has_lengths = with_lengths or bool(copy.lengths)
    if with_lengths:
        mended.append(_told_masks(write_lengths(copy), is_new=not copy.lengths))
    outputs = copy.graph.outputs
    if plan.parts:
        finals = final_state_outputs(copy)
        if set(finals) != set(outputs):
            outputs = [name for name in outputs if name not in finals]
            mended += [
                f"the output {name!r} is the state after the last step, which the service keeps" for name in finals
            ]
        mended += [
            f"the input {name!r} is the state before the first step, which the service keeps" for name in copy.state
        ]
        write_state(copy, plan)
    mended += plan.notes
    edges = write_edges(copy, outputs)
    draft = Draft(onnx.ModelProto(), copy, edges, plan, has_lengths)
    declare_inputs(copy.graph, list(draft.spec.inputs))
    declare_outputs(copy.graph, list(draft.spec.outputs))
    return Draft(copy.graph.model(), copy, edges, plan, has_lengths)


def _told_masks(operators: list[str], *, is_new: bool) -> str:
    masked = f"; padding is kept out of {', '.join(operators)}" if operators else ""
    if is_new:
        return f"an input of lengths was added, at which each row of a batch ends{masked}"
    return f"recurrences end at the lengths of their rows, too{masked}"


def ranges_of_ids(draft: Draft) -> Ranges:
    """The ids that have a row in the embedding that they index; 0 and 1 of what the original takes as booleans."""
    known = draft.foreign.num_ids
    ranges = {edge.spec.name: (0.0, 1.0) for edge in draft.edges.inputs if edge.dtype == np.bool_}
    ids = {edge.spec.name: known[edge.source] for edge in draft.edges.inputs if edge.source in known}
    return ranges | {name: (0.0, float(count - 1)) for name, count in ids.items()}


def _facts(draft: Draft) -> list[str]:
    graph = draft.foreign.graph
    facts = []
    facts += [f"a recurrence as a graph of its own, {node.op_type}" for node in graph.stateful if node.op_type in LOOPS]
    for node in graph.recurrences:
        direction = attribute(node, "direction", "forward")
        facts.append(f"{node.op_type} of width {attribute(node, 'hidden_size', '?')}, {direction}")
    facts += [f"input {edge.spec.name}: {edge.spec.dtype} {list(edge.spec.shape)}" for edge in draft.edges.inputs]
    facts += [f"output {edge.spec.name}: {edge.spec.dtype} {list(edge.spec.shape)}" for edge in draft.edges.outputs]
    if draft.state:
        facts.append(f"state {', '.join(spec.name for spec in draft.state)}: it is read in chunks, step by step")
    facts += [f"numbers of {name} are 0 to {most:.0f}" for name, (_, most) in ranges_of_ids(draft).items()]
    return facts


def _limits(draft: Draft) -> list[str]:
    """What a bundle of this graph cannot do, or only on some devices."""
    foreign, limits = draft.foreign, list[str]()
    if foreign.fixed_steps is not None:
        why = f" ({foreign.why_fixed})" if foreign.why_fixed else ""
        limits.append(f"the number of steps is fixed: {foreign.fixed_steps}{why}")
    elif draft.over_time and not draft.has_lengths:
        limits.append("only inputs of equal length share a batch, as there are no lengths")
    names = {str(dim) for one in foreign.source.values() for dim in _names_of_time(foreign, one)}
    if len(names) > 1:
        limits.append(f"the axes {', '.join(sorted(names))} are one axis of time: inputs over time agree in length")
    nodes = foreign.graph.recurrences
    if any(node.op_type == "GRU" and not attribute(node, "linear_before_reset", 0) for node in nodes):
        limits.append("its GRU resets before the recurrent product (linear_before_reset = 0): it runs on CPUs alone")
    if foreign.bound_steps and foreign.fixed_steps is None:
        limits.append(
            f"the original runs at {foreign.bound_steps} steps alone: at other lengths it was compared with itself"
        )
    return limits


def _names_of_time(foreign: Foreign, one: SourceInput) -> list[str]:
    """The names that a file gives to the axis of time of an input."""
    pairs = zip(one.dims, foreign.labels.get(one.name, ()), strict=False)
    return [dim for dim, label in pairs if label == TIME and isinstance(dim, str) and dim]
