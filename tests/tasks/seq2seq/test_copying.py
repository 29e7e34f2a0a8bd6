"""The copy mechanism: the mixed distribution, the extended vocabulary, and answers with words of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, Manifest, TensorSpec
from service.bundle.task_options import TranslationOptions
from service.bundle.tokenizer import BOS, EOS, UNK, TextTokenizer
from service.errors import InferenceFailed
from service.tasks.core.task import Array
from service.tasks.seq2seq.copying import CopyStep, extended_ids, readable_ids
from service.tasks.seq2seq.translation import Translation, TranslationAnswer, TranslationParameters
from tests.tasks.builders import STATE, WIDTH, ElmanRunner, translation_bundle
from training.config.recipe import TokenizerConfig
from training.preprocessing.vocabulary import word_tokenizer

SOURCE = ("who", "teaches", "show", "me", "000")
TARGET = ("SELECT", "WHERE", "=", '"', "\uffed%\uffed", "me")
SIZE = 4 + len(TARGET)


def tokenizer(words: Sequence[str], **changes: bool) -> TextTokenizer:
    return TextTokenizer(word_tokenizer(words, TokenizerConfig(cut="code", **changes)))


def copying_bundle() -> Bundle:
    made = translation_bundle((), ())
    step = GraphSpec(
        file="x", inputs=(), outputs=(TensorSpec(name="generate_logit", dtype="float32", shape=("batch",)),)
    )
    options = made.manifest.options.model_copy(update={"copying": True})
    manifest = made.manifest.model_copy(
        update={"options": options, "graphs": {**made.manifest.graphs, "decoder_step": step}}
    )
    tokenizers = {"source": tokenizer(SOURCE), "target": tokenizer(TARGET, lowercase=False, zero_digits=False)}
    return Bundle(made.path, manifest, tokenizers)


@pytest.fixture(scope="module")
def task() -> Translation:
    return Translation(copying_bundle())


class CopyRunner(ElmanRunner):
    """The random network with a gate that depends on its state."""

    def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert feeds["token"].max() < SIZE, "the decoder never reads an extended id"
        outputs = super().decoder_step(feeds)
        return {**outputs, "generate_logit": outputs[STATE.next_name][0].sum(axis=1) - 1.0}


class SpellingRunner(CopyRunner):
    """Copies the source word by word, then ends: all attention on the position that equals the step."""

    def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        step = feeds[STATE.name][0, :, 0].astype(int)
        attention = np.zeros(feeds["memory"].shape[:2], dtype=np.float32)
        attention[np.arange(len(step)), np.minimum(step, feeds["lengths"] - 1)] = 1.0
        logits = np.zeros((len(step), SIZE), dtype=np.float32)
        logits[:, UNK], logits[:, EOS] = 9.0, -9.0
        gate = np.full(len(step), -9.0, dtype=np.float32)
        following = np.broadcast_to((step + 1.0)[None, :, None], (1, len(step), WIDTH)).astype(np.float32)
        return {"logits": logits, "attention": attention, "generate_logit": gate, STATE.next_name: following}

    def encoder(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        encoded = super().encoder(feeds)
        return {**encoded, STATE.next_name: np.zeros_like(encoded[STATE.next_name])}


def answers(task: Translation, runner: Any, texts: Sequence[str], **parameters: Any) -> list[TranslationAnswer]:
    chosen = TranslationParameters(**parameters)
    examples = [task.preprocess(text, chosen) for text in texts]
    outputs = task.run(runner, examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


def step_of(rows: int = 3, vocabulary: int = 9, time: int = 4, seed: int = 1) -> tuple[Array, Array, Array, Array]:
    draw = np.random.default_rng(seed)
    attention = draw.dirichlet(np.ones(time), size=rows).astype(np.float32)
    copy_ids = draw.integers(3, vocabulary + 2, size=(rows, time))
    logits, gate = draw.normal(size=(rows, vocabulary)), draw.normal(size=rows)
    return logits.astype(np.float32), gate.astype(np.float32), attention, copy_ids


def test_the_mixture_is_that_of_the_formula() -> None:
    """Each probability is g softmax + (1 - g) attention to the positions that hold the word; rows sum to 1."""
    logits, gate, attention, copy_ids = step_of()
    found = np.exp(CopyStep.of(logits, gate, attention, copy_ids).scores)
    assert found.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    for row in range(3):
        generate = 1 / (1 + np.exp(-gate[row]))
        softmax = np.exp(logits[row]) / np.exp(logits[row]).sum()
        for word in range(found.shape[1]):
            expected = generate * softmax[word] if word < logits.shape[1] else 0.0
            expected += (1 - generate) * attention[row, copy_ids[row] == word].sum()
            assert found[row, word] == pytest.approx(expected, abs=1e-6)


def test_numbers_beyond_float32_do_not_break_a_row_but_nan_does() -> None:
    """Gates and logits of any finite size give finite scores; a NaN makes the whole row NaN, and no other."""
    logits, gate, attention, copy_ids = step_of()
    gate[:] = [-1e30, 1e30, 0.0]
    logits[2, 0] = 3e38
    assert np.isfinite(CopyStep.of(logits, gate, attention, copy_ids).scores).all()
    logits[1, 4] = np.nan
    broken = np.isnan(CopyStep.of(logits, gate, attention, copy_ids).scores)
    assert broken.any(axis=1).tolist() == [False, True, False]


def test_a_token_comes_from_where_most_of_it_comes_from() -> None:
    """The origin is the position with most attention among those that hold the token, if copying is more likely."""
    attention = np.array([[0.2, 0.5, 0.3]], dtype=np.float32)
    step = CopyStep.of(np.zeros((1, 6), np.float32), np.array([0.0], np.float32), attention, np.array([[5, 4, 5]]))
    rows = np.zeros(3, dtype=np.int64)
    assert step.origins(rows, np.array([5, 4, 3])).tolist() == [2, 1, -1]
    sure = CopyStep.of(np.zeros((1, 6), np.float32), np.array([9.0], np.float32), attention, np.array([[5, 4, 5]]))
    assert sure.origins(rows, np.array([5, 4, 3])).tolist() == [-1, -1, -1]


def test_unknown_words_are_numbered_by_where_they_stand_first() -> None:
    """Known words have their ids; an unknown one the size of the vocabulary plus its first position."""
    target = tokenizer(TARGET, lowercase=False, zero_digits=False)
    words = target.words("me EECS 492 EECS <unk> Me")
    assert words == ["me", "EECS", "492", "EECS", "<\uffed", "unk", "\uffed>", "Me"]
    ids = extended_ids(target, words)
    assert ids == [4 + TARGET.index("me"), SIZE + 1, SIZE + 2, SIZE + 1, *range(SIZE + 4, SIZE + 8)]
    assert extended_ids(target, ["<unk>", "<pad>"]) == [SIZE, SIZE + 1]
    assert readable_ids(np.array([BOS, 5, SIZE + 2]), SIZE).tolist() == [BOS, 5, UNK]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_words_are_copied_as_they_were_written(task: Translation, num_beams: int) -> None:
    """Unknown words keep case and digits though the encoder reads neither, marks join, and <unk> is never written."""
    text = 'Who teaches  "%EECS%"  492 ?'
    (answer,) = answers(task, SpellingRunner(SIZE), [text], num_beams=num_beams)
    assert answer.text == 'Who teaches "%EECS%" 492 ?'
    assert answer.copied is not None
    spans = [(answer.text[c.start : c.end], text[c.source_start : c.source_end]) for c in answer.copied]
    assert spans == [(word, word) for word in ("Who", "teaches", '"', "%", "EECS", "%", '"', "492", "?")]


def test_attention_names_the_words_as_written(task: Translation) -> None:
    """The tokens of the attention are the source's own words, copied ones too, one row of weights for each."""
    (answer,) = answers(task, SpellingRunner(SIZE), ["Show me EECS 492"], return_attention=True)
    assert answer.attention is not None
    assert answer.attention.source_tokens == ["Show", "me", "EECS", "492", "<eos>"]
    assert answer.attention.target_tokens == ["Show", "me", "EECS", "492"]
    assert np.argmax(answer.attention.weights, axis=1).tolist() == [0, 1, 2, 3]


def test_the_last_token_before_the_limit_has_its_origin_too(task: Translation) -> None:
    """A text that is cut off at the limit still says where each of its words is from."""
    (answer,) = answers(task, SpellingRunner(SIZE), ["a b c d"], max_new_tokens=2)
    assert answer.text == "a b"
    assert [copied.source_start for copied in answer.copied or []] == [0, 2]


@pytest.mark.parametrize("seed", range(3))
def test_company_changes_nothing(task: Translation, seed: int) -> None:
    """Sentences of different lengths, whose unknown words have the same ids, are answered in a batch as alone."""
    texts = ["who teaches X1 and Y2 and Z3 to me", "show X9", "Q", "teaches A B C D E F G H"]
    for beams in (1, 4):
        together = answers(task, CopyRunner(SIZE, seed), texts, num_beams=beams, max_new_tokens=12)
        alone = [answers(task, CopyRunner(SIZE, seed), [text], num_beams=beams, max_new_tokens=12)[0] for text in texts]
        assert [answer.text for answer in together] == [answer.text for answer in alone]
        assert [answer.copied for answer in together] == [answer.copied for answer in alone]
        assert not any("<unk>" in answer.text for answer in together)
        scores = [[answer.score for answer in found] for found in (together, alone)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_gate_that_is_no_number_fails_its_sentence(task: Translation) -> None:
    """A NaN in the gate is an error of inference, as one in the logits is."""

    class Broken(CopyRunner):
        def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            outputs = super().decoder_step(feeds)
            return {**outputs, "generate_logit": outputs["generate_logit"] * np.nan}

    with pytest.raises(InferenceFailed, match="not finite"):
        answers(task, Broken(SIZE), ["show me"])


def test_a_model_that_does_not_copy_says_nothing_of_it() -> None:
    """The answer of any other translator has no field `copied`."""
    plain = Translation(translation_bundle(("a",), ("b",)))
    example = plain.preprocess("a", TranslationParameters(max_new_tokens=3))
    (output,) = plain.run(ElmanRunner(5), [example])
    assert "copied" not in plain.postprocess(example, output).model_dump()
    assert "copied" not in plain.plain_answer(example, output)


def test_a_manifest_that_copies_needs_the_gate() -> None:
    """A bundle with `copying` whose step graph has no `generate_logit` is refused with the name of what is missing."""
    values = copying_bundle().manifest.model_dump()
    assert isinstance(Manifest.model_validate(values).options, TranslationOptions)
    values["graphs"]["decoder_step"]["outputs"] = ()
    with pytest.raises(ValidationError, match=r"'decoder_step' lacks the outputs.*generate_logit"):
        Manifest.model_validate(values)


def test_the_end_token_of_a_source_is_never_a_word(task: Translation) -> None:
    """Attention to the source's end counts as the end of the text."""
    example = task.preprocess("show me", TranslationParameters())
    assert example.copy_ids[-1] == EOS
    (answer,) = answers(task, SpellingRunner(SIZE), ["show me"])
    assert answer.text == "show me"
