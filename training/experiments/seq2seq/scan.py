"""Commands and their actions (SCAN): what a network composes of words that it knows, with attention and without.

The splits are made here from the visible parts of the random split, in the spirit of Lake and Baroni (2018): the
published test parts are kept back, and the dev parts of the published splits are as easy as train.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from service.bundle.tokenizer import BOS, EOS
from training.config.networks import TranslatorConfig
from training.config.recipe import TokenizerConfig
from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import locate
from training.data.read import read_records
from training.data.records import SentencePair
from training.evaluation.torch_runner import evaluating
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import num_parameters
from training.experiments.seq2seq.attention import NETWORKS
from training.networks.translator import Translator
from training.preprocessing.batches import TranslationBatch
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.translation import TranslationSet, translation_vocabulary

DATASET: Final = "scan"
_TOKENIZER: Final = TokenizerConfig(unit="word", cut="whitespace", lowercase=False, zero_digits=False)
_LIMIT, _MAX_ACTIONS, _BIN = 64, 50, 6
#: Share of the lines of train on which the held-out verb stands alone, as in the published split.
_ALONE: Final = 10


@dataclass(frozen=True)
class Settings:
    """Networks see commands of up to `longest` actions in the split by length, and `verb` alone in that by verb."""

    longest: int = 22
    verb: str = "look"
    hidden: int = 64
    seeds: int = 1
    batch: int = 64
    num_steps: int = 3000
    learning_rate: float = 0.004
    num_asked: int = 300
    max_train: int = 0


class Split(NamedTuple):
    """Pairs to learn from, pairs of dev that are like them, and pairs that are not: the question."""

    train: list[SentencePair]
    alike: list[SentencePair]
    asked: list[SentencePair]


def num_actions(pair: SentencePair) -> int:
    """The number of actions of a command."""
    return len(pair.target.split())


@cache
def _visible() -> tuple[tuple[SentencePair, ...], tuple[SentencePair, ...]]:
    """Train and dev of the random split."""
    options = NAMED_DATASETS[DATASET].options
    parts = (read_records("translation", locate(DATASET, part), options) for part in ("train", "dev"))
    train, dev = (tuple(pair for pair in part if isinstance(pair, SentencePair)) for part in parts)
    return train, dev


def splits_of(train: Sequence[SentencePair], dev: Sequence[SentencePair], longest: int, verb: str) -> dict[str, Split]:
    """The random split, that by the number of actions, and that by a verb which train has only alone."""

    def has_verb(pair: SentencePair) -> bool:
        return verb in pair.source.split()

    everything = [*train, *dev]
    alone = [pair for pair in everything if pair.source == verb]
    without = [pair for pair in train if not has_verb(pair)]
    times = len(without) // (_ALONE * max(1, len(alone)))
    return {
        "random": Split(list(train), list(dev), list(dev)),
        "longer": Split(
            [pair for pair in train if num_actions(pair) <= longest],
            [pair for pair in dev if num_actions(pair) <= longest],
            [pair for pair in everything if num_actions(pair) > longest],
        ),
        "new verb": Split(
            [*without, *(alone * max(1, times))],
            [pair for pair in dev if not has_verb(pair)],
            [pair for pair in everything if has_verb(pair) and pair.source != verb],
        ),
    }


@dataclass(frozen=True)
class _Run:
    """Percentages of commands right: like train, the question, and by number of actions (bin to percentage)."""

    alike: float
    asked: float
    by_actions: dict[int, float]
    parameters: int
    cpu_s: float


def _train(name: str, split: Split, seed: int, settings: Settings) -> _Run:
    draw = np.random.default_rng(seed)
    vocabulary = translation_vocabulary(_TOKENIZER, [*split.train, *split.asked])
    config = TranslatorConfig(
        embedding_size=settings.hidden,
        encoder_hidden_size=settings.hidden,
        decoder_hidden_size=settings.hidden,
        attention_size=settings.hidden,
        decoder_layers=1,
        dropout=0.1,
        label_smoothing=0.0,
    )
    train = _some(split.train, settings.max_train or len(split.train), draw)
    with seeded(seed):
        network = NETWORKS[name](config, vocabulary.size("source"), vocabulary.size("target"))
        batches = _batches(TranslationSet(train, vocabulary, _LIMIT, settings.batch, seed))
        history = fit(
            network, lambda _step: network.loss(next(batches))[0], Budget(settings.num_steps, settings.learning_rate)
        )
    alike, asked = (_some(part, settings.num_asked, draw) for part in (split.alike, split.asked))
    right = [_right(network, vocabulary, part) for part in (alike, asked)]
    pairs = list(zip([*alike, *asked], [*right[0], *right[1]], strict=True))
    bins = sorted({num_actions(pair) // _BIN for pair, _ in pairs})
    by_actions = {
        number: 100 * mean([float(is_right) for pair, is_right in pairs if num_actions(pair) // _BIN == number])
        for number in bins
    }
    shares = [100 * mean([float(is_right) for is_right in part]) for part in right]
    return _Run(shares[0], shares[1], by_actions, num_parameters(network), history.cpu_s)


def _some(pairs: Sequence[SentencePair], count: int, draw: np.random.Generator) -> list[SentencePair]:
    chosen = draw.permutation(len(pairs))[:count]
    return [pairs[index] for index in sorted(chosen.tolist())]


def _batches(pairs: TranslationSet) -> Iterator[TranslationBatch]:
    """Batches for ever, epoch after epoch."""
    epoch = 0
    while True:
        yield from (pairs.batch(order) for order in pairs.epoch(epoch))
        epoch += 1


@torch.no_grad()
def _right(network: Translator, vocabulary: Vocabulary, pairs: Sequence[SentencePair]) -> list[bool]:
    """Whether greedy decoding writes exactly the actions of each command."""
    right = dict[int, bool]()
    asked = TranslationSet(pairs, vocabulary, _LIMIT, 100, 1)
    with evaluating(network):
        for order in asked.epoch(0):
            batch = asked.batch(order)
            written = _decode(network, batch)
            for row, index in enumerate(order):
                wanted = [token for token in batch.target_outputs[row].tolist() if token]
                right[int(index)] = written[row].tolist()[: len(wanted)] == wanted
    return [right[index] for index in range(len(pairs))]


def _decode(network: Translator, batch: TranslationBatch) -> Tensor:
    """`[batch, steps]`: the most likely tokens, whatever stands after an end token."""
    memory, keys, state = network.encode(batch.source, batch.source_lengths)
    token, decoded = torch.full((len(batch.source),), BOS), []
    is_over = torch.zeros(len(batch.source), dtype=torch.bool)
    for _ in range(_MAX_ACTIONS):
        logits, _, state = network.step(token, memory, keys, batch.source_lengths, state)
        token = logits.argmax(dim=1)
        decoded.append(token)
        is_over |= token == EOS
        if is_over.all():
            break
    return torch.stack(decoded, dim=1)


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train both networks on every split with every seed."""
    train, dev = _visible()
    rows: list[Row] = []
    bars: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in NETWORKS}
    lines: list[Line] = []
    for title, split in splits_of(train, dev, settings.longest, settings.verb).items():
        for name in NETWORKS:
            runs = [_train(name, split, seed, settings) for seed in range(1, settings.seeds + 1)]
            alike, asked = [each.alike for each in runs], [each.asked for each in runs]
            costs = runs[0].parameters, mean([each.cpu_s for each in runs])
            rows.append((title, name, len(split.train), mean(alike), mean(asked), spread(asked), *costs))
            bars[name][title] = (mean(asked), spread(asked))
            tell(f"{title}, {name}: like train {mean(alike):.1f}, asked {mean(asked):.1f}")
            if title == "longer":
                lines.append(_by_actions(name, runs))
    columns = {"split": "", "decoder sees": "", "trained on": ",d", "like train, %": ".1f", "asked, %": ".1f"}
    table = Table(columns | {"±": ".1f", "parameters": ",d", "seconds a run": ".0f"}, rows)
    panels = [Panel(f"Decoder sees: {name}", "split", "right, %", bars=shown) for name, shown in bars.items()]
    x_label = f"number of actions (trained up to {settings.longest})"
    return Outcome([table], [*panels, Panel("Split by length", x_label, "right, %", lines)])


def _by_actions(name: str, runs: Sequence[_Run]) -> Line:
    """The mean over seeds in the middle of each bin of numbers of actions."""
    bins = sorted(set.intersection(*({*each.by_actions} for each in runs)))
    shares = [[each.by_actions[number] for each in runs] for number in bins]
    xs = [number * _BIN + (_BIN - 1) / 2 for number in bins]
    return Line(name, xs, [mean(values) for values in shares], [spread(values) for values in shares])


SCAN = Experiment(
    "scan",
    "Does an encoder-decoder compose what it knows, or does it need to have seen it?",
    Settings(),
    Settings(hidden=8, seeds=1, batch=8, num_steps=3, num_asked=8, max_train=64),
    run,
)
