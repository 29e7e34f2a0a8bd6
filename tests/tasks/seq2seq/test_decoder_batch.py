"""The decoder's running batch: sentences that join, leave and fail at any step do not affect each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest

from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed, UnrollError
from service.inference.engines.open_bundle import open_bundle
from service.tasks.core.task import Array, Runner
from service.tasks.seq2seq.decoder_batch import DecoderBatch
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions
from service.tasks.seq2seq.translation import Translation, TranslationExample, TranslationParameters, source_feeds
from tests.tasks.builders import STATE, ElmanRunner
from tests.tiny_bundles import WORDS, write_tiny_bundle

VOCAB = 12
Ends = dict[TranslationExample, Hypothesis | UnrollError]


class FailingRunner:
    """A runner that fails the runs with given numbers and records the names of all graphs."""

    def __init__(self, runner: Runner, failing: Iterable[int] = ()) -> None:
        self.runner, self.failing = runner, set(failing)
        self.graphs: list[str] = []
        self.sizes: list[int] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.graphs.append(graph)
        self.sizes.append(len(feeds["lengths"]))
        if len(self.graphs) - 1 in self.failing:
            raise InferenceFailed(f"run {len(self.graphs) - 1}")
        return self.runner.run(graph, feeds)


class EndlessRunner(ElmanRunner):
    """A runner that never proposes the end token and keeps the outputs of its last step."""

    outputs: dict[str, Array]

    def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.outputs = super().decoder_step(feeds)
        self.outputs["logits"][:, EOS] = -50.0
        return self.outputs


def new_batch() -> DecoderBatch[TranslationExample]:
    return DecoderBatch(source_feeds, [STATE], VOCAB)


def example(length: int, plan: SearchOptions, seed: int = 0) -> TranslationExample:
    ids = np.random.default_rng(seed).integers(4, 64, size=length).tolist()
    return TranslationExample(ids, [str(number) for number in ids], plan)


def random_example(random: Random) -> TranslationExample:
    plan = SearchOptions(
        num_beams=random.choice([1, 1, 1, 2, 4, 7]),
        max_steps=random.randint(1, 15),
        length_penalty=random.choice([0.0, 0.6, 1.0]),
        wants_score=random.random() < 0.7,
        keeps_attention=random.random() < 0.3,
    )
    return example(random.randint(1, random.choice([5, 25])), plan, random.randrange(1000))


def advance(batch: DecoderBatch[TranslationExample], runner: Runner, ends: Ends) -> None:
    for outcome in batch.advance(runner):
        assert outcome.finished
        assert outcome.request not in ends, "a sentence ends once"
        end = outcome.error or outcome.product
        assert isinstance(end, Hypothesis | UnrollError)
        ends[outcome.request] = end


def finish(batch: DecoderBatch[TranslationExample], runner: Runner) -> Ends:
    ends: Ends = {}
    while not batch.is_idle:
        advance(batch, runner, ends)
    assert batch.num_rows == 0
    return ends


def alone(wanted: TranslationExample, runner: Runner) -> Hypothesis | UnrollError:
    batch = new_batch()
    batch.join([wanted])
    return finish(batch, runner)[wanted]


def assert_same(found: Hypothesis | UnrollError, expected: Hypothesis | UnrollError) -> None:
    assert isinstance(found, Hypothesis)
    assert isinstance(expected, Hypothesis)
    assert (found.tokens, found.score) == (expected.tokens, expected.score)
    np.testing.assert_array_equal(found.attention, expected.attention)


@pytest.mark.parametrize("seed", range(12))
def test_random_company_changes_nothing(seed: int) -> None:
    """Sentences that join and leave a running batch at random get the same result as alone, bit for bit."""
    random = Random(seed)
    waiting = everyone = [random_example(random) for _ in range(25)]
    elman = ElmanRunner(VOCAB, seed)
    runner = FailingRunner(elman, [random.randint(5, 60) for _ in range(2)])
    batch, ends, left = new_batch(), Ends(), set[TranslationExample]()
    while waiting or not batch.is_idle:
        size = random.randint(0, 4)
        joining, waiting = waiting[:size], waiting[size:]
        batch.join(joining)
        present = [one for one in everyone if one not in waiting and one not in ends and one not in left]
        assert batch.num_rows == sum(one.num_rows for one in present)
        leaving = [one for one in present if random.random() < 0.01]
        batch.leave(leaving)
        left |= set(leaving)
        advance(batch, runner, ends)
    assert ends.keys() | left == set(everyone)
    assert not ends.keys() & left
    found = {one: end for one, end in ends.items() if isinstance(end, Hypothesis)}
    assert len(found) > 5
    for one, end in found.items():
        assert_same(end, alone(one, elman))


def test_the_encoder_takes_turns_with_the_steps() -> None:
    """Encoder runs for joining sentences alternate with decode steps."""
    runner, batch = FailingRunner(ElmanRunner(VOCAB)), new_batch()
    batch.join([example(5, SearchOptions(1, 9, 1.0))])
    batch.advance(runner)
    batch.advance(runner)
    batch.join([example(length, SearchOptions(1, 1, 1.0)) for length in (4, 40, 15, 5, 41)])
    for _ in range(5):
        batch.advance(runner)
    assert runner.graphs == ["encoder", "decoder_step"] + ["encoder", "decoder_step"] * 2 + ["encoder"]
    assert runner.sizes[2::2] == [2, 2, 1], "the oldest is encoded first, with those near it in length"


def test_a_trickle_of_sentences_is_encoded_every_few_steps() -> None:
    """The first waiting sentence is encoded at once; later ones wait a few steps to be encoded together."""
    runner, batch = FailingRunner(EndlessRunner(VOCAB)), new_batch()
    batch.join([example(5, SearchOptions(1, 30, 1.0), seed) for seed in range(60)])
    for step in range(16):
        if step > 5:
            batch.join([example(5, SearchOptions(1, 1, 1.0), step)])
        batch.advance(runner)
    assert [number for number, graph in enumerate(runner.graphs) if graph == "encoder"] == [0, 6, 9, 12, 15]
    assert [runner.sizes[number] for number in (6, 9)] == [1, 3]


def test_a_long_queue_is_encoded_in_parts() -> None:
    runner, batch = FailingRunner(ElmanRunner(VOCAB)), new_batch()
    batch.join([example(60, SearchOptions(1, 1, 1.0), seed) for seed in range(60)])
    finish(batch, runner)
    encoded = [size for graph, size in zip(runner.graphs, runner.sizes, strict=True) if graph == "encoder"]
    assert sum(encoded) == 60
    assert max(encoded) * 60 <= 2048


def test_a_failed_encoder_run_fails_only_those_that_were_to_be_encoded() -> None:
    elman, batch = ElmanRunner(VOCAB, 3), new_batch()
    live, joining = example(6, SearchOptions(2, 12, 1.0)), [example(3, SearchOptions(1, 5, 1.0), n) for n in range(2)]
    runner = FailingRunner(elman, [2])
    batch.join([live])
    batch.advance(runner)
    batch.advance(runner)
    batch.join(joining)
    outcomes = batch.advance(runner)
    assert [outcome.request for outcome in outcomes] == joining
    assert all(str(outcome.error) == "run 2" for outcome in outcomes)
    assert_same(finish(batch, runner)[live], alone(live, elman))


def test_a_failed_step_fails_only_those_that_were_stepped() -> None:
    elman, batch = ElmanRunner(VOCAB, 3), new_batch()
    live, joining = [example(6, SearchOptions(n, 12, 1.0), n) for n in (1, 3)], example(3, SearchOptions(2, 8, 1.0))
    runner = FailingRunner(elman, [1])
    batch.join(live)
    batch.advance(runner)
    batch.join([joining])
    outcomes = batch.advance(runner)
    assert [outcome.request for outcome in outcomes] == live
    assert all(str(outcome.error) == "run 1" for outcome in outcomes)
    assert_same(finish(batch, runner)[joining], alone(joining, elman))


def test_a_cleared_batch_names_everyone_and_starts_anew() -> None:
    elman, batch = ElmanRunner(VOCAB, 3), new_batch()
    live, joining = example(6, SearchOptions(3, 12, 1.0)), example(3, SearchOptions(2, 8, 1.0))
    batch.join([live])
    batch.advance(elman)
    batch.advance(elman)
    batch.join([joining])
    assert batch.clear() == [joining, live]
    assert batch.is_idle
    assert batch.advance(elman) == []
    batch.join([live])
    assert_same(finish(batch, elman)[live], alone(live, elman))


def test_one_beam_never_moves_its_state() -> None:
    """While no row joins or leaves, greedy decoding feeds the state arrays of the last step without copies."""

    class Watching(EndlessRunner):
        def decoder_step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            if hasattr(self, "outputs"):
                assert feeds[STATE.name] is self.outputs[STATE.next_name]
            return super().decoder_step(feeds)

    batch, runner = new_batch(), Watching(VOCAB)
    batch.join([example(5, SearchOptions(1, 6, 1.0), seed) for seed in range(3)])
    assert all(isinstance(end, Hypothesis) and len(end.tokens) == 6 for end in finish(batch, runner).values())


def test_graphs_translate_the_same_in_company(tmp_path: Path) -> None:
    """With real graphs, batched translation gives the same tokens as alone, and scores within tolerance."""
    opened = open_bundle(write_tiny_bundle(tmp_path, "translation"), threads=1)
    task, random = opened.task, Random(1)
    assert isinstance(task, Translation)
    texts = [" ".join(random.choices(WORDS, k=random.randint(1, 20))) for _ in range(20)]
    choices = [TranslationParameters(num_beams=random.choice([1, 2, 5])) for _ in texts]
    examples = [task.preprocess(text, choice) for text, choice in zip(texts, choices, strict=True)]
    batch, ends, waiting = task.batch(), Ends(), list(examples)
    while waiting or not batch.is_idle:
        batch.join([waiting.pop() for _ in range(min(len(waiting), random.randint(0, 3)))])
        advance(batch, opened.runner, ends)
    for one, answer in zip(examples, (task.run(opened.runner, [one])[0] for one in examples), strict=True):
        found = task.postprocess(one, ends[one])
        expected = task.postprocess(one, answer)
        assert found.text == expected.text
        assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_a_short_sentence_waits_for_two_runs_beside_many_long_ones() -> None:
    """Long sentences are waiting to be encoded and others are decoded: a short one is encoded within three runs."""
    plan = SearchOptions(num_beams=1, max_steps=50, length_penalty=0.0, wants_score=False, keeps_attention=False)
    runner = FailingRunner(EndlessRunner(VOCAB, seed=1))
    batch, ends = new_batch(), Ends()
    batch.join([example(100, plan, number) for number in range(60)])
    for _ in range(3):
        advance(batch, runner, ends)
    small = example(4, plan)
    batch.join([small])
    before = len(runner.graphs)
    for _ in range(3):
        advance(batch, runner, ends)
    encoded = [
        size for graph, size in zip(runner.graphs[before:], runner.sizes[before:], strict=True) if graph == "encoder"
    ]
    assert 1 in encoded
