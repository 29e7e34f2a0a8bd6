"""Imports a model from a file of ONNX or of weights; `torch_models.open_module` takes a module of torch.

foreign = open_file(Path("model.onnx"))
print(foreign.report())
foreign.publish(BundleFacts(name="my-lstm", source="model.onnx"), Path("models"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.importing.graph.probing import Label
from training.importing.graph.source import ImportRefused, read_onnx
from training.importing.understanding import Understanding, understand
from training.importing.weights import WEIGHTS, Read, open_weights

#: Files that would have to be run to be read, and what to do instead.
_REFUSED = {
    ".pkl": "a pickle can run any code: save the weights as safetensors, or export the model to ONNX",
    ".pickle": "a pickle can run any code: save the weights as safetensors, or export the model to ONNX",
    ".pt2": "an exported program is read by torch with pickles in it: export it to ONNX with torch.onnx.export",
    ".h5": "HDF5 weights are not read: export the model to ONNX with tf2onnx or keras.Model.export(format='onnx')",
    ".hdf5": "HDF5 weights are not read: export the model to ONNX with tf2onnx or keras.Model.export(format='onnx')",
    ".keras": "the weights of a .keras file are HDF5, which is not read: export the model with "
    "keras.Model.export(path, format='onnx')",
}


def open_file(
    file: Path,
    axes: Mapping[str, Sequence[Label]] | None = None,
    read: Read = "steps",
    *,
    may_have_state: bool = True,
) -> Understanding:
    """Read and understand an ONNX file, or one of weights.

    Args:
        read: what goes into the linear layer of a network of which there are weights alone.
        may_have_state: whether the task can carry a state from chunk to chunk, which a CRF cannot.

    Raises:
        ImportRefused: it cannot be imported; the message says why, and what to do.
        OSError: it cannot be read.
    """
    why = _REFUSED.get(file.suffix.lower())
    if why is not None:
        raise ImportRefused(f"{file}: {why}")
    if file.suffix.lower() in WEIGHTS:
        return open_weights(file, read, may_have_state=may_have_state)
    return understand(read_onnx(file), axes, may_have_state=may_have_state)


def parse_axes(settings: Sequence[str]) -> dict[str, tuple[Label, ...]]:
    """Axes of inputs by name, such as `x=batch,time,5`. Raises ImportRefused for another form."""
    found: dict[str, tuple[Label, ...]] = {}
    for setting in settings:
        name, equals, axes = setting.rpartition("=")
        labels = [_label(part.strip()) for part in axes.split(",")]
        if not name or not equals or None in labels:
            raise ImportRefused(f"--axes {setting}: it is NAME=AXIS,AXIS,..., where an axis is batch, time or a number")
        found[name] = tuple(label for label in labels if label is not None)
    return found


def _label(part: str) -> Label | None:
    if part in ("batch", "time"):
        return part
    return int(part) if part.isdecimal() and int(part) > 0 else None
