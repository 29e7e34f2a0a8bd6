"""Imports a module of torch that a program hands over; torch itself answers the examples.

    foreign = open_module(module, {"x": ("batch", "time", 5)}, ["y"])
    publish_arrays(foreign, BundleFacts("my-lstm", "my_module.py"), Path("models"))

A program that can hand over a module has run its code already. The command never does: it reads files alone.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.errors import InferenceFailed
from training.evaluation.torch_runner import evaluating
from training.importing.graph.probing import Arrays, Label
from training.importing.graph.source import ImportRefused, checked
from training.importing.original import Compute
from training.importing.understanding import Understanding, understand

#: Sizes of the inputs that a module is exported with. They differ, so that none is mistaken for the other.
_SIZES = {"batch": 2, "time": 5}


def open_module(
    module: nn.Module | torch.export.ExportedProgram,
    axes: Mapping[str, Sequence[Label]],
    outputs: Sequence[str],
    *,
    num_ids: Mapping[str, int] | None = None,
    lengths: str = "",
    may_have_state: bool = True,
) -> Understanding:
    """Export a module to ONNX and understand it; its answers are torch's.

    Args:
        axes: for each argument of `forward`, in order, what its axes count: "batch", "time" or a number.
        outputs: names of what it returns, in order.
        num_ids: arguments that are ids, int64, with the number of ids that there are. Others are float32.
        lengths: the argument with the lengths of the rows, if there is one.

    Raises:
        ImportRefused: torch cannot export it, or it cannot be served.
    """
    ids = dict(num_ids or {})
    inputs = {name: _example(name, sizes, ids, name == lengths) for name, sizes in axes.items()}
    program = module if isinstance(module, torch.export.ExportedProgram) else None
    called: nn.Module = program.module() if program is not None else module  # type: ignore[assignment]
    model = _exported(called if program is None else program, inputs, axes, outputs)
    unused = [name for name in axes if name not in {value.name for value in model.graph.input}]
    if unused:
        raise ImportRefused(f"no output of the module depends on {', '.join(unused)}: hand over a module without it")
    compute = torch_compute(called, list(axes), outputs, has_modes=program is None)
    return understand(checked(model, "the exported module"), axes, compute, may_have_state=may_have_state)


def _example(name: str, axes: Sequence[Label], num_ids: Mapping[str, int], is_lengths: bool) -> Tensor:
    shape = [_SIZES[axis] if isinstance(axis, str) else axis for axis in axes]
    if is_lengths:
        return torch.full(shape, _SIZES["time"])
    if name in num_ids:
        return torch.randint(0, num_ids[name], shape)
    return torch.rand(shape)


def _exported(
    module: nn.Module | torch.export.ExportedProgram,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Sequence[Label]],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The module as ONNX, by the exporter that takes it; a program of torch.export has its sizes in it already."""
    names: dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if isinstance(module, torch.export.ExportedProgram):
                made = torch.onnx.export(module, dynamo=True, verbose=False, **names)
                assert made is not None
                return made.model_proto
            written: Any = io.BytesIO()  # which this exporter takes, although it declares a path
            with evaluating(module):
                given = tuple(inputs.values())
                torch.onnx.export(module, given, written, dynamo=False, dynamic_axes=_free(axes), **names)
            return onnx.load_model_from_string(written.getvalue())
        except Exception as error:  # what an exporter cannot export, it tells in exceptions of any kind
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ImportRefused(f"torch cannot export the module to ONNX: {reason}") from error


def _free(axes: Mapping[str, Sequence[Label]]) -> dict[str, dict[int, str]]:
    """Axes of inputs whose sizes vary, as the exporter takes them."""
    return {name: {n: axis for n, axis in enumerate(each) if isinstance(axis, str)} for name, each in axes.items()}


def torch_compute(
    module: nn.Module, inputs: Sequence[str], outputs: Sequence[str], *, has_modes: bool = True
) -> Compute:
    """Runs a module on arrays by name; returns what it returns, by name.

    Args:
        has_modes: whether it is put into evaluation mode; that of an exported program is chosen when it is exported.
    """

    def run(feeds: Arrays) -> Mapping[str, NDArray[Any]]:
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in inputs]
        try:
            with torch.no_grad(), evaluating(module) if has_modes else nullcontext():
                found = module(*tensors)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise InferenceFailed(f"the module failed: {error}") from error
        return dict(zip(outputs, [tensor.cpu().numpy() for tensor in _flat(found)], strict=True))

    return run


def _flat(found: Any) -> list[Tensor]:
    """The tensors of nested tuples, in order."""
    return [found] if isinstance(found, Tensor) else [tensor for part in found for tensor in _flat(part)]
