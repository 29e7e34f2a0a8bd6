"""Translation: greedy decoding and beam search, batch invariance, attention and input validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pydantic_core import to_json

from service.bundle.manifest import Limits
from service.bundle.tokenizer import BOS, EOS
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array
from service.tasks.seq2seq.translation import Translation, TranslationAnswer, TranslationParameters
from tests.tasks.builders import STATE, WIDTH, ElmanRunner, FunctionRunner, translation_bundle

SOURCE = ("the", "cat", "sees", "a", "dog")
TARGET = ("die", "katze", "sieht", "einen", "hund")
VOCAB = 4 + len(TARGET)
TEXTS = ["the cat sees a dog", "a dog", "dog", "the dog sees the cat and the dog sees the cat", "who sees"]


@pytest.fixture
def task() -> Translation:
    return Translation(translation_bundle(SOURCE, TARGET))


def translate(
    task: Translation, texts: Sequence[str], parameters: Sequence[TranslationParameters], seed: int = 3
) -> list[TranslationAnswer]:
    pairs = zip(texts, parameters, strict=True)
    examples = [task.preprocess(text, choice) for text, choice in pairs]
    outputs = task.run(ElmanRunner(VOCAB, seed), examples)
    return [task.postprocess(example, output) for example, output in zip(examples, outputs, strict=True)]


def greedy_by_hand(task: Translation, text: str, max_steps: int, seed: int) -> str:
    """Greedy decoding with plain calls of the graphs, one token at a time."""
    runner = ElmanRunner(VOCAB, seed)
    source = np.array([task.preprocess(text, TranslationParameters()).source_ids])
    lengths = np.array([source.shape[1]])
    encoded = runner.run("encoder", {"tokens": source, "lengths": lengths})
    hidden, token, produced = encoded[STATE.next_name], BOS, list[int]()
    while len(produced) < max_steps:
        memory = {"memory": encoded["memory"], "memory_keys": encoded["memory_keys"], "lengths": lengths}
        outputs = runner.run("decoder_step", {"token": np.array([token]), STATE.name: hidden, **memory})
        hidden = outputs[STATE.next_name]
        token = int(outputs["logits"][0, EOS:].argmax()) + EOS
        if token == EOS:
            break
        produced.append(token)
    return " ".join(TARGET[token - 4] for token in produced)


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy_decoding_of_the_graphs(task: Translation, seed: int) -> None:
    parameters = TranslationParameters(num_beams=1, max_new_tokens=9)
    found = translate(task, TEXTS, [parameters] * len(TEXTS), seed)
    assert [answer.text for answer in found] == [greedy_by_hand(task, text, 9, seed) for text in TEXTS]


@pytest.mark.parametrize("seed", range(3))
def test_company_changes_nothing(task: Translation, seed: int) -> None:
    """Sentences of different lengths and parameters get the same translation in one batch as alone."""
    choices = [
        TranslationParameters(num_beams=beams, max_new_tokens=steps, length_penalty=penalty, return_attention=beams > 1)
        for beams, steps, penalty in [(1, 9, 1.0), (4, 12, 0.0), (16, 5, 2.0), (3, 20, 0.6), (2, 1, 1.0)]
    ]
    together = translate(task, TEXTS, choices, seed)
    for text, choice, answer in zip(TEXTS, choices, together, strict=True):
        (alone,) = translate(task, [text], [choice], seed)
        assert answer.text == alone.text
        assert answer.score == pytest.approx(alone.score, abs=1e-5)
        assert (answer.attention is None) == (alone.attention is None)
        if answer.attention and alone.attention:
            np.testing.assert_allclose(answer.attention.weights, alone.attention.weights, atol=1e-5)


def test_more_beams_never_score_less_than_greedy_without_length_penalty(task: Translation) -> None:
    """On these sentences, more beams never lower the score without length penalty."""
    scores = [
        [
            answer.score
            for answer in translate(task, TEXTS, [TranslationParameters(num_beams=n, length_penalty=0.0)] * 5)
        ]
        for n in (1, 8)
    ]
    assert all(wide >= narrow - 1e-6 for narrow, wide in zip(*scores, strict=True) if wide and narrow)


def test_attention_has_a_row_for_each_target_token_and_a_column_for_each_source_token(task: Translation) -> None:
    (answer, _) = translate(task, TEXTS[1:3], [TranslationParameters(return_attention=True, max_new_tokens=6)] * 2)
    assert answer.attention is not None
    assert answer.attention.source_tokens == ["a", "dog", "<eos>"]
    assert answer.attention.target_tokens == answer.text.split()
    weights = np.array(answer.attention.weights)
    assert weights.shape == (len(answer.text.split()), 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_attention_is_absent_unless_asked_for(task: Translation) -> None:
    (answer,) = translate(task, ["a dog"], [TranslationParameters()])
    assert answer.model_dump().keys() == {"text", "score"}


def test_the_manifest_decides_what_the_caller_leaves_open() -> None:
    task = Translation(translation_bundle(SOURCE, TARGET, num_beams=7, length_penalty=0.5))
    assert task.preprocess("a dog", TranslationParameters()).plan[:3] == (7, 24, 0.5)
    chosen = TranslationParameters(num_beams=1, max_new_tokens=3, length_penalty=0.0)
    assert task.preprocess("a dog", chosen).plan[:3] == (1, 3, 0.0)


def test_memory_is_copied_only_when_rows_change(task: Translation) -> None:
    """Encoder memory is not copied between steps unless a sentence leaves or adds beams."""
    elman = ElmanRunner(VOCAB, 3)

    def never_ends(feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = elman.decoder_step(feeds)
        outputs["logits"][:, EOS] = -50.0
        return outputs

    runner = FunctionRunner(encoder=elman.encoder, decoder_step=never_ends)
    task.run(runner, [task.preprocess("a dog", TranslationParameters(num_beams=3, max_new_tokens=8))])
    steps = [feeds for graph, feeds in runner.calls if graph == "decoder_step"]
    assert [len(feeds["token"]) for feeds in steps] == [1, *[3] * 7]
    assert len({id(feeds["memory"]) for feeds in steps}) == 2


def test_rows_attend_to_their_own_source_when_others_leave() -> None:
    """When one sentence ends and another gains a beam, each row attends to its own source."""
    task = Translation(translation_bundle(SOURCE, TARGET))
    elman = ElmanRunner(VOCAB, 3)

    def first_row_ends(feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = elman.decoder_step(feeds)
        outputs["logits"][:, EOS] = -50.0
        outputs["logits"][feeds["lengths"] == 2, EOS] = 50.0
        return outputs

    runner = FunctionRunner(encoder=elman.encoder, decoder_step=first_row_ends)
    choices = [TranslationParameters(num_beams=n, max_new_tokens=3) for n in (1, 2)]
    task.run(runner, [task.preprocess(text, choice) for text, choice in zip(["dog", TEXTS[0]], choices, strict=True)])
    lengths = [feeds["lengths"].tolist() for graph, feeds in runner.calls if graph == "decoder_step"]
    assert lengths == [[2, 6], [6, 6], [6, 6]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "empty"),
        ("\udc00", "surrogate"),
        ("a" * 1_000_000, "1000000 characters"),
        ("cat " * 65, "65 tokens"),
        (["the", "cat"], "not a list of words"),
    ],
)
def test_refused_inputs(task: Translation, value: str | list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        task.preprocess(value, TranslationParameters())
    assert caught.value.field == ()


def test_too_many_new_tokens_are_refused_with_the_limit() -> None:
    task = Translation(translation_bundle(SOURCE, TARGET, limits=Limits(max_new_tokens=10)))
    with pytest.raises(InvalidInput, match="at most 10") as caught:
        task.preprocess("a dog", TranslationParameters(max_new_tokens=11))
    assert caught.value.field == ("parameters", "max_new_tokens")


@pytest.mark.parametrize(
    "wrong",
    [{"num_beams": 0}, {"num_beams": 17}, {"max_new_tokens": 0}, {"length_penalty": -1}, {"length_penalty": "x"},
     {"length_penalty": float("nan")}, {"beams": 3}],
)  # fmt: skip
def test_refused_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TranslationParameters.model_validate(wrong)


def test_a_graph_of_another_vocabulary_fails(task: Translation) -> None:
    example = task.preprocess("a dog", TranslationParameters())
    (output,) = task.run(ElmanRunner(VOCAB + 1), [example])
    with pytest.raises(InferenceFailed, match="tokenizer has 9"):
        task.postprocess(example, output)


def test_plain_answers_are_the_answers_of_the_schema(task: Translation) -> None:
    """The fast encoder's JSON equals that of the schema, key by key."""
    for wishes in ({}, {"return_score": False, "num_beams": 1}, {"return_attention": True}):
        example = task.preprocess(TEXTS[0], TranslationParameters.model_validate(wishes))
        (output,) = task.run(ElmanRunner(VOCAB, 3), [example])
        written = to_json(task.plain_answer(example, output))
        assert written == task.postprocess(example, output).model_dump_json().encode()


def test_the_score_is_absent_if_declined(task: Translation) -> None:
    for beams in (1, 3):
        wanted, declined = (TranslationParameters(num_beams=beams, return_score=flag) for flag in (True, False))
        (scored, unscored) = translate(task, [TEXTS[0]] * 2, [wanted, declined])
        assert unscored.model_dump() == {"text": scored.text}
        assert scored.score is not None


def test_an_example_given_twice_is_answered_twice(task: Translation) -> None:
    example = task.preprocess("a dog", TranslationParameters())
    first, second = task.run(ElmanRunner(VOCAB, 3), [example, example])
    assert first is second


def test_numbers_that_are_not_finite_fail_that_example_alone(task: Translation) -> None:
    elman = ElmanRunner(VOCAB, 3)
    examples = [task.preprocess(text, TranslationParameters()) for text in ("a dog", "the cat")]
    encoded = elman.encoder
    runner = FunctionRunner(
        encoder=lambda feeds: {**encoded(feeds), STATE.next_name: np.array([[[np.nan] * WIDTH, [0.0] * WIDTH]])},
        decoder_step=elman.decoder_step,
    )
    failed, fine = task.run(runner, examples)
    assert task.postprocess(examples[1], fine).score < 0
    with pytest.raises(InferenceFailed, match="not finite"):
        task.postprocess(examples[0], failed)
