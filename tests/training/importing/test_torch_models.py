"""Modules that a program hands over, and weights without their program."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from service.bundle.load import load_bundle
from service.bundle.manifest import LENGTHS
from tests.training.cli.test_commands import refused, unroll
from tests.training.importing.foreign_models import FEATURES, IDS, WIDTH, Packed, Recurrent, features, ids
from training.importing.graph.source import ImportRefused
from training.importing.proof import RewrittenRunner
from training.importing.record import BundleFacts, publish_arrays
from training.importing.torch_models import open_module
from training.importing.understanding import Understanding
from training.importing.weights import open_weights


def run(found: Understanding, x: Tensor) -> np.ndarray:
    """The output `y` of the rewritten graph for full rows."""
    rows = len(x)
    feeds = {"x": x.numpy(), LENGTHS: np.full(rows, x.shape[1])}
    zeros = {part.name: np.zeros((1, rows, part.width), np.float32) for part in found.draft.state}
    return RewrittenRunner(found.draft.model).run("model", {**feeds, **zeros})["y"]


def test_a_module_is_answered_by_torch(tmp_path: Path) -> None:
    """The examples of its bundle are what the module itself computes, and the export is held against it."""
    module = Recurrent("lstm", "last", embeds=True).eval()
    found = open_module(module, {"x": ("batch", "time")}, ["y"], num_ids={"x": IDS})
    bundle = load_bundle(publish_arrays(found, BundleFacts("mine", "mine.py"), tmp_path).path)
    for example in bundle.examples:
        with torch.no_grad():
            expected = module(torch.tensor([example.inputs["tensors"]["x"]]))[0]
        np.testing.assert_allclose(example.answer["outputs"]["y"], expected, atol=1e-6)


def test_a_module_of_packed_sequences() -> None:
    module = Packed("gru").eval()
    axes = {"x": ("batch", "time", FEATURES), "lengths": ("batch",)}
    assert open_module(module, axes, ["y"], lengths="lengths").draft.has_lengths


def test_a_module_that_answers_otherwise_than_its_export_is_refused() -> None:
    """A branch of Python that the exporter froze shows, because torch answers."""

    class Branching(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.shape[1] > 3 else super().forward(x) + 1.0

    with pytest.raises(ImportRefused, match="would change answers: original"):
        open_module(Branching("gru").eval(), {"x": ("batch", "time", FEATURES)}, ["y"])


def test_a_module_is_read_in_evaluation_mode() -> None:
    """Dropout of a module that was left in training mode changes nothing; its mode is as it was afterwards."""
    module = Recurrent("lstm", layers=2, dropout=0.5).train()
    found = open_module(module, {"x": ("batch", "time", FEATURES)}, ["y"])
    assert found.proof.passed
    assert module.training


def test_an_argument_without_effect_is_refused() -> None:
    class Ignoring(Recurrent):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)

    axes = {"x": ("batch", "time", FEATURES), "z": ("batch", 2)}
    with pytest.raises(ImportRefused, match="depends on z"):
        open_module(Ignoring("gru"), axes, ["y"])


def test_an_exported_program_is_taken() -> None:
    """It is bound to the steps of its export; the bundle is not, and equals the module at others."""
    module = Recurrent("gru").eval()
    shapes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim.AUTO},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of attributes of its own LSTM
        program = torch.export.export(module, (features(),), dynamic_shapes=shapes)
    found = open_module(program, {"x": ("batch", "time", FEATURES)}, ["y"])
    with torch.no_grad():
        np.testing.assert_allclose(run(found, features(3, 4)), module(features(3, 4)), atol=1e-5)


@pytest.mark.parametrize("read", ["steps", "last", "final", "mean", "max"])
@pytest.mark.parametrize(("cell", "options"), [("lstm", {"layers": 2}), ("gru", {"both": True}), ("rnn", {})])
def test_weights_alone_are_the_network_that_they_are_of(
    tmp_path: Path, cell: str, options: dict[str, Any], read: str
) -> None:
    """Cell, layers, directions and sizes are told from names and shapes; the answers are torch's."""
    module = Recurrent(cell, "final" if read == "last" else read, embeds=True, **options).eval()
    if options.get("both"):
        module.read = "steps" if read == "final" else read
    weights = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("weigh.")}
    save_file(weights, tmp_path / "weights.safetensors")
    found = open_weights(tmp_path / "weights.safetensors", read)  # type: ignore[arg-type]
    with torch.no_grad():
        expected = module(ids(3, 4))
        if read == "final" and options.get("both"):
            outputs = module.rnn(module.embedding(ids(3, 4)))[0]
            ends = torch.cat([outputs[:, -1, :WIDTH], outputs[:, 0, WIDTH:]], dim=1)
            expected = module.output(ends)
    np.testing.assert_allclose(run(found, ids(3, 4)), expected, atol=1e-5)


def test_a_state_dictionary_of_torch_is_read(tmp_path: Path) -> None:
    module = nn.Module()
    module.rnn, module.head = nn.LSTM(FEATURES, WIDTH), nn.Linear(WIDTH, 2)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "weights.pt")  # noqa: TID251
    result = unroll("import", tmp_path / "weights.pt", "--models", tmp_path / "models", "--read", "last")
    assert result.exit_code == 0, result.output
    spec = load_bundle(tmp_path / "models" / "weights" / "1").manifest.graphs["model"]
    assert spec.outputs[0].shape == ("batch", 2)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_no_code_of_a_file_of_weights_runs(tmp_path: Path) -> None:
    """A pickle that would call a function is refused, and the function is not called."""
    torch.save({"weights": Trap(tmp_path / "touched")}, tmp_path / "trap.pt")  # noqa: TID251
    assert "without running code" in refused("import", tmp_path / "trap.pt", "--models", tmp_path / "models")
    assert not (tmp_path / "touched").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """The sentence names the layer that is not known."""
    module = nn.Module()
    module.rnn, module.conv = nn.GRU(FEATURES, WIDTH), nn.Conv1d(FEATURES, FEATURES, 3)
    save_file(module.state_dict(), tmp_path / "conv.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    for name, said in [("conv", "conv.bias"), ("none", "one recurrence"), ("broken", "holds no weights")]:
        with pytest.raises(ImportRefused, match=said):
            open_weights(tmp_path / f"{name}.safetensors")
