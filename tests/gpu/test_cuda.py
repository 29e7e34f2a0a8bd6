"""On a GPU the shipped bundles answer as on the CPU, and run where they should; and how fast single steps are there.

The last test writes its table to `tests/gpu/RESULTS.md`.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.bundle.load import Bundle, find_bundles, load_bundle
from service.errors import BundleError
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.inference.runtime.device import CUDA_PROVIDER
from service.inference.runtime.graph_check import RECURRENT_OPERATORS, operators_beside
from service.inference.runtime.ort_runner import OrtRunner, available_providers
from tests.allowed_skips import NO_GPU
from tests.gpu.step_graphs import LAYERS, step_graph
from training.publish.verify_inputs import VerificationInputs

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = {path.parent.name: path for path in find_bundles(MODELS)}
RESULTS = Path(__file__).parent / "RESULTS.md"
#: cuBLAS and cuDNN add in another order than the CPU, and may round products to TF32.
TOLERANCE = 5e-3
WIDTH, BATCHES, NUM_STEPS, NUM_ROUNDS = 512, (1, 8, 32, 64, 256), 200, 5


def why_there_is_no_gpu() -> str:
    """The reason to skip; "" where CUDA works."""
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
    """Torch's recorded answers come out again."""
    opened = open_bundle(BUNDLES[name], "cuda")
    assert opened.runner.provider == CUDA_PROVIDER
    self_check(opened)


@each_bundle
def test_every_output_is_as_on_the_cpu(name: str) -> None:
    """At several batch sizes and lengths, rows padded and not."""
    bundle = load_bundle(BUNDLES[name])
    cpu, cuda = OrtRunner(bundle, "cpu"), OrtRunner(bundle, "cuda")
    probes = VerificationInputs(cpu.id_limits)
    for graph, spec in bundle.manifest.graphs.items():
        for feeds in probes.all_sizes(spec):
            expected, found = cpu.run(graph, feeds), cuda.run(graph, feeds)
            for output, values in expected.items():
                np.testing.assert_allclose(valid(found[output], feeds), valid(values, feeds), atol=TOLERANCE)


def valid(values: Any, feeds: dict[str, Any]) -> Any:
    """What is not padding."""
    lengths = feeds.get("lengths")
    if lengths is None or values.ndim < 3 or values.shape[0] != len(lengths):
        return values
    return values[np.arange(values.shape[1]) < lengths[:, None]]


@each_bundle
def test_every_recurrent_node_is_on_the_gpu(name: str) -> None:
    """onnxruntime would move it to the CPU without a word."""
    for graph in OrtRunner(load_bundle(BUNDLES[name]), "cuda")._graphs.values():
        assert not operators_beside(graph.session, CUDA_PROVIDER) & RECURRENT_OPERATORS


def test_state_that_stays_on_the_gpu_gives_the_same_steps() -> None:
    """A hundred steps through one session, against a hundred single runs."""
    bundle: Bundle = load_bundle(BUNDLES["shakespeare"])
    runner = OrtRunner(bundle, "cuda")
    feeds = VerificationInputs(runner.id_limits).feeds(bundle.manifest.graphs["step"], batch=8, time=1)
    session = runner.step_session("step")
    session.start({name: array for name, array in feeds.items() if name != "token"})
    for _ in range(100):
        expected, found = runner.run("step", feeds), session.step(feeds["token"])
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-4)
        feeds |= {state.name: expected[state.next_name] for state in bundle.manifest.state}
        feeds["token"] = expected["logits"].argmax(axis=1)


def test_how_fast_steps_are() -> None:
    """The LSTM operator against a cell of MatMul, state kept on the device or copied: a table, and no judgement."""
    rows = []
    for batch in BATCHES:
        microseconds = [
            microseconds_per_step(by_operator, batch, keeps_state)
            for by_operator in (True, False)
            for keeps_state in (False, True)
        ]
        rows.append(f"| {batch} | {' | '.join(f'{value:.0f}' for value in microseconds)} |")
    heading = [
        f"# One step of a 2x{WIDTH} LSTM on {gpu_name()}",
        "",
        f"Microseconds a step, median of {NUM_ROUNDS} rounds of {NUM_STEPS} steps; onnxruntime {ort.__version__}.",
        "",
        "| batch | operator, state copied | operator, state kept | MatMul, state copied | MatMul, state kept |",
        "|---|---|---|---|---|",
    ]
    RESULTS.write_text("\n".join([*heading, *rows]) + "\n", encoding="utf-8")
    assert len(rows) == len(BATCHES)


def microseconds_per_step(by_operator: bool, batch: int, keeps_state: bool) -> float:
    """The median over some rounds, after one to warm up."""
    session = ort.InferenceSession(step_graph(WIDTH, by_operator).SerializeToString(), providers=[CUDA_PROVIDER])
    advance = _advance_kept if keeps_state else _advance_copied
    rounds = [advance(session, batch) for _ in range(1 + NUM_ROUNDS)]
    return statistics.median(rounds[1:]) / NUM_STEPS * 1e6


def _feeds(batch: int) -> dict[str, Any]:
    zeros = np.zeros((LAYERS, batch, WIDTH), np.float32)
    return {"x": np.full((1, batch, WIDTH), 0.1, np.float32), "hidden": zeros, "cell": zeros}


def _advance_copied(session: Any, batch: int) -> float:
    feeds = _feeds(batch)
    started_s = time.perf_counter()
    for _ in range(NUM_STEPS):
        feeds["hidden"], feeds["cell"] = session.run(["next_hidden", "next_cell"], feeds)
    return time.perf_counter() - started_s


def _advance_kept(session: Any, batch: int) -> float:
    binding = session.io_binding()
    for name, array in _feeds(batch).items():
        binding.bind_cpu_input(name, array)
    started_s = time.perf_counter()
    for _ in range(NUM_STEPS):
        for name in ("next_hidden", "next_cell"):
            binding.bind_output(name, "cuda")
        session.run_with_iobinding(binding)
        for name, value in zip(("hidden", "cell"), binding.get_outputs(), strict=True):
            binding.bind_ortvalue_input(name, value)
    binding.get_outputs()[0].numpy()  # waits for the last step
    return time.perf_counter() - started_s


def gpu_name() -> str:
    """What the driver calls it."""
    facts = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = facts[0].read_text(encoding="utf-8").splitlines() if facts else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")), "an NVIDIA GPU")
