"""Reversing sequences of growing length, with attention and without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from service.bundle.tokenizer import BOS, EOS
from training.config.networks import TranslatorConfig
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import num_parameters
from training.networks.layers.cells import State
from training.networks.translator import Translator
from training.preprocessing.batches import TranslationBatch

NUM_SPECIAL = 4


class FixedContext(Translator):
    """A translator without attention: its memory is one vector, the encoder's final state.

    Every decoder step reads that vector, as in Cho et al. (2014), so the number of parameters is the same.
    """

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, State]:
        """As in `Translator`, with a memory of one step, `[batch, 1, memory]`."""
        memory, _, state = super().encode(tokens, lengths)
        final = self.encoder.final(memory, lengths).unsqueeze(1)
        return final, self.attention.key(final), state


NETWORKS: dict[str, type[Translator]] = {"attention": Translator, "final state only": FixedContext}


@dataclass(frozen=True)
class Settings:
    """Lengths are numbers of symbols. Networks are trained up to `max_trained` and also evaluated beyond."""

    lengths: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    max_trained: int = 14
    symbols: int = 20
    hidden: int = 48
    seeds: int = 1
    batch: int = 64
    num_steps: int = 1500
    learning_rate: float = 0.005
    num_asked: int = 200


def reversal_batch(rows: int, length: int, symbols: int, draw: Generator) -> TranslationBatch:
    """Random symbols and their reversal, all of one length."""
    source = torch.from_numpy(draw.integers(NUM_SPECIAL, NUM_SPECIAL + symbols, size=(rows, length)))
    target = source.flip(1)
    begin, stop = torch.full((rows, 1), BOS), torch.full((rows, 1), EOS)
    return TranslationBatch(
        source=torch.cat([source, stop], dim=1),
        source_lengths=torch.full((rows,), length + 1),
        target_inputs=torch.cat([begin, target], dim=1),
        target_outputs=torch.cat([target, stop], dim=1),
    )


def _config(hidden: int) -> TranslatorConfig:
    return TranslatorConfig(
        embedding_size=hidden,
        encoder_hidden_size=hidden,
        decoder_hidden_size=hidden,
        attention_size=hidden,
        dropout=0.0,
        label_smoothing=0.0,
    )


@dataclass(frozen=True)
class _Scores:
    symbols: list[float]
    sequences: list[float]
    parameters: int
    cpu_s: float


def _train(name: str, seed: int, settings: Settings) -> _Scores:
    """Train a network, and measure the percentage right at each length."""
    draw = np.random.default_rng(seed)
    vocabulary = NUM_SPECIAL + settings.symbols
    with seeded(seed):
        network = NETWORKS[name](_config(settings.hidden), vocabulary, vocabulary)

        def loss_of(_step: int) -> Tensor:
            length = int(draw.integers(1, settings.max_trained + 1))
            return network.loss(reversal_batch(settings.batch, length, settings.symbols, draw))[0]

        history = fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate))
    network.eval()
    asked = (reversal_batch(settings.num_asked, length, settings.symbols, draw) for length in settings.lengths)
    pairs = [_right(network, batch) for batch in asked]
    return _Scores([p[0] for p in pairs], [p[1] for p in pairs], num_parameters(network), history.cpu_s)


@torch.no_grad()
def _right(network: Translator, batch: TranslationBatch) -> tuple[float, float]:
    """Percentage of symbols, and of whole sequences, that greedy decoding gets right."""
    memory, keys, state = network.encode(batch.source, batch.source_lengths)
    token, decoded = batch.target_inputs[:, 0], []
    for _ in range(batch.target_outputs.shape[1]):
        logits, _, state = network.step(token, memory, keys, batch.source_lengths, state)
        token = logits.argmax(dim=1)
        decoded.append(token)
    right = torch.stack(decoded, dim=1) == batch.target_outputs
    return 100 * float(right[:, :-1].float().mean()), 100 * float(right.all(dim=1).float().mean())


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train both networks with every seed, and measure them at every length."""
    rows: list[Row] = []
    lines: dict[str, list[Line]] = {"symbols": [], "whole sequences": []}
    for name in NETWORKS:
        runs = [_train(name, seed, settings) for seed in range(1, settings.seeds + 1)]
        for measure, by_seed in zip(lines, ([r.symbols for r in runs], [r.sequences for r in runs]), strict=True):
            by_length = list(zip(*by_seed, strict=True))
            means = [mean(values) for values in by_length]
            lines[measure].append(Line(name, settings.lengths, means, [spread(values) for values in by_length]))
            rows.append((name, measure, runs[0].parameters, mean([r.cpu_s for r in runs]), *means))
            tell(f"{name}, {measure}: " + ", ".join(f"{value:.1f}" for value in means))
    x_label = f"length, symbols (trained up to {settings.max_trained})"
    blind = {"guessing": 100 / settings.symbols}
    panels = [
        Panel("Symbols", x_label, "right, %", lines["symbols"], levels=blind),
        Panel("Whole sequences", x_label, "right, %", lines["whole sequences"]),
    ]
    columns = {"decoder sees": "", "right, %": "", "parameters": ",d", "seconds a run": ".0f"}
    return Outcome([Table(columns | {f"length {length}": ".1f" for length in settings.lengths}, rows)], panels)


ATTENTION = Experiment(
    "attention",
    "Does attention help, and above all with long sequences?",
    Settings(),
    Settings(lengths=(2, 3), max_trained=3, symbols=4, hidden=8, seeds=1, batch=8, num_steps=5, num_asked=8),
    run,
)
