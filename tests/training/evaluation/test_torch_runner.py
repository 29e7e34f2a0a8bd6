"""The torch reference runs a network the way a bundle's graphs are run."""

from __future__ import annotations

import numpy as np

from tests.training.exportable import classifier, language_model, tagger
from training.evaluation.torch_runner import TorchRunner, transitions_of


def test_dropout_is_off_and_the_mode_is_kept() -> None:
    """Two runs of a network in training mode agree, and the mode is restored afterwards."""
    network = classifier().train()
    feeds = {"tokens": np.array([[4, 5, 6]]), "lengths": np.array([3])}
    first, second = (TorchRunner(network).run("classifier", feeds)["logits"] for _ in range(2))
    assert np.array_equal(first, second)
    assert network.training


def test_no_gradient_is_kept() -> None:
    """Running a network records no gradients."""
    network = tagger("gru", "none")
    TorchRunner(network).run("tagger", {"words": np.array([[4, 5]]), "lengths": np.array([2])})
    assert all(parameter.grad is None for parameter in network.parameters())


def test_outputs_are_named_as_in_the_graphs() -> None:
    """A step returns float32 logits and the next state under the names of the contract."""
    network = language_model("lstm")
    state = {name: np.zeros((2, 1, 12), dtype=np.float32) for name in ("hidden", "cell")}
    outputs = TorchRunner(network).run("step", {"token": np.array([5]), **state})
    assert list(outputs) == ["logits", "next_hidden", "next_cell"]
    assert {array.dtype.name for array in outputs.values()} == {"float32"}


def test_only_a_crf_has_transitions() -> None:
    """A CRF network returns its transitions, with one more row and column than labels; other networks have none."""
    network = tagger(decoder="crf")
    transitions = transitions_of(network)
    assert transitions is not None
    assert network.crf is not None
    assert np.array_equal(transitions, network.crf.transitions.detach().numpy())
    assert transitions_of(tagger()) is None
    assert transitions_of(language_model()) is None
