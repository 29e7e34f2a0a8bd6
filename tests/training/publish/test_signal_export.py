"""Exported classifiers of signals: equal to torch, independent of padding, and equal in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from service.bundle.load import load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from tests.tiny_signals import CONFIGS, STEPWISE, records_of, signal_draft, signal_network, write_tiny_signal_bundle
from tests.training.exportable import CELLS
from training.config.networks import Cell
from training.config.signals import SignalKind
from training.evaluation.task import Question
from training.preprocessing.signal_values import json_form
from training.publish.export import export_bundle
from training.publish.variants import VariantRefused, add_variant
from training.publish.verify import verify_bundle

KINDS: tuple[SignalKind, ...] = ("frames", "waveform")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("half", [True, False])
def test_graphs_equal_torch(kind: SignalKind, cell: Cell, half: bool, tmp_path: Path) -> None:
    """Audio features, scaling, convolutions and recurrence equal torch's up to rounding."""
    network = signal_network(CONFIGS[kind], cell=cell)
    questions = [Question(json_form(record)) for record in records_of(kind)[:2]]
    exported = export_bundle(network, signal_draft(CONFIGS[kind], "tiny"), questions, tmp_path, half=half)
    assert exported.report.max_difference < 1e-4
    assert {"shapes", "padding", "torch", "examples"} <= exported.report.checks.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_gets_the_same_answer_in_any_batch(kind: SignalKind, tmp_path: Path) -> None:
    """Through the served graph, the shortest row gets the same answer next to the longest as alone."""
    bundle = load_bundle(write_tiny_signal_bundle(tmp_path, CONFIGS[kind], "tiny"))
    task, runner = task_of(bundle), OrtRunner(bundle, "cpu", threads=1)
    examples = [task.preprocess(record.value, task.parameters_type(top_k=3)) for record in records_of(kind)]
    together = task.run(runner, examples)
    for example, output in zip(examples, together, strict=True):
        (alone,) = task.run(runner, [example])
        assert alone.label_ids == output.label_ids
        np.testing.assert_allclose(alone.scores, output.scores, atol=1e-5)


def test_a_stepwise_network_reads_in_chunks(tmp_path: Path) -> None:
    """Frames in chunks with carried state give the answer for the whole signal, which export verifies."""
    path = write_tiny_signal_bundle(tmp_path, STEPWISE, "tiny", reads_chunks=True)
    bundle = load_bundle(path)
    assert bundle.manifest.reads_chunks
    assert verify_bundle(path).checks["chunks"] < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_looks_around_reads_no_chunks(kind: SignalKind) -> None:
    """A convolution needs later frames, so such a network has no chunked reading."""
    assert not signal_network(CONFIGS[kind], reads_chunks=True).reads_chunks


def test_a_wrong_graph_is_not_published(tmp_path: Path) -> None:
    """A network whose scale was changed after the graph was written fails verification."""
    path = write_tiny_signal_bundle(tmp_path, CONFIGS["waveform"], "tiny")
    other = signal_network(CONFIGS["waveform"])
    with torch.no_grad():
        other.front_end.mean += 1.0
        other.output.weight *= 1.5
    assert any(failure.startswith("torch") for failure in verify_bundle(path, other).failures)


def test_int8_of_a_gru_is_refused_in_words(tmp_path: Path) -> None:
    path = write_tiny_signal_bundle(tmp_path, CONFIGS["frames"], "tiny")
    with pytest.raises(VariantRefused, match="no recurrence that can run in int8"):
        add_variant(path, "int8", print, records_of("frames"))


def test_int8_of_an_lstm_is_measured(tmp_path: Path) -> None:
    """int8 applies to the LSTM but not to the features, and its effect on the dev score is measured."""
    network = signal_network(CONFIGS["frames"], cell="lstm")
    questions = [Question(json_form(record)) for record in records_of("frames")[:2]]
    path = export_bundle(network, signal_draft(CONFIGS["frames"], "tiny"), questions, tmp_path).path
    bundle = load_bundle(path)
    right = [
        record._replace(label=answer(task_of(bundle), OrtRunner(bundle, "cpu"), record.value, {}).model_dump()["label"])
        for record in records_of("frames")
    ]
    assert add_variant(path, "int8", print, right).fp32_score == 100.0
