"""The runner refuses inputs that would crash onnxruntime or give wrong results, and reports invalid graphs."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import TensorSpec
from service.errors import BundleCorrupt, BundleError, InferenceFailed
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.inference.runtime import ort_runner
from service.inference.runtime.device import CPU_PROVIDER, CUDA_PROVIDER, Device, choose_device
from service.inference.runtime.graph_check import check_placement
from service.inference.runtime.ort_runner import OrtRunner, default_lanes
from service.tasks.recorded import differences
from tests.allowed_skips import OTHER_RUNTIME
from tests.tiny_bundles import WORDS, copy_bundle, renew_digests, write_tiny_bundle

VOCABULARY_SIZE = len(WORDS) + 4


@pytest.fixture(scope="module")
def tagger(tiny_models: Path) -> OpenBundle:
    return open_bundle(tiny_models / "tiny-tagger" / "1", "cpu", 1)


@pytest.fixture(scope="module")
def classifier(tiny_models: Path) -> OpenBundle:
    return open_bundle(tiny_models / "tiny-classifier" / "1", "cpu", 1)


def feeds(**changes: Any) -> dict[str, Any]:
    """Valid feeds of a classifier with changes; None removes one."""
    good = {"tokens": np.array([[4, 5, 0], [6, 7, 8]]), "lengths": np.array([2, 3])} | changes
    return {name: value for name, value in good.items() if value is not None}


def replace_session(opened: OpenBundle, monkeypatch: pytest.MonkeyPatch, session: object) -> None:
    """Replace the classifier's onnxruntime session, keeping all checks before it."""
    graph = opened.runner._graphs["classifier"]
    monkeypatch.setattr(opened.runner, "_graphs", {"classifier": graph._replace(session=session)})


def test_a_good_run_gives_every_output_by_name(classifier: OpenBundle) -> None:
    outputs = classifier.runner.run("classifier", feeds())
    assert outputs.keys() == {"logits"}
    assert outputs["logits"].shape == (2, 3)
    assert classifier.runner.providers == (CPU_PROVIDER,)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tokens": np.zeros((0, 3), np.int64), "lengths": np.zeros(0, np.int64)}, "size 0"),
        ({"tokens": np.zeros((2, 0), np.int64)}, "size 0"),
        ({"tokens": np.array([[4, -1, 0], [6, 7, 8]])}, "ids from -1"),
        ({"tokens": np.array([[4, VOCABULARY_SIZE, 0], [6, 7, 8]])}, f"allowed are 0 to {VOCABULARY_SIZE - 1}"),
        ({"lengths": np.array([0, 3])}, "lengths go from 0"),
        ({"lengths": np.array([2, 4])}, "to 4, allowed are 1 to 3"),
        ({"lengths": np.array([2])}, "axis 'batch' of lengths"),
        ({"lengths": None}, "inputs are"),
        ({"more": np.array([1])}, "inputs are"),
        ({"tokens": np.array([[4, 5, 0], [6, 7, 8]], dtype=np.int32)}, "tokens must be int64"),
        ({"tokens": np.array([4, 5])}, "tokens must be int64"),
    ],
)
def test_feeds_that_break_the_contract_never_reach_the_graph(
    classifier: OpenBundle, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    """Invalid feeds, such as an empty batch that would crash the process, never reach the onnxruntime session."""

    class Untouchable:
        def run(self, *_: object) -> None:
            raise AssertionError("the graph was run")

    replace_session(classifier, monkeypatch, Untouchable())
    with pytest.raises(InferenceFailed, match=complaint):
        classifier.runner.run("classifier", feeds(**changes))


def test_a_fault_of_onnxruntime_becomes_inference_failed(
    classifier: OpenBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] out of memory\nwith a long trace")

    replace_session(classifier, monkeypatch, Broken())
    with pytest.raises(InferenceFailed, match=r"graph 'classifier' failed: .* out of memory$"):
        classifier.runner.run("classifier", feeds())


def changed(bundle: Bundle, tensor: TensorSpec) -> Bundle:
    """The bundle with its first output declared as given."""
    spec = bundle.manifest.graphs["classifier"]
    spec = spec.model_copy(update={"outputs": (tensor, *spec.outputs[1:])})
    manifest = bundle.manifest.model_copy(update={"graphs": {"classifier": spec}})
    return Bundle(bundle.path, manifest, bundle.tokenizers, bundle.examples)


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (TensorSpec(name="scores", dtype="float32", shape=("batch", 3)), "'logits': absent in the manifest"),
        (TensorSpec(name="logits", dtype="int64", shape=("batch", 3)), "int64 with 2 axes in the manifest, float32"),
        (TensorSpec(name="logits", dtype="float32", shape=("batch",)), "float32 with 1 axes in the manifest"),
    ],
)
def test_a_graph_that_differs_from_its_manifest_is_refused(
    tiny_models: Path, tensor: TensorSpec, complaint: str
) -> None:
    bundle = load_bundle(tiny_models / "tiny-classifier" / "1")
    with pytest.raises(BundleCorrupt, match=complaint):
        OrtRunner(changed(bundle, tensor), "cpu", 1)


def test_a_truncated_graph_is_refused_with_its_file(tmp_path: Path, tiny_models: Path) -> None:
    path = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    graph = path / "classifier.onnx"
    graph.write_bytes(graph.read_bytes()[:200])
    renew_digests(path)
    with pytest.raises(BundleCorrupt, match=r"classifier\.onnx: not a graph"):
        open_bundle(path, "cpu", 1)


def session(providers: list[str], nodes: dict[str, list[str]]) -> Any:
    """A fake session for `check_placement`: its providers, and the operators that each of them runs."""
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
        for name, ops in nodes.items()
    ]
    return SimpleNamespace(get_providers=lambda: providers, get_provider_graph_assignment_info=lambda: parts)


def test_a_session_that_silently_got_the_cpu_is_refused() -> None:
    with pytest.raises(BundleError, match="could not be started"):
        check_placement(Path("x"), session([CPU_PROVIDER], {}), CUDA_PROVIDER)


def test_recurrent_nodes_that_fell_back_to_the_cpu_are_refused() -> None:
    """Recurrent nodes on the CPU are refused because the GPU would be idle; small nodes may stay there."""
    both = [CUDA_PROVIDER, CPU_PROVIDER]
    check_placement(Path("x"), session(both, {CUDA_PROVIDER: ["LSTM"], CPU_PROVIDER: ["Shape"]}), CUDA_PROVIDER)
    with pytest.raises(BundleError, match=r"GRU would not run on CUDA.* reset gate .* set UNROLL_DEVICE=cpu"):
        check_placement(Path("x"), session(both, {CUDA_PROVIDER: ["MatMul"], CPU_PROVIDER: ["GRU"]}), CUDA_PROVIDER)


words = st.lists(st.sampled_from([*WORDS, "unknown", "Ünïcödé"]), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentences=st.lists(words, min_size=1, max_size=8))
def test_a_row_is_the_same_whatever_is_batched_with_it(
    tagger: OpenBundle, classifier: OpenBundle, sentences: list[list[str]]
) -> None:
    """Padding and other rows of the batch do not change a row's result, for taggers and classifiers."""
    for opened in (tagger, classifier):
        task: Any = opened.task
        examples = [task.preprocess(sentence, task.parameters_type()) for sentence in sentences]
        together = task.run(opened.runner, examples)
        for example, row in zip(examples, together, strict=True):
            (alone,) = task.run(opened.runner, [example])
            expected, found = (task.postprocess(example, output).model_dump(mode="json") for output in (alone, row))
            assert differences(expected, found, tolerance=1e-5) == []


def test_auto_falls_back_to_the_cpu_if_the_gpu_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`auto` falls back to the CPU with a warning if CUDA does not start; an explicit `cuda` is refused."""
    bundle = load_bundle(write_tiny_bundle(tmp_path, "classification"))
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    monkeypatch.setattr(ort_runner, "choose_device", partial(choose_device, load_library=lambda name: name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime warns about a provider that is missing from this build
        runner = OrtRunner(bundle, "auto")
        assert runner.provider == CPU_PROVIDER
        assert "could not be started" in runner.fallback_reason
        with pytest.raises(BundleError, match="could not be started"):
            OrtRunner(bundle, "cuda")
    assert "falling back from the GPU" in caplog.text


def test_cuda_by_name_without_cuda_is_an_error_of_the_bundle(tiny_models: Path) -> None:
    """If CUDA is requested but unavailable, the bundle fails to load and readiness reports the reason."""
    if CUDA_PROVIDER in ort_runner.available_providers():
        pytest.skip(OTHER_RUNTIME)
    with pytest.raises(BundleError, match="cuda:0 was asked for, but this onnxruntime is built without CUDA"):
        open_bundle(tiny_models / "tiny-classifier" / "1", "cuda:0")


@pytest.mark.parametrize(("provider", "num_lanes"), [("CUDAExecutionProvider", 1), ("CPUExecutionProvider", 6)])
def test_a_gpu_has_one_lane_and_a_cpu_one_for_each_core(
    monkeypatch: pytest.MonkeyPatch, provider: str, num_lanes: int
) -> None:
    monkeypatch.setattr("service.inference.runtime.ort_runner.usable_cores", lambda: 6)
    monkeypatch.setattr("service.inference.runtime.ort_runner._find_device", lambda wanted: Device(provider))
    assert default_lanes("auto") == num_lanes


def test_without_a_usable_gpu_there_is_a_lane_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a usable GPU the service still starts, with one lane per core, to report why its bundles fail."""
    monkeypatch.setattr("service.inference.runtime.ort_runner.usable_cores", lambda: 6)
    monkeypatch.setattr("service.inference.runtime.ort_runner.available_providers", lambda: ["CPUExecutionProvider"])
    assert default_lanes("cuda") == 6


def test_only_long_runs_return_the_memory_of_the_arena(classifier: OpenBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks would be allocated anew for each of many small runs."""
    told: list[object] = []

    def run(_names: list[str], _feeds: object, options: object) -> list[object]:
        told.append(options)
        return []

    outputs = SimpleNamespace(session=SimpleNamespace(run=run), check=lambda _: None, outputs=[])
    monkeypatch.setitem(classifier.runner._graphs, "classifier", outputs)
    for length in (10, 20_000):
        classifier.runner.run("classifier", {"words": np.zeros((1, length), np.int64)})
    assert told[0] is None
    assert isinstance(told[1], ort_runner.ort.RunOptions)
