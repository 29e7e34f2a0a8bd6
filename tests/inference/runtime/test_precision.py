"""A bundle runs in the requested precision, or reports what is missing and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle.load import Bundle, load_bundle
from service.bundle.task_options import TaskName
from service.errors import BundleCorrupt, BundleError
from service.inference.engines import open_bundle as direct
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.inference.runtime import precision_timing as faster
from service.inference.runtime.device import CPU_PROVIDER, CUDA_PROVIDER, OPENVINO_PROVIDER
from service.inference.runtime.ort_runner import OrtRunner
from service.inference.runtime.precision import cpu_has_bf16, obstacle
from service.tasks.catalogue import task_of
from tests.tiny_bundles import NAMES, copy_bundle
from tests.tiny_variants import add_tiny_variant


def with_variant(tiny_models: Path, folder: Path, task: TaskName, name: Any, *graphs: str) -> Path:
    return add_tiny_variant(copy_bundle(tiny_models / NAMES[task] / "1", folder), name, *graphs)


def test_a_missing_form_is_an_error_that_says_how_to_make_it(tiny_models: Path) -> None:
    with pytest.raises(
        BundleError, match=r"no int8 form; make and measure one with `unroll export --int8 .*tiny-tagger"
    ):
        open_bundle(tiny_models / "tiny-tagger" / "1", "cpu", precision="int8")


def test_bf16_is_refused_where_it_cannot_run(tiny_models: Path, tmp_path: Path) -> None:
    """bf16 without the provider, the CPU instructions or verification is refused with a specific message."""
    plain = load_bundle(tiny_models / "tiny-tagger" / "1")
    accepted = load_bundle(with_variant(tiny_models, tmp_path, "tagging", "bf16", "tagger"))
    both = [OPENVINO_PROVIDER, CPU_PROVIDER]
    assert "make serve-env RUNTIME=openvino" in obstacle(accepted, "bf16", [CPU_PROVIDER], cpu_has_bf16=True)
    assert "AVX-512 BF16" in obstacle(accepted, "bf16", both, cpu_has_bf16=False)
    assert "no bf16 form" in obstacle(plain, "bf16", both, cpu_has_bf16=True)
    assert obstacle(accepted, "bf16", both, cpu_has_bf16=True) == ""
    assert obstacle(plain, "fp32", [], cpu_has_bf16=False) == ""


def test_faster_forms_are_for_the_cpu(tiny_models: Path, tmp_path: Path) -> None:
    path = with_variant(tiny_models, tmp_path, "tagging", "int8", "tagger")
    with pytest.raises(BundleError, match="int8 runs on the CPU, but the device asked for is cuda:1"):
        open_bundle(path, "cuda:1", precision="int8")


def test_auto_is_never_int8(tiny_models: Path, tmp_path: Path) -> None:
    """`auto` never selects int8, because int8 answers may depend on the batch."""
    path = with_variant(tiny_models, tmp_path, "tagging", "int8", "tagger")
    assert open_bundle(path, "cpu").runner.precision == "fp32"
    assert open_bundle(path, "cpu", precision="int8").runner.precision == "int8"


@pytest.mark.parametrize(
    ("task", "graph"), [("tagging", "tagger"), ("generation", "step"), ("translation", "decoder_step")]
)
def test_int8_answers_nearly_like_fp32(tiny_models: Path, tmp_path: Path, task: TaskName, graph: str) -> None:
    """int8 outputs differ from fp32, which proves that int8 ran, but stay close."""
    path = with_variant(tiny_models, tmp_path, task, "int8", graph)
    bundle = load_bundle(path)
    fp32, int8 = OrtRunner(bundle, "cpu"), OrtRunner(bundle, "cpu", precision="int8")
    feeds = random_feeds(bundle, graph, batch=3)
    expected, found = fp32.run(graph, feeds), int8.run(graph, feeds)
    for name, values in expected.items():
        assert 0.0 < np.abs(values - found[name]).max() < 0.15


def test_int8_steps_do_not_depend_on_their_batch(tiny_models: Path, tmp_path: Path) -> None:
    """With fixed scales an int8 row gives the same bits alone and in a batch."""
    path = with_variant(tiny_models, tmp_path, "generation", "int8", "step")
    bundle = load_bundle(path)
    runner = OrtRunner(bundle, "cpu", precision="int8")
    feeds = random_feeds(bundle, "step", batch=7)
    together = runner.run("step", feeds)
    for row in range(7):
        alone = runner.run(
            "step", {n: a[row : row + 1] if a.ndim == 1 else a[:, row : row + 1] for n, a in feeds.items()}
        )
        np.testing.assert_array_equal(alone["logits"][0], together["logits"][row])
        np.testing.assert_array_equal(alone["next_cell"][:, 0], together["next_cell"][:, row])


def random_feeds(bundle: Bundle, graph: str, batch: int) -> dict[str, Any]:
    """Ids from 4 to 7, states and encoder memory in -1 to 1, rows of full length."""
    random = np.random.default_rng(2)
    sizes = {"batch": batch, "time": 5, "chars": 3}
    feeds: dict[str, Any] = {}
    for tensor in bundle.manifest.graphs[graph].inputs:
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in tensor.shape]
        is_float = tensor.dtype == "float32"
        feeds[tensor.name] = (
            random.uniform(-1, 1, shape).astype(np.float32) if is_float else random.integers(4, 8, shape)
        )
    return feeds | ({"lengths": np.full(batch, 5)} if "lengths" in feeds else {})


def test_a_variant_s_graph_is_covered_by_the_digests(tiny_models: Path, tmp_path: Path) -> None:
    """A damaged int8 graph makes the bundle unusable in fp32 too."""
    path = with_variant(tiny_models, tmp_path, "tagging", "int8", "tagger")
    graph = path / "tagger.int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleCorrupt, match=r"tagger\.int8\.onnx: its sha256"):
        load_bundle(path)


def test_the_cpu_s_flags_say_whether_it_has_bf16(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n")
    assert cpu_has_bf16(info)
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 sse\n")
    assert not cpu_has_bf16(info)
    assert not cpu_has_bf16(tmp_path / "absent")


@pytest.mark.parametrize(("bf16_s", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, bf16_s: float, chosen: str
) -> None:
    """`auto` selects bf16 only where the measured speedup is clear; timings are fake, runners are real."""

    class InBf16(OrtRunner):
        def __init__(
            self, bundle: Bundle, device: str, threads: int, precision: Any, num_lanes: int, mapped: Any = None
        ) -> None:
            super().__init__(bundle, device, threads, "fp32", num_lanes)
            self.precision = precision

    monkeypatch.setattr(direct, "OrtRunner", InBf16)
    monkeypatch.setattr(direct, "can_run", lambda *_: True)
    seconds = {"fp32": 1.0, "bf16": bf16_s}
    monkeypatch.setattr(faster, "seconds_of", lambda runner, _: seconds[runner.precision])
    assert open_bundle(tiny_models / "tiny-tagger" / "1", "cpu").runner.precision == chosen


@pytest.mark.parametrize("task", NAMES)
def test_runners_are_timed_on_whole_batches_of_the_examples(tiny_models: Path, task: TaskName) -> None:
    """Every graph is timed on full batches of equal rows from the bundle's examples."""
    bundle = load_bundle(tiny_models / NAMES[task] / "1")
    runner = OrtRunner(bundle, "cpu")
    feeds = faster.typical_feeds(bundle, task_of(bundle), runner)
    assert feeds.keys() == bundle.manifest.graphs.keys()
    for graph, arrays in feeds.items():
        outputs = runner.run(graph, arrays)
        first = outputs[bundle.manifest.graphs[graph].outputs[0].name]
        assert first.shape[0] == faster.NUM_ROWS
        assert (first == first[:1]).all()
    assert faster.seconds_of(runner, feeds) > 0.0


@pytest.mark.openvino
@pytest.mark.usefixtures("_openvino")
@pytest.mark.parametrize("task", NAMES)
def test_every_task_proves_itself_in_bf16(tiny_models: Path, tmp_path: Path, task: TaskName) -> None:
    """All recurrent nodes of the listed graphs run on OpenVINO; the other graphs stay on the CPU provider."""
    graphs = {
        "tagging": ("tagger",),
        "classification": ("classifier",),
        "translation": ("decoder_step",),
        "generation": ("step",),
        "parsing": ("parser",),
    }[task]
    path = with_variant(tiny_models, tmp_path, task, "bf16", *graphs)
    opened = open_bundle(path, "cpu", precision="bf16", num_lanes=2)
    assert opened.runner.provider == OPENVINO_PROVIDER
    assert (CPU_PROVIDER in opened.runner.providers) == (task in ("translation", "generation", "parsing"))
    assert CUDA_PROVIDER not in opened.runner.providers
    if task != "classification":  # the tiny classifier and prompt use sequence_lens, which OpenVINO ignores
        self_check(opened)
