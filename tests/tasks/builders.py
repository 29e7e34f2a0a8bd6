"""In-memory bundles, and runners that replace their graphs with numpy functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, Limits, Manifest, StateSpec, TensorSpec
from service.bundle.task_options import ParsingOptions, TaggingOptions, TaskOptions, TranslationOptions
from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer
from service.tasks.core.task import Array

WIDTH = 5
STATE = StateSpec(name="hidden", next_name="next_hidden", layers=1, width=WIDTH)


def vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate([*SPECIAL_TOKENS, *tokens])}


def word_tokenizer(words: Sequence[str]) -> TextTokenizer:
    """A word-level tokenizer that splits at whitespace and punctuation and decodes with spaces."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(words), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer(tokenizer)


def character_tokenizer(characters: str) -> TextTokenizer:
    """A character-level tokenizer that decodes without separators."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(characters), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(tokenizer)


def byte_tokenizer() -> TextTokenizer:
    """A byte-level tokenizer over UTF-8."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(alphabet), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TextTokenizer(tokenizer)


def bundle(
    options: TaskOptions,
    tokenizers: Mapping[str, TextTokenizer],
    labels: Sequence[str] = (),
    inputs: Sequence[str] = (),
    transitions: Array | None = None,
    limits: Limits | None = None,
) -> Bundle:
    """An in-memory bundle: tasks read its manifest, tokenizers and transitions, never the graphs."""
    tensors = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "time")) for name in inputs)
    manifest = Manifest(
        name="test",
        task=options.task,
        options=options,
        graphs={graph: GraphSpec(file="x", inputs=tensors, outputs=()) for graph in options.required_graphs},
        state=(STATE,) if options.needs_state else (),
        labels=tuple(labels),
        limits=limits or Limits(max_input_tokens=64, max_new_tokens=32),
        tokenizers={role: f"{role}.json" for role in tokenizers},
    )
    return Bundle(path=Path("test"), manifest=manifest, tokenizers=dict(tokenizers), transitions=transitions)


def tagging_bundle(words: Sequence[str], labels: Sequence[str], **options: Any) -> Bundle:
    tokenizers = {"words": word_tokenizer(words), "characters": character_tokenizer("abcdefgh")}
    transitions = options.pop("transitions", None)
    return bundle(TaggingOptions(**options), tokenizers, labels, ("words", "characters", "lengths"), transitions)


def parsing_bundle(words: Sequence[str], labels: Sequence[str], relations: Sequence[str], **options: Any) -> Bundle:
    tokenizers = {"words": word_tokenizer(words), "characters": character_tokenizer("abcdefgh")}
    limits = options.pop("limits", None)
    made = ParsingOptions(relations=tuple(relations), **options)
    return bundle(made, tokenizers, labels, ("words", "characters", "lengths"), limits=limits)


def translation_bundle(source: Sequence[str], target: Sequence[str], **options: Any) -> Bundle:
    limits = options.pop("limits", None)
    made = TranslationOptions(source_language="xx", target_language="yy", **options)
    return bundle(made, {"source": word_tokenizer(source), "target": word_tokenizer(target)}, limits=limits)


class FunctionRunner:
    """A runner that answers each graph with a function of its feeds and records the feeds."""

    def __init__(self, **graphs: Callable[[Mapping[str, Array]], dict[str, Array]]) -> None:
        self.graphs = graphs
        self.calls: list[tuple[str, dict[str, Array]]] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calls.append((graph, dict(feeds)))
        assert all(array.size for array in feeds.values()), "an empty feed never reaches a graph"
        return self.graphs[graph](feeds)


class ElmanRunner:
    """A random Elman network in numpy with the graphs of translation and generation, and a classifier.

    Rows are computed one by one, so only the task itself can make a row depend on its batch. Outputs beyond a row's
    length are NaN, so that code which reads padding fails.
    """

    def __init__(self, vocab: int, seed: int = 0, sharpness: float = 3.0) -> None:
        random = np.random.default_rng(seed)
        self.embedding = random.normal(size=(max(vocab, 64), WIDTH))
        self.recurrent = random.normal(size=(WIDTH, WIDTH)) / WIDTH
        self.output = sharpness * random.normal(size=(WIDTH, vocab))
        self.num_steps = 0
        self.rows_of_steps: list[int] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(getattr(self, graph)(feeds))

    def cell(self, token: int, hidden: Array) -> Array:
        activation: Array = np.tanh(self.embedding[token] + hidden @ self.recurrent)
        return activation

    def hidden_states(self, tokens: Array, hidden: Array, length: int) -> Array:
        states = np.full((len(tokens), WIDTH), np.nan)
        for time in range(length):
            hidden = states[time] = self.cell(tokens[time], hidden)
        return states

    def encoder(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        tokens, lengths = feeds["tokens"], feeds["lengths"]
        rows = [self.hidden_states(row, np.zeros(WIDTH), n) for row, n in zip(tokens, lengths, strict=True)]
        memory = np.stack(rows).astype(np.float32)
        last = memory[np.arange(len(lengths)), lengths - 1]
        return {"memory": memory, "memory_keys": memory, STATE.next_name: last[None]}

    def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.rows_of_steps.append(len(feeds["token"]))
        hidden, logits, attention = [], [], np.zeros(feeds["memory"].shape[:2], dtype=np.float32)
        for row, (token, length) in enumerate(zip(feeds["token"], feeds["lengths"], strict=True)):
            state = self.cell(token, feeds[STATE.name][0, row])
            scores = np.exp(feeds["memory_keys"][row, :length] @ state)
            attention[row, :length] = scores / scores.sum()
            context = attention[row, :length] @ feeds["memory"][row, :length]
            hidden.append(state)
            logits.append((state + context) @ self.output)
        return {"logits": _float(logits), "attention": attention, STATE.next_name: _float([hidden])}

    def prompt(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        before = feeds[STATE.name][0]
        rows = zip(feeds["tokens"], before, feeds["lengths"], strict=True)
        states = np.stack([self.hidden_states(tokens, hidden, n) for tokens, hidden, n in rows])
        last = states[np.arange(len(before)), feeds["lengths"] - 1]
        return {"logits": _float(states @ self.output), STATE.next_name: _float(last[None])}

    def step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        pairs = zip(feeds["token"], feeds[STATE.name][0], strict=True)
        hidden = np.stack([self.cell(token, state) for token, state in pairs])
        return {"logits": _float(hidden @ self.output), STATE.next_name: _float(hidden[None])}

    def classifier(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        rows = zip(feeds["tokens"], feeds["lengths"], strict=True)
        last = [self.hidden_states(tokens, np.zeros(WIDTH), n)[n - 1] for tokens, n in rows]
        return {"logits": _float(np.stack(last) @ self.output)}


def _float(values: Any) -> Array:
    return np.asarray(values, dtype=np.float32)
