"""Builds tiny but real bundles for all four tasks: random weights, real graphs, answers recorded from the graphs.

    path = write_tiny_bundle(tmp_path / "models", "tagging")

The graphs follow the contract of the manifest: same tensor names, state in and state out, padding without effect.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from service.bundle.load import CARD_FILE, Example, read_manifest
from service.bundle.manifest import (
    ClassificationOptions,
    GenerationOptions,
    GraphSpec,
    Limits,
    Manifest,
    Score,
    StateSpec,
    TaggingOptions,
    TaskName,
    TensorSpec,
    TranslationOptions,
)
from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.inference.direct import answer_one, open_bundle

HIDDEN = 6
EMBEDDING = 5
WORDS = ("the", "cat", "sat", "on", "a", "mat", "ada", "lives", "in", "london", "hello", "world", "one", "two", ".")
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!?\n'0123456789"
LIMITS = Limits(max_input_tokens=40, max_new_tokens=30)

#: One name for each task's tiny bundle, unless the caller gives another.
NAMES: dict[TaskName, str] = {
    "tagging": "tiny-tagger",
    "classification": "tiny-classifier",
    "translation": "tiny-translator",
    "generation": "tiny-generator",
}

_EXAMPLES: dict[TaskName, list[tuple[Any, dict[str, Any]]]] = {
    "tagging": [("The cat sat on a mat.", {}), (["Ada", "lives", "in", "London"], {})],
    "classification": [("hello world", {"top_k": 2}), ("one two one", {})],
    "translation": [("the cat sat", {"num_beams": 2, "return_attention": True}), ("hello", {"num_beams": 1})],
    "generation": [
        ("Hello ", {"max_new_tokens": 8, "details": True}),
        ("a", {"max_new_tokens": 5, "do_sample": True, "seed": 3}),
    ],
}


def write_tiny_bundle(models_root: Path, task: TaskName, name: str = "", version: str = "1", seed: int = 0) -> Path:
    """Publish one tiny bundle under `models_root` and return its folder; another seed gives other weights."""
    models_root.mkdir(parents=True, exist_ok=True)
    name = name or NAMES[task]
    folder = staging_folder(models_root, name)
    manifest = _BUILDERS[task](folder, np.random.default_rng(seed), name, version)
    (folder / CARD_FILE).write_text(f"# {name}\n\nA tiny model with random weights.\n", encoding="utf-8")
    questions = _EXAMPLES[task]
    write_examples(folder, [Example(inputs, parameters, None) for inputs, parameters in questions])
    write_manifest(folder, manifest)
    opened = open_bundle(folder, provider="cpu", threads=1)
    answers = [Example(i, p, answer_one(opened, i, p).model_dump(mode="json")) for i, p in questions]
    write_examples(folder, answers)
    write_manifest(folder, manifest)
    return publish(folder, models_root)


def write_all_tiny_bundles(models_root: Path) -> Path:
    """One bundle of each task; returns `models_root`."""
    for task in NAMES:
        write_tiny_bundle(models_root, task)
    return models_root


def renew_digests(bundle: Path) -> None:
    """Make the manifest agree with files that a test has changed."""
    write_manifest(bundle, read_manifest(bundle))


def copy_bundle(bundle: Path, models_root: Path) -> Path:
    """A copy to damage, under another root."""
    return Path(shutil.copytree(bundle, models_root / bundle.parent.name / bundle.name))


def word_tokenizer(words: Sequence[str] = WORDS) -> TextTokenizer:
    """Lower-cased words; punctuation stands alone."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(words), unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer(tokenizer)


def character_tokenizer(characters: str = CHARACTERS) -> TextTokenizer:
    """Every character a token."""
    tokenizer = Tokenizer(models.WordLevel(_numbered(characters), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(tokenizer)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}


class _Graph:
    """Collects nodes and weights, and writes one ONNX file with its spec."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def node(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self._weights[name] = numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self._rng.normal(0.0, 0.8, shape), np.float32)

    def embedding(self, name: str, ids: str, size: int) -> str:
        """Rows for ids; row 0, padding, is zero."""
        table = self._rng.normal(0.0, 0.8, (size, EMBEDDING)).astype(np.float32)
        table[0] = 0.0
        return self.node("Gather", [self.constant(f"{name}_table", table, np.float32), ids], f"{name}_embedded")

    def recurrent(self, cell: str, inputs: str, width: int, lengths: str = "", state: Sequence[str] = ()) -> list[str]:
        """An LSTM or GRU over `[time, batch, width]`; names Y `[time, 1, batch, hidden]`, Y_h and for LSTM Y_c."""
        gates = {"LSTM": 4, "GRU": 3}[cell]
        feeds = [
            inputs,
            self.weight(f"{cell}_w", 1, gates * HIDDEN, width),
            self.weight(f"{cell}_r", 1, gates * HIDDEN, HIDDEN),
            self.weight(f"{cell}_b", 1, 2 * gates * HIDDEN),
            lengths,
            *state,
        ]
        outputs = ["y", "y_h", "y_c"][: 3 if cell == "LSTM" else 2]
        extra = {"linear_before_reset": 1} if cell == "GRU" else {}
        self.node(cell, feeds, *outputs, hidden_size=HIDDEN, **extra)
        return outputs

    def batch_first(self, y: str, name: str) -> str:
        """`[time, 1, batch, hidden]` to `[batch, time, hidden]`."""
        squeezed = self.node("Squeeze", [y, self.constant(f"{name}_axis", [1])], f"{name}_squeezed")
        return self.node("Transpose", [squeezed], name, perm=[1, 0, 2])

    def time_first(self, x: str, name: str) -> str:
        return self.node("Transpose", [x], name, perm=[1, 0, 2])

    def dense(self, x: str, width: int, size: int, output: str) -> str:
        return self.node("MatMul", [x, self.weight(f"{output}_w", width, size)], output)

    def save(self, file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> GraphSpec:
        graph = helper.make_graph(
            self._nodes,
            file.stem,
            [_value_info(spec) for spec in inputs],
            [_value_info(spec) for spec in outputs],
            list(self._weights.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString())
        return GraphSpec(file=file.name, inputs=tuple(inputs), outputs=tuple(outputs))


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}[spec.dtype]
    return helper.make_tensor_value_info(spec.name, dtype, list(spec.shape))


def _ids(name: str, *shape: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="int64", shape=shape)


def _floats(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


def _state(name: str) -> TensorSpec:
    return _floats(name, 1, "batch", HIDDEN)


_TOKENS, _TOKEN, _LENGTHS = _ids("tokens", "batch", "time"), _ids("token", "batch"), _ids("lengths", "batch")


def _tagging(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
    words, characters = word_tokenizer(), character_tokenizer()
    words.save(folder / "words.json")
    characters.save(folder / "characters.json")
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    graph = _Graph(rng)
    word = graph.embedding("word", "words", words.vocabulary_size)
    letters = graph.embedding("character", "characters", characters.vocabulary_size)
    spelling = graph.node("ReduceSum", [letters, graph.constant("letter_axis", [2])], "spelling", keepdims=0)
    both = graph.node("Concat", [word, spelling], "word_and_spelling", axis=2)
    y = graph.recurrent("LSTM", graph.time_first(both, "steps"), 2 * EMBEDDING)[0]
    graph.dense(graph.batch_first(y, "encoded"), HIDDEN, len(labels), "emissions")
    inputs = [_ids("words", "batch", "time"), _ids("characters", "batch", "time", "chars"), _LENGTHS]
    spec = graph.save(folder / "tagger.onnx", inputs, [_floats("emissions", "batch", "time", len(labels))])
    return Manifest(
        name=name,
        version=version,
        task="tagging",
        options=TaggingOptions(scheme="bio"),
        graphs={"tagger": spec},
        labels=labels,
        limits=LIMITS,
        tokenizers={"words": "words.json", "characters": "characters.json"},
        scores=(Score(measure="f1", value=50.0, baseline=25.0, baseline_name="most frequent tag"),),
    )


def _classification(folder: Path, rng: np.random.Generator, name: str, version: str) -> Manifest:
    words = word_tokenizer()
    words.save(folder / "tokenizer.json")
    labels = ("greeting", "number", "other")
    graph = _Graph(rng)
    embedded = graph.embedding("token", "tokens", words.vocabulary_size)
    lengths = graph.node("Cast", ["lengths"], "lengths_int32", to=TensorProto.INT32)
    last = graph.recurrent("GRU", graph.time_first(embedded, "steps"), EMBEDDING, lengths)[1]
    pooled = graph.node("Squeeze", [last, graph.constant("direction_axis", [0])], "pooled")
    graph.dense(pooled, HIDDEN, len(labels), "logits")
    spec = graph.save(folder / "classifier.onnx", [_TOKENS, _LENGTHS], [_floats("logits", "batch", len(labels))])
    return Manifest(
        name=name,
        version=version,
        task="classification",
        options=ClassificationOptions(),
        graphs={"classifier": spec},
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
        state=(StateSpec(name="hidden", next_name="next_hidden", layers=1, width=HIDDEN),),
        limits=LIMITS,
        tokenizers={"source": "source.json", "target": "target.json"},
    )


_MEMORY = (_floats("memory", "batch", "time", HIDDEN), _floats("memory_keys", "batch", "time", HIDDEN))


def _encoder(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    graph = _Graph(rng)
    embedded = graph.embedding("token", "tokens", vocabulary_size)
    lengths = graph.node("Cast", ["lengths"], "lengths_int32", to=TensorProto.INT32)
    y, last = graph.recurrent("GRU", graph.time_first(embedded, "steps"), EMBEDDING, lengths)
    graph.dense(graph.batch_first(y, "memory"), HIDDEN, HIDDEN, "memory_keys")
    graph.node("Identity", [last], "next_hidden")
    return graph.save(folder / "encoder.onnx", [_TOKENS, _LENGTHS], [*_MEMORY, _state("next_hidden")])


def _decoder_step(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    """One GRU step, then dot attention over the memory, masked beyond each row's length."""
    graph = _Graph(rng)
    embedded = graph.embedding("token", "token", vocabulary_size)
    first, second = graph.constant("axis_0", [0]), graph.constant("axis_1", [1])
    step = graph.node("Unsqueeze", [embedded, first], "step")
    last = graph.recurrent("GRU", step, EMBEDDING, "", ["hidden"])[1]
    graph.node("Identity", [last], "next_hidden")
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
    scored = [_floats("logits", "batch", vocabulary_size), _floats("attention", "batch", "time")]
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
        state=(
            StateSpec(name="hidden", next_name="next_hidden", layers=1, width=HIDDEN),
            StateSpec(name="cell", next_name="next_cell", layers=1, width=HIDDEN),
        ),
        limits=LIMITS,
        tokenizers={"text": "tokenizer.json"},
    )


_STATES, _NEXT_STATES = (_state("hidden"), _state("cell")), (_state("next_hidden"), _state("next_cell"))


def _prompt(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    graph = _Graph(rng)
    embedded = graph.embedding("token", "tokens", vocabulary_size)
    lengths = graph.node("Cast", ["lengths"], "lengths_int32", to=TensorProto.INT32)
    y = _language_model(graph, graph.time_first(embedded, "steps"), lengths)
    graph.dense(graph.batch_first(y, "encoded"), HIDDEN, vocabulary_size, "logits")
    outputs = [_floats("logits", "batch", "time", vocabulary_size), *_NEXT_STATES]
    return graph.save(folder / "prompt.onnx", [_TOKENS, _LENGTHS, *_STATES], outputs)


def _step(folder: Path, rng: np.random.Generator, vocabulary_size: int) -> GraphSpec:
    """The same weights as `_prompt`, because the generator is seeded alike and asked in the same order."""
    graph = _Graph(rng)
    embedded = graph.embedding("token", "token", vocabulary_size)
    y = _language_model(graph, graph.node("Unsqueeze", [embedded, graph.constant("axis_0", [0])], "steps"))
    squeezed = graph.node("Squeeze", [y, graph.constant("axes", [0, 1])], "encoded")
    graph.dense(squeezed, HIDDEN, vocabulary_size, "logits")
    outputs = [_floats("logits", "batch", vocabulary_size), *_NEXT_STATES]
    return graph.save(folder / "step.onnx", [_TOKEN, *_STATES], outputs)


def _language_model(graph: _Graph, steps: str, lengths: str = "") -> str:
    y, hidden, cell = graph.recurrent("LSTM", steps, EMBEDDING, lengths, ["hidden", "cell"])
    graph.node("Identity", [hidden], "next_hidden")
    graph.node("Identity", [cell], "next_cell")
    return y


_BUILDERS: dict[TaskName, Callable[[Path, np.random.Generator, str, str], Manifest]] = {
    "tagging": _tagging,
    "classification": _classification,
    "translation": _translation,
    "generation": _generation,
}
