"""On a GPU the shipped bundles answer as on the CPU, and every recurrent node runs on the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle.load import load_bundle
from service.bundle.models_folder import find_bundles
from service.errors import BundleError
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.inference.runtime.device import CUDA_PROVIDER
from service.inference.runtime.graph_check import RECURRENT_OPERATORS, operators_elsewhere
from service.inference.runtime.ort_runner import OrtRunner, available_providers
from tests.allowed_skips import NO_GPU
from training.publish.verify_inputs import VerificationInputs

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = {path.parent.name: path for path in find_bundles(MODELS)}
#: cuBLAS and cuDNN sum in another order than the CPU, and may round products to TF32.
TOLERANCE = 5e-3


def why_there_is_no_gpu() -> str:
    """Return the reason to skip, or "" if CUDA works."""
    if CUDA_PROVIDER not in available_providers():
        return "this onnxruntime is built without CUDA"
    try:
        OrtRunner(load_bundle(next(iter(BUNDLES.values()))), "cuda")
    except BundleError as error:
        return str(error)
    return ""


_OBSTACLE = why_there_is_no_gpu()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(_OBSTACLE), reason=f"{NO_GPU}: {_OBSTACLE}")]

each_bundle = pytest.mark.parametrize("name", sorted(BUNDLES))


@each_bundle
def test_a_bundle_proves_itself_on_the_gpu(name: str) -> None:
    """A bundle's self-check on the GPU reproduces torch's recorded answers."""
    opened = open_bundle(BUNDLES[name], "cuda")
    assert opened.runner.provider == CUDA_PROVIDER
    self_check(opened)


@each_bundle
def test_every_output_is_as_on_the_cpu(name: str) -> None:
    """Every output equals the CPU's at several batch sizes and lengths, with and without padding."""
    bundle = load_bundle(BUNDLES[name])
    cpu, cuda = OrtRunner(bundle, "cpu"), OrtRunner(bundle, "cuda")
    probes = VerificationInputs(cpu.id_limits)
    for graph, spec in bundle.manifest.graphs.items():
        for feeds in probes.all_sizes(spec):
            expected, found = cpu.run(graph, feeds), cuda.run(graph, feeds)
            for output, values in expected.items():
                np.testing.assert_allclose(valid(found[output], feeds), valid(values, feeds), atol=TOLERANCE)


def valid(values: Any, feeds: dict[str, Any]) -> Any:
    """Return the values outside the padding."""
    lengths = feeds.get("lengths")
    if lengths is None or values.ndim < 3 or values.shape[0] != len(lengths):
        return values
    return values[np.arange(values.shape[1]) < lengths[:, None]]


@each_bundle
def test_every_recurrent_node_is_on_the_gpu(name: str) -> None:
    """Every recurrent node runs on the GPU; onnxruntime would fall back to the CPU silently."""
    for graph in OrtRunner(load_bundle(BUNDLES[name]), "cuda")._graphs.values():
        assert not operators_elsewhere(graph.session, CUDA_PROVIDER) & RECURRENT_OPERATORS
