"""Chunked reading: results equal those of the whole text, and the state between chunks is validated."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.manifest import Manifest, StateSpec
from service.bundle.task_options import ClassificationOptions
from service.errors import InferenceFailed, InvalidInput, StateRefused
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.tasks.core.chunk_state import ChunkState, RowState, require_chunks
from service.tasks.core.parameters import check_parameters
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.state_bytes import StateKind
from service.tasks.recorded import differences
from tests.tasks.builders import bundle, tagging_bundle, translation_bundle, word_tokenizer
from tests.tiny_bundles import WORDS, write_tiny_bundle

SPECS = tuple(StateSpec(name=name, next_name=f"next_{name}", layers=2, width=3) for name in ("hidden", "cell"))
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), min_size=1, max_size=4)


def some_state(num_tokens: int = 7) -> ChunkState:
    random = np.random.default_rng(0)
    arrays = {spec.name: random.normal(size=(2, 1, 3)).astype(np.float32) for spec in SPECS}
    return ChunkState(RecurrentState(arrays), num_tokens)


def test_bytes_bring_back_the_state_to_the_bit() -> None:
    """State and token count survive a round trip through bytes, and equal states give equal bytes."""
    state = some_state()
    data = state.to_bytes()
    found = ChunkState.from_bytes(data, SPECS)
    assert found.num_tokens == 7
    assert all(np.array_equal(found.recurrent.arrays[s.name], state.recurrent.arrays[s.name]) for s in SPECS)
    assert found.to_bytes() == data


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"", id="nothing"),
        pytest.param(lambda data: data[:-1], id="cut"),
        pytest.param(lambda data: data + b"\0", id="longer"),
        pytest.param(lambda data: data[:5] + bytes([StateKind.GENERATION]) + data[6:], id="another kind"),
        pytest.param(lambda data: data[:4] + b"\1" + data[5:], id="another version"),
        pytest.param(lambda data: struct.pack("<4sQ", b"UCS1", 7) + data[24:-8], id="as written before version 2"),
        pytest.param(lambda data: data[:-12] + struct.pack("<f", float("nan")) + data[-8:], id="not a number"),
        pytest.param(lambda data: data[:-12] + struct.pack("<f", float("inf")) + data[-8:], id="infinite"),
        pytest.param(lambda data: data[:-8] + bytes(8), id="no tokens"),
        pytest.param(lambda data: data[:-8] + b"\xff" * 8, id="too many tokens"),
    ],
)
def test_bytes_that_are_no_state_are_refused(change: Any) -> None:
    """Only the exact bytes of a valid state are accepted."""
    with pytest.raises(StateRefused) as caught:
        ChunkState.from_bytes(change(some_state().to_bytes()), SPECS)
    assert caught.value.reason == "malformed"


def test_the_state_of_another_size_is_refused() -> None:
    """The state of a model with fewer layers is refused."""
    wider = tuple(spec.model_copy(update={"layers": 3}) for spec in SPECS)
    with pytest.raises(StateRefused):
        ChunkState.from_bytes(some_state().to_bytes(), wider)


def test_a_state_that_is_not_finite_is_never_handed_out() -> None:
    """A state that is not finite is never returned, because it would corrupt all following chunks."""
    arrays = {"hidden": np.array([[[0.0] * 3, [np.nan] * 3]], dtype=np.float32)}
    states = RecurrentState(arrays)
    assert RowState(states, 0).chunk_state(None, 4).num_tokens == 4
    with pytest.raises(InferenceFailed, match="not of finite numbers"):
        RowState(states, 1).chunk_state(None, 4)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OpenBundle]:
    """A forward-only tagger and a forward-only classifier on onnxruntime."""
    root: Path = tmp_path_factory.mktemp("chunks")
    tasks = ("tagging", "classification")
    return {task: open_bundle(write_tiny_bundle(root, task, reads_chunks=True), "cpu", 1) for task in tasks}


def read(bundle_in_use: OpenBundle, parts: list[tuple[list[str], bytes]]) -> list[tuple[dict[str, Any], bytes]]:
    """The answers to chunks that share one batch, and the states after them; b"" starts a text."""
    task: Any = bundle_in_use.task
    parameters = check_parameters(task.parameters_type, {})
    examples = [task.chunk(words, parameters, data or None, False) for words, data in parts]
    pairs = list(zip(examples, task.run(bundle_in_use.runner, examples), strict=True))
    return [(task.plain_answer(e, o), task.state_after(e, o).to_bytes()) for e, o in pairs]


def read_in_chunks(in_use: OpenBundle, texts: list[list[str]], cuts: list[int]) -> list[list[dict[str, Any]]]:
    """Read each text in chunks whose sizes cycle through `cuts`; texts with words left share the next batch."""
    left, states = dict(enumerate(texts)), dict.fromkeys(range(len(texts)), b"")
    answers: list[list[dict[str, Any]]] = [[] for _ in texts]
    for turn in range(sum(map(len, texts))):
        sizes = {row: cuts[(row + turn) % len(cuts)] for row in left}
        outcomes = read(in_use, [(left[row][: sizes[row]], states[row]) for row in left]) if left else []
        for row, (answer, state) in zip(list(left), outcomes, strict=True):
            answers[row].append(answer)
            states[row], left[row] = state, left[row][sizes[row] :]
        left = {row: words for row, words in left.items() if words}
    return answers


@settings(max_examples=25, deadline=None)
@given(texts=TEXTS, cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_tagger_gives_every_chunk_the_tags_of_the_whole(
    opened: dict[str, OpenBundle], texts: list[list[str]], cuts: list[int]
) -> None:
    """Every word gets the same tag and score however the text is chunked and batched."""
    tagger = opened["tagging"]
    for words, chunks in zip(texts, read_in_chunks(tagger, texts, cuts), strict=True):
        ((whole, _),) = read(tagger, [(words, b"")])
        found = [token for chunk in chunks for token in chunk["tokens"]]
        assert differences(whole["tokens"], found, 1e-6) == []


@settings(max_examples=25, deadline=None)
@given(texts=TEXTS, cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_a_classifier_labels_all_that_was_read(
    opened: dict[str, OpenBundle], texts: list[list[str]], cuts: list[int]
) -> None:
    """The answer to the last chunk equals the answer to the whole text."""
    classifier = opened["classification"]
    for words, chunks in zip(texts, read_in_chunks(classifier, texts, cuts), strict=True):
        ((whole, _),) = read(classifier, [(words, b"")])
        assert differences(whole, chunks[-1], 1e-6) == []


def test_the_state_matters_and_counts_its_tokens(opened: dict[str, OpenBundle]) -> None:
    """The second chunk's answer depends on the state, and token counts add up."""
    for in_use in opened.values():
        ((_, state),) = read(in_use, [(["the", "cat"], b"")])
        ((resumed, after),) = read(in_use, [(["sat"], state)])
        ((fresh, _),) = read(in_use, [(["sat"], b"")])
        assert resumed != fresh
        assert ChunkState.from_bytes(after, in_use.bundle.manifest.state).num_tokens == 3


def test_offsets_count_from_the_start_of_the_chunk(opened: dict[str, OpenBundle]) -> None:
    """Raw text is tokenized per chunk, and offsets count from the start of the chunk."""
    ((_, state),) = read(opened["tagging"], [(["hello"], b"")])
    task: Any = opened["tagging"].task
    example = task.chunk("a mat", check_parameters(task.parameters_type, {}), state, False)
    (output,) = task.run(opened["tagging"].runner, [example])
    assert [(token.start, token.end) for token in task.postprocess(example, output).tokens] == [(0, 1), (2, 5)]


CRF = tagging_bundle(["a"], ["X", "Y"], decoder="crf", transitions=np.zeros((3, 3), dtype=np.float32))
WHOLE_ONLY = [
    (CRF.manifest, "chooses all tags of a sentence together"),
    (tagging_bundle(["a"], ["X", "Y"]).manifest, "reads its input in both directions"),
    (bundle(ClassificationOptions(), {"text": word_tokenizer(["a"])}, ["X"]).manifest, "weighs the whole of it"),
    (translation_bundle(["a"], ["b"]).manifest, "looks at the whole text"),
]


@pytest.mark.parametrize(("manifest", "reason"), WHOLE_ONLY)
def test_a_bundle_that_reads_whole_texts_says_why(manifest: Manifest, reason: str) -> None:
    """The refusal names the model, the reason and the request field."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        require_chunks(manifest, ("return_state",))
    assert caught.value.message.startswith(manifest.name)
    assert caught.value.field == ("return_state",)


def test_a_task_without_state_neither_resumes_nor_hands_one_out(tmp_path: Path) -> None:
    """A task without state raises on resume and on a request for state instead of ignoring them."""
    for name in ("tagging", "classification"):
        in_use = open_bundle(write_tiny_bundle(tmp_path, name), "cpu", 1)  # type: ignore[arg-type]
        task: Any = in_use.task
        parameters = check_parameters(task.parameters_type, {})
        example = task.preprocess("hello world", parameters)
        (output,) = task.run(in_use.runner, [example])
        with pytest.raises(InvalidInput):
            task.chunk("hello world", parameters, some_state().to_bytes(), False)
        with pytest.raises(InvalidInput):
            task.state_after(example, output)
