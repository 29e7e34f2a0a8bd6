"""Builds small but real bundles for every task: random weights, real graphs, and answers recorded from them.

    path = write_tiny_bundle(tmp_path / "models", "tagging")

The graphs follow the contract of the manifest: same tensor names, state in and state out, padding without effect.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.load import CARD_FILE, MANIFEST_FILE, Example, read_manifest
from service.bundle.manifest import GraphSpec, Limits, Manifest, Score, StateSpec, TensorSpec
from service.bundle.task_options import (
    ClassificationOptions,
    GenerationOptions,
    TaggingOptions,
    TaskName,
    TranslationOptions,
)
from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.tasks.recorded import label_scores, recorded_embedding
from tests.tasks.parsing.tiny_parser import PARSER_TAGS, parsing_options, write_parser_graphs
from tests.tiny_graph import EMBEDDING, HIDDEN, Graph, floats, ids

WORDS = ("the", "cat", "sat", "on", "a", "mat", "ada", "lives", "in", "london", "hello", "world", "one", "two", ".")
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!?\n'0123456789"
LIMITS = Limits(max_input_tokens=40, max_new_tokens=30)

#: The default bundle name of each task.
NAMES: dict[TaskName, str] = {
    "tagging": "tiny-tagger",
    "classification": "tiny-classifier",
    "translation": "tiny-translator",
    "generation": "tiny-generator",
    "parsing": "tiny-parser",
}

_EXAMPLES: dict[TaskName, list[tuple[Any, dict[str, Any]]]] = {
    "tagging": [("The cat sat on a mat.", {}), (["Ada", "lives", "in", "London"], {})],
    "classification": [("hello world", {"top_k": 2}), ("one two one", {})],
    "translation": [("the cat sat", {"num_beams": 2, "return_attention": True}), ("hello", {"num_beams": 1})],
    "generation": [
        ("Hello ", {"max_new_tokens": 8, "details": True}),
        ("a", {"max_new_tokens": 5, "do_sample": True, "seed": 3}),
    ],
    "parsing": [("The cat sat on a mat.", {"conllu": True}), (["Ada", "lives", "in", "London"], {})],
}

#: Writes graphs and tokenizers into a folder, and makes the manifest, given a name and a version.
Builder = Callable[[Path, np.random.Generator, str, str], Manifest]


def write_tiny_bundle(
    models_root: Path,
    task: TaskName,
    name: str = "",
    version: str = "1",
    seed: int = 0,
    reads_chunks: bool = False,
    build: Builder | None = None,
    questions: Sequence[tuple[Any, dict[str, Any]]] = (),
) -> Path:
    """Write one tiny bundle under `models_root` and return its folder; `seed` changes the weights.

    With `reads_chunks` a tagger or classifier takes and returns state; its weights are the same as without. `build`
    makes another bundle of the task, whose examples answer `questions`.
    """
    models_root.mkdir(parents=True, exist_ok=True)
    name = name or NAMES[task] + ("-chunks" if reads_chunks else "")
    build = build or (_CHUNK_BUILDERS[task] if reads_chunks else _BUILDERS[task])
    folder = staging_folder(models_root, name)
    manifest = build(folder, np.random.default_rng(seed), name, version)
    (folder / CARD_FILE).write_text(f"# {name}\n\nA tiny model with random weights.\n", encoding="utf-8")
    questions = questions or _EXAMPLES[task]
    write_examples(folder, [Example(inputs, parameters, None) for inputs, parameters in questions])
    write_manifest(folder, manifest)
    opened = open_bundle(folder, device="cpu", threads=1)
    answers = [
        Example(
            inputs,
            parameters,
            answer_one(opened, inputs, parameters).model_dump(mode="json"),
            label_scores(opened.bundle, opened.task, opened.runner, inputs, parameters),
            recorded_embedding(opened.bundle, opened.task, opened.runner, inputs),
        )
        for inputs, parameters in questions
    ]
    write_examples(folder, answers)
    write_manifest(folder, manifest)
    return publish(folder, models_root)


def write_all_tiny_bundles(models_root: Path) -> Path:
    """Write one bundle of each task; returns `models_root`."""
    for task in NAMES:
        write_tiny_bundle(models_root, task)
    return models_root


def renew_digests(bundle: Path) -> None:
    """Update the digests in the manifest after a test has changed files."""
    write_manifest(bundle, read_manifest(bundle))


def unseal(bundle: Path) -> None:
    """Take the digest out of the manifest, as in bundles that were published before there was one."""
    file = bundle / MANIFEST_FILE
    values = json.loads(file.read_bytes())
    del values["digest"]
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def copy_bundle(bundle: Path, models_root: Path) -> Path:
    """Copy a bundle to another root, so that a test can damage it."""
    return Path(shutil.copytree(bundle, models_root / bundle.parent.name / bundle.name))


def word_tokenizer(words: Sequence[str] = WORDS) -> TextTokenizer:
    """A tokenizer of lower-case words and punctuation."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(words), unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer(tokenizer)


def character_tokenizer(characters: str = CHARACTERS) -> TextTokenizer:
    """A character-level tokenizer."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(characters), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(tokenizer)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}


def _state(name: str) -> TensorSpec:
    return floats(name, 1, "batch", HIDDEN)


_STATES, _NEXT_STATES = (_state("hidden"), _state("cell")), (_state("next_hidden"), _state("next_cell"))
#: The state of an LSTM; a GRU has the first part only.
_LSTM_STATE = tuple(
    StateSpec(name=name, next_name=f"next_{name}", layers=1, width=HIDDEN) for name in ("hidden", "cell")
)
_ALL_HIDDEN = floats(HIDDEN_STATES, "batch", "time", HIDDEN)
_TOKENS, _TOKEN, _LENGTHS = ids("tokens", "batch", "time"), ids("token", "batch"), ids("lengths", "batch")


def _tagging(
    folder: Path, rng: np.random.Generator, name: str, version: str, *, reads_chunks: bool = False
) -> Manifest:
    words, characters = word_tokenizer(), character_tokenizer()
    words.save(folder / "words.json")
    characters.save(folder / "characters.json")
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    graph = Graph(rng)
    word = graph.embedding("word", "words", words.vocabulary_size)
    letters = graph.embedding("character", "characters", characters.vocabulary_size)
    spelling = graph.node("ReduceSum", [letters, graph.constant("letter_axis", [2])], "spelling", keepdims=0)
    both = graph.node("Concat", [word, spelling], "word_and_spelling", axis=2)
    lengths = graph.int32_lengths() if reads_chunks else ""
    before, after = (_STATES, _NEXT_STATES) if reads_chunks else ((), ())
    steps = graph.time_first(both, "steps")
    y, *state = graph.recurrent("LSTM", steps, 2 * EMBEDDING, lengths, [tensor.name for tensor in before])
    graph.dense(graph.batch_first(y, HIDDEN_STATES), HIDDEN, len(labels), "emissions")
    graph.next_state(*state[: len(after)])
    inputs = [ids("words", "batch", "time"), ids("characters", "batch", "time", "chars"), _LENGTHS, *before]
    outputs = [floats("emissions", "batch", "time", len(labels)), *after, _ALL_HIDDEN]
    spec = graph.save(folder / "tagger.onnx", inputs, outputs)
    return Manifest(
        name=name,
        version=version,
        task="tagging",
        options=TaggingOptions(scheme="bio"),
        graphs={"tagger": spec},
        state=_LSTM_STATE if reads_chunks else (),
        labels=labels,
        limits=LIMITS,
        tokenizers={"words": "words.json", "characters": "characters.json"},
        scores=(Score(measure="f1", value=50.0, baseline=25.0, baseline_name="most frequent tag"),),
    )


def tiny_parser(
    folder: Path, rng: np.random.Generator, name: str, version: str, *, decoder: Literal["biaffine", "labels"]
) -> Manifest:
    words = word_tokenizer()
    words.save(folder / "words.json")
    options = parsing_options(decoder)
    graphs = write_parser_graphs(folder, rng, words.vocabulary_size, options)
    return Manifest(
        name=name,
        version=version,
        task="parsing",
        options=options,
        graphs=graphs,
        labels=PARSER_TAGS,
        limits=LIMITS,
        tokenizers={"words": "words.json"},
    )


def _classification(
    folder: Path, rng: np.random.Generator, name: str, version: str, *, reads_chunks: bool = False
) -> Manifest:
    words = word_tokenizer()
    words.save(folder / "tokenizer.json")
    labels = ("greeting", "number", "other")
    graph = Graph(rng)
    embedded = graph.embedding("token", "tokens", words.vocabulary_size)
    lengths = graph.int32_lengths()
    before, after = (_STATES[:1], _NEXT_STATES[:1]) if reads_chunks else ((), ())
    steps = graph.time_first(embedded, "steps")
    last = graph.recurrent("GRU", steps, EMBEDDING, lengths, [tensor.name for tensor in before])[1]
    graph.next_state(*[last][: len(after)])
    pooled = graph.node("Squeeze", [last, graph.constant("direction_axis", [0])], "embedding")
    graph.dense(pooled, HIDDEN, len(labels), "logits")
    outputs = [floats("logits", "batch", len(labels)), *after, floats("embedding", "batch", HIDDEN)]
    spec = graph.save(folder / "classifier.onnx", [_TOKENS, _LENGTHS, *before], outputs)
    return Manifest(
        name=name,
        version=version,
        task="classification",
        options=ClassificationOptions(),
        graphs={"classifier": spec},
        state=_LSTM_STATE[:1] if reads_chunks else (),
        labels=labels,
        limits=LIMITS,
        tokenizers={"text": "tokenizer.json"},
    )


def _translation(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
    source, target = word_tokenizer(), character_tokenizer("abcdefghij")
    source.save(folder / "source.json")
    target.save(folder / "target.json")
    return Manifest(
        name=name,
        version=version,
        task="translation",
        options=TranslationOptions(source_language="en", target_language="de", num_beams=2),
        graphs={
            "encoder": _encoder(folder, rng, source.vocabulary_size),
            "decoder_step": _decoder_step(folder, rng, target.vocabulary_size),
        },
        state=_LSTM_STATE[:1],
        limits=LIMITS,
        tokenizers={"source": "source.json", "target": "target.json"},
    )


_MEMORY = (floats("memory", "batch", "time", HIDDEN), floats("memory_keys", "batch", "time", HIDDEN))


def _encoder(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    graph = Graph(rng)
    embedded = graph.embedding("token", "tokens", vocabulary_size)
    lengths = graph.int32_lengths()
    y, last = graph.recurrent("GRU", graph.time_first(embedded, "steps"), EMBEDDING, lengths)
    graph.dense(graph.batch_first(y, "memory"), HIDDEN, HIDDEN, "memory_keys")
    graph.next_state(last)
    return graph.save(folder / "encoder.onnx", [_TOKENS, _LENGTHS], [*_MEMORY, _state("next_hidden")])


def _decoder_step(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    """One GRU step, then dot-product attention over the encoder memory, masked beyond each row's length."""
    graph = Graph(rng)
    embedded = graph.embedding("token", "token", vocabulary_size)
    first, second = graph.constant("axis_0", [0]), graph.constant("axis_1", [1])
    step = graph.node("Unsqueeze", [embedded, first], "step")
    last = graph.recurrent("GRU", step, EMBEDDING, "", ["hidden"])[1]
    graph.next_state(last)
    query = graph.node("Squeeze", [last, first], "query")
    column = graph.node("Unsqueeze", [query, graph.constant("axis_2", [2])], "query_column")
    scores = graph.node("Squeeze", [graph.node("MatMul", ["memory_keys", column], "s"), "axis_2"], "scores")
    size = graph.node("Gather", [graph.node("Shape", ["memory"], "memory_shape"), graph.constant("one", 1)], "size")
    times = graph.node("Range", [graph.constant("zero", 0), size, "one"], "times")
    inside = graph.node("Less", [times, graph.node("Unsqueeze", ["lengths", second], "ends")], "inside")
    masked = graph.node("Where", [inside, scores, graph.constant("hidden_score", -1e9, np.float32)], "masked")
    attention = graph.node("Softmax", [masked], "attention", axis=1)
    weights = graph.node("Unsqueeze", [attention, second], "weights")
    context = graph.node("Squeeze", [graph.node("MatMul", [weights, "memory"], "c"), second], "context")
    both = graph.node("Concat", [query, context], "query_and_context", axis=1)
    graph.dense(both, 2 * HIDDEN, vocabulary_size, "logits")
    scored = [floats("logits", "batch", vocabulary_size), floats("attention", "batch", "time")]
    outputs = [*scored, _state("next_hidden")]
    return graph.save(folder / "decoder_step.onnx", [_TOKEN, *_MEMORY, _LENGTHS, _state("hidden")], outputs)


def _generation(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
    characters = character_tokenizer()
    characters.save(folder / "tokenizer.json")
    seed = int(rng.integers(2**31))
    return Manifest(
        name=name,
        version=version,
        task="generation",
        options=GenerationOptions(unit="character"),
        graphs={
            "prompt": _prompt(folder, np.random.default_rng(seed), characters.vocabulary_size),
            "step": _step(folder, np.random.default_rng(seed), characters.vocabulary_size),
        },
        state=_LSTM_STATE,
        limits=LIMITS,
        tokenizers={"text": "tokenizer.json"},
    )


def _prompt(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    graph = Graph(rng)
    embedded = graph.embedding("token", "tokens", vocabulary_size)
    lengths = graph.int32_lengths()
    y = _language_model(graph, graph.time_first(embedded, "steps"), lengths)
    graph.dense(graph.batch_first(y, HIDDEN_STATES), HIDDEN, vocabulary_size, "logits")
    outputs = [floats("logits", "batch", "time", vocabulary_size), *_NEXT_STATES, _ALL_HIDDEN]
    return graph.save(folder / "prompt.onnx", [_TOKENS, _LENGTHS, *_STATES], outputs)


def _step(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    """The same weights as `_prompt`, because the random generator has the same seed and order of calls."""
    graph = Graph(rng)
    embedded = graph.embedding("token", "token", vocabulary_size)
    y = _language_model(graph, graph.node("Unsqueeze", [embedded, graph.constant("axis_0", [0])], "steps"))
    squeezed = graph.node("Squeeze", [y, graph.constant("axes", [0, 1])], "encoded")
    graph.dense(squeezed, HIDDEN, vocabulary_size, "logits")
    outputs = [floats("logits", "batch", vocabulary_size), *_NEXT_STATES]
    return graph.save(folder / "step.onnx", [_TOKEN, *_STATES], outputs)


def _language_model(graph: Graph, steps: str, lengths: str = "") -> str:
    y, hidden, cell = graph.recurrent("LSTM", steps, EMBEDDING, lengths, ["hidden", "cell"])
    graph.next_state(hidden, cell)
    return y


_BUILDERS: dict[TaskName, Builder] = {
    "tagging": _tagging,
    "classification": _classification,
    "translation": _translation,
    "generation": _generation,
    "parsing": partial(tiny_parser, decoder="biaffine"),
}
_CHUNK_BUILDERS: dict[TaskName, Builder] = {
    "tagging": partial(_tagging, reads_chunks=True),
    "classification": partial(_classification, reads_chunks=True),
}
