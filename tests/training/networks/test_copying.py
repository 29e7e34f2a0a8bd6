"""The translator that copies: its likelihood, its steps, what it learns, and what does not go with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from service.bundle.tokenizer import BOS, EOS, UNK
from service.tasks.seq2seq.copying import CopyStep
from tests.training.exportable import lively
from training.config.networks import TranslatorConfig
from training.config.recipe import ConfigFault, parse_recipe
from training.fit.gradient import mixed_precision
from training.networks.layers.attention import CopyGate
from training.networks.translator import Translator
from training.preprocessing.batches import TranslationBatch

_SMALL = {"embedding_size": 8, "encoder_hidden_size": 8, "decoder_hidden_size": 16, "attention_size": 8}
_WORDS = 12


def _translator(**choice: Any) -> Translator:
    values = {**_SMALL, "dropout": 0.0, "label_smoothing": 0.0, "copying": True, "decoder_layers": 1, **choice}
    return lively(Translator(TranslatorConfig.model_validate(values), _WORDS, _WORDS))


def _batch(rows: int = 4, length: int = 3, seed: int = 1) -> TranslationBatch:
    """Unknown words to be written in the order in which they stand, between two known ones."""
    draw = torch.Generator().manual_seed(seed)
    end = torch.full((rows, 1), EOS)
    known = torch.randint(4, _WORDS, (rows, 1), generator=draw)
    unknown = torch.full((rows, length), UNK)
    places = _WORDS + torch.arange(length).expand(rows, length)
    source = torch.cat([unknown, known, end], dim=1)
    target = torch.cat([known, places, end], dim=1)
    return TranslationBatch(
        source=source,
        source_lengths=torch.full((rows,), length + 2),
        target_inputs=torch.cat([torch.full((rows, 1), BOS), known, unknown], dim=1),
        target_outputs=target,
        copy_ids=torch.cat([places, known, end], dim=1),
    )


def _gate(network: Translator, batch: TranslationBatch) -> CopyGate:
    memory, keys, state = network.encode(batch.source, batch.source_lengths)
    feeds = {"memory": memory, "memory_keys": keys, "lengths": batch.source_lengths}
    found: list[dict[str, Tensor]] = []
    for token in batch.target_inputs.T:
        names = dict(zip(network.state_shapes, state, strict=True))
        found.append(network.graphs()["decoder_step"].function({"token": token, **feeds, **names}))
        state = tuple(found[-1][f"next_{name}"] for name in network.state_shapes)
    stacked = (torch.stack([step[name] for step in found], 1) for name in ("logits", "generate_logit", "attention"))
    return CopyGate(*stacked)


@pytest.mark.parametrize("choice", [{}, {"input_feeding": True}, {"coverage": True, "decoder_layers": 2}], ids=str)
def test_the_loss_is_that_of_the_service_step_by_step(choice: dict[str, Any]) -> None:
    """The training loss equals -log of the probabilities that the service mixes from single steps of the graph."""
    network, batch = _translator(**choice).eval(), _batch()
    with torch.no_grad():
        gate = _gate(network, batch)
        loss = float(network.loss(batch)[0])
    ids = batch.copy_ids.numpy()
    terms = []
    for step in range(batch.target_outputs.shape[1]):
        arrays = (array[:, step].numpy() for array in (gate.logits, gate.generate_logit, gate.weights))
        scores = CopyStep.of(*arrays, ids).scores
        terms.append(scores[np.arange(len(ids)), batch.target_outputs[:, step].numpy()])
    assert loss == pytest.approx(-float(np.mean(terms)), abs=1e-5)


def test_gradients_stay_finite_where_nothing_can_be_copied_or_all_must_be() -> None:
    """Targets that are not in the source, unknown ones, padding, and gates far from 0 give finite gradients."""
    logits = torch.zeros((1, 5, 6), requires_grad=True)
    gate = torch.tensor([[-90.0, 90.0, 0.0, 90.0, 0.0]], requires_grad=True)
    weights = torch.tensor([[[0.0, 1.0]] * 5], requires_grad=True)
    found = CopyGate(logits, gate, weights)
    loss = found.loss(torch.tensor([[7, 4]]), torch.tensor([[4, 5, UNK, 7, 0]]))
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in (logits, gate, weights):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert not logits.grad[0, 4].any(), "padding teaches nothing"  # type: ignore[index]


def test_it_learns_to_copy_words_that_it_does_not_know() -> None:
    """Trained on unknown words alone, it writes those of another source in their order, which no vocabulary has."""
    network = _translator(attention="dot")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(150):
        optimizer.zero_grad()
        network.train().loss(_batch(rows=8, seed=step))[0].backward()
        optimizer.step()
    batch = _batch(rows=16, seed=1000)
    with torch.no_grad():
        likelihoods = _gate(network.eval(), batch).log_likelihoods(batch.copy_ids, batch.target_outputs)
    assert likelihoods.exp().min() > 0.5


def test_half_precision_trains_every_weight() -> None:
    """Under bf16 autocast each weight, the gate's too, gets a finite gradient."""
    network = _translator().train()
    with mixed_precision(torch.device("cpu"), "bf16"):
        loss = network.loss(_batch())[0]
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("tables", "fault"),
    [
        ({"network": {"label_smoothing": 0.1}}, "label_smoothing spreads over the vocabulary"),
        ({"network": {"scheduled_sampling": "linear"}}, 'set it to "none" to copy'),
        ({"tokenizer": {"unit": "subword"}}, 'network.copying needs tokenizer.unit "word"'),
    ],
)
def test_choices_that_do_not_go_with_copying_are_refused(tables: dict[str, Any], fault: str) -> None:
    """The recipe is refused with the key and the value that is allowed."""
    network = {**_SMALL, "copying": True, "label_smoothing": 0.0, **tables.get("network", {})}
    tokenizer = {"unit": "word", "cut": "code", **tables.get("tokenizer", {})}
    values = {"name": "x", "task": "translation", "data": {"train": "x.tsv"}}
    with pytest.raises(ConfigFault) as raised:
        parse_recipe({**values, "network": network, "tokenizer": tokenizer}, "x.toml")
    assert fault in str(raised.value)
