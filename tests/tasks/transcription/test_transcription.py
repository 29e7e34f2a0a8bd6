"""Transcripts are the same for a whole input, for any chunks of it, and beside any strangers; bad input is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import FloatArray
from service.errors import InferenceFailed, InvalidInput, StateRefused
from service.tasks.core.parameters import check_parameters
from service.tasks.core.task import Frames, PredictInput, Waveform
from service.tasks.transcription.speech_batch import PIECE_STEPS
from service.tasks.transcription.transcription import Transcription
from tests.tasks.transcription.builders import (
    CHARACTERS,
    FRAMES,
    NO_RUNNER,
    PER_STEP,
    RATE_HZ,
    LevelRunner,
    frames,
    sound,
    speech,
    speech_bundle,
)

TASK = Transcription(speech_bundle())
RATES = (RATE_HZ, 16_000, 11_025)
SPELLINGS = st.text(CHARACTERS + "-----", min_size=1, max_size=60)


def parameters(**given: Any) -> Any:
    return check_parameters(TASK.parameters_type, given)


def transcribe(value: PredictInput, task: Transcription = TASK, **given: Any) -> dict[str, Any]:
    example = task.preprocess(value, parameters(**given))
    (output,) = task.run(LevelRunner(), [example])
    answer: dict[str, Any] = task.plain_answer(example, output)
    return answer


class Reader:
    """Reads chunks of one input, with the state between them as an object or as bytes."""

    def __init__(self, as_bytes: bool = False, task: Transcription = TASK, **given: Any) -> None:
        self._task, self._as_bytes, self._parameters = task, as_bytes, parameters(**given)
        self.state: Any = None
        self.finished: list[dict[str, Any]] = []
        self.partial: list[dict[str, Any]] = []

    def example(self, value: PredictInput | None, is_last: bool = False) -> Any:
        return self._task.chunk(value, self._parameters, self.state, is_last)

    def note(self, example: Any, output: Any) -> None:
        answers = self._task.answers(self._task.plain_answer(example, output))
        self.finished += [answer for answer in answers if answer["is_final"]]
        self.partial = [answer for answer in answers if not answer["is_final"]]
        after = self._task.state_after(example, output)
        self.state = after.to_bytes() if self._as_bytes and after is not None else after

    def read(self, value: PredictInput | None, is_last: bool = False) -> None:
        example = self.example(value, is_last)
        (output,) = self._task.run(LevelRunner(), [example])
        self.note(example, output)

    @property
    def text(self) -> str:
        return " ".join(answer["text"] for answer in self.finished)


def at_rate(spelling: str, rate_hz: int) -> Waveform:
    """Sound at another rate, with something to hear between two of its samples."""
    seconds = len(speech(spelling)) / RATE_HZ
    times = np.arange(max(1, int(seconds * rate_hz))) / rate_hz
    samples = speech(spelling)[np.minimum((times * RATE_HZ).astype(int), len(speech(spelling)) - 1)]
    return Waveform(samples * np.float32(1.03), rate_hz)


def cut(samples: FloatArray, sizes: list[int]) -> list[FloatArray]:
    """Pieces whose sizes cycle through `sizes`."""
    pieces, start, turn = [], 0, 0
    while start < len(samples):
        pieces.append(samples[start : start + sizes[turn % len(sizes)]])
        start, turn = start + len(pieces[-1]), turn + 1
    return pieces


@settings(max_examples=25, deadline=None)
@given(
    spellings=st.lists(SPELLINGS, min_size=1, max_size=3),
    rate_hz=st.sampled_from(RATES),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4),
    as_bytes=st.booleans(),
    is_ended_alone=st.booleans(),
)
def test_a_whole_input_any_chunks_and_any_company_give_the_same_words(
    spellings: list[str], rate_hz: int, sizes: list[int], as_bytes: bool, is_ended_alone: bool
) -> None:
    sounds = [at_rate(spelling, rate_hz) for spelling in spellings]
    wholes = [transcribe(one, words=True) for one in sounds]
    examples = [TASK.preprocess(one, parameters(words=True)) for one in sounds]
    outputs = TASK.run(LevelRunner(), examples)
    assert [TASK.plain_answer(*pair) for pair in zip(examples, outputs, strict=True)] == wholes
    readers = [Reader(as_bytes, words=True) for _ in sounds]
    queues = [[*cut(one.samples, sizes), *([None] if is_ended_alone else [])] for one in sounds]
    while any(queues):
        live = [(reader, queue) for reader, queue in zip(readers, queues, strict=True) if queue]
        chunks = [
            reader.example(None if (piece := queue.pop(0)) is None else Waveform(piece, rate_hz), not queue)
            for reader, queue in live
        ]
        for (reader, _), chunk, output in zip(live, chunks, TASK.run(LevelRunner(), chunks), strict=True):
            reader.note(chunk, output)
    for reader, whole in zip(readers, wholes, strict=True):
        assert reader.text == whole["text"]
        words = [word for answer in reader.finished for word in answer["words"]]
        assert [(word["word"], word["confidence"]) for word in words] == [
            (word["word"], word["confidence"]) for word in whole["words"]
        ]
        assert reader.state is None
        assert all(answer["text"] for answer in reader.finished)


def test_frames_are_transcribed_whole_and_one_by_one_alike() -> None:
    task = Transcription(speech_bundle(FRAMES))
    whole, reader = transcribe(frames("ab-b cab--------c"), task), Reader(task=task, as_bytes=True)
    for frame in frames("ab-b cab--------c").values:
        reader.read(Frames(frame[None]))
    reader.read(None, is_last=True)
    assert whole["text"] == reader.text == "abb cab c"


def test_utterances_end_after_silence_and_partial_texts_count_from_their_start() -> None:
    reader, texts = Reader(), []
    for piece in cut(speech("ab-c--------b-a"), [PER_STEP]):
        reader.read(Waveform(piece, RATE_HZ))
        texts.append([(answer["text"], answer["is_final"]) for answer in (*reader.finished, *reader.partial)])
    assert texts[1] == [("a", False)]
    assert texts[4] == [("abc", False)]
    assert texts[-1] == [("abc", True), ("b", False)]
    (utterance,) = reader.finished
    assert (utterance["start_s"], utterance["end_s"]) == (0.01, 0.13)
    reader.read(None, is_last=True)
    assert [(answer["text"], answer["end_s"]) for answer in reader.finished] == [("abc", 0.13), ("ba", 0.15)]


@pytest.mark.parametrize(("endpoint_ms", "count"), [(80.0, 2), (40.0, 3), (200.0, 1), (0.0, 1)])
def test_the_silence_that_ends_an_utterance_is_a_parameter_and_zero_never_ends_one(
    endpoint_ms: float, count: int
) -> None:
    reader = Reader(endpoint_ms=endpoint_ms)
    reader.read(sound("ab----c--------d".replace("d", "a")), is_last=True)
    assert len(reader.finished) == count
    assert "".join(reader.text.split()) == "abca"


def test_an_utterance_without_silence_ends_in_any_case_and_at_a_pause_if_there_is_one() -> None:
    reader = Reader()
    reader.read(sound("ab" * 150), is_last=True)
    assert [len(answer["text"]) for answer in reader.finished] == [100, 100, 100]
    paused = Reader(endpoint_ms=0.0)
    paused.read(sound("ab" * 40 + "-" * 25 + "ab" * 20), is_last=True)
    assert [len(answer["text"]) for answer in paused.finished] == [80, 40]


def test_words_have_the_times_of_their_steps_and_the_mean_probability_of_their_tokens() -> None:
    answer = transcribe(sound("--ab-c a"), words=True)
    words = [(word["word"], word["start_s"], word["end_s"]) for word in answer["words"]]
    assert words == [("abc", 0.03, 0.07), ("a", 0.08, 0.08)]
    assert all(word["confidence"] == pytest.approx(0.9) for word in answer["words"])
    assert answer["confidence"] == pytest.approx(0.9)
    assert "words" not in transcribe(sound("a"))


@pytest.mark.parametrize("samples", [np.zeros(1), np.zeros(8000), np.full(1, 0.04), np.zeros(79)])
def test_silence_and_a_single_sample_are_heard_as_nothing(samples: Any) -> None:
    value = Waveform(samples.astype(np.float32), RATE_HZ)
    answer = transcribe(value)
    assert (answer["text"], answer["confidence"], answer["is_final"], answer["start_s"]) == ("", None, True, 0.0)
    assert answer["end_s"] == round(len(samples) / RATE_HZ, 3)
    reader = Reader()
    reader.read(value, is_last=True)
    assert reader.finished == reader.partial == []


def test_the_end_of_a_stream_without_any_sound_is_an_empty_answer() -> None:
    reader = Reader()
    reader.read(None, is_last=True)
    assert (reader.finished, reader.partial, reader.state) == ([], [], None)


def test_a_chunk_too_short_for_a_step_runs_nothing_and_is_kept() -> None:
    reader = Reader()
    example = reader.example(Waveform(speech("a")[:70], RATE_HZ))
    (output,) = TASK.run(NO_RUNNER, [example])
    reader.note(example, output)
    reader.read(Waveform(speech("a")[70:], RATE_HZ), is_last=True)
    assert reader.text == "a"


def test_a_long_input_is_read_in_pieces_and_a_short_one_does_not_wait_for_its_end() -> None:
    runner, batch = LevelRunner(), TASK.batch()
    long = TASK.preprocess(sound("ab-" * 300), parameters())
    batch.join([long])
    batch.advance(runner)
    short = TASK.chunk(sound("abc"), parameters(), None, False)
    batch.join([short])
    ended = [outcome.request for _ in range(2) for outcome in batch.advance(runner)]
    assert ended == [short]
    while not batch.is_idle:
        ended += [outcome.request for outcome in batch.advance(runner)]
    assert ended == [short, long]
    assert max(steps for _, steps in runner.runs) == PIECE_STEPS


def test_streams_with_chunks_of_one_size_share_each_run() -> None:
    runner = LevelRunner()
    chunks = [TASK.chunk(sound("abc"), parameters(), None, False) for _ in range(50)]
    TASK.run(runner, chunks)
    assert runner.runs == [(50, 3)]


def test_who_leaves_is_not_run_and_numbers_that_are_not_finite_fail_their_own_row() -> None:
    bad = Waveform(np.where(np.arange(400) == 300, np.nan, speech("abcab")).astype(np.float32), RATE_HZ)
    examples = [TASK.preprocess(value, parameters()) for value in (sound("ab"), bad, sound("ca"))]
    first, failed, last = TASK.run(LevelRunner(), examples)
    assert isinstance(failed, InferenceFailed)
    assert [TASK.plain_answer(examples[0], first)["text"], TASK.plain_answer(examples[2], last)["text"]] == ["ab", "ca"]
    with pytest.raises(InferenceFailed):
        TASK.state_after(examples[1], failed)
    batch = TASK.batch()
    batch.join(examples)
    batch.leave(examples[:2])
    assert (batch.num_rows, batch.clear(), batch.is_idle) == (1, examples[2:], True)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a text", "takes sound of 8000 Hz"),
        (Frames(np.zeros((2, 2), dtype=np.float32)), "not frames of numbers"),
        (Waveform(np.zeros(9, dtype=np.float32), 8), "the sample rate is 8 Hz"),
        (Waveform(np.zeros(9, dtype=np.float32), 1_000_000), "the sample rate is 1000000 Hz"),
        (Waveform(np.zeros(PER_STEP * 4001, dtype=np.float32), RATE_HZ), "lasts 40.01 s, this model takes at most 40"),
    ],
)
def test_input_of_another_kind_rate_or_length_is_refused(value: PredictInput, says: str) -> None:
    for encode in (lambda: TASK.preprocess(value, parameters()), lambda: TASK.chunk(value, parameters(), None, False)):
        with pytest.raises(InvalidInput, match=says):
            encode()


def test_frames_of_another_width_with_times_or_of_huge_numbers_are_refused() -> None:
    task = Transcription(speech_bundle(FRAMES))
    huge = Frames(np.array([[0.0, 0.0], [0.0, -3e38]], dtype=np.float32))
    wide = Frames(np.zeros((2, 3), dtype=np.float32))
    for value in (wide, huge, Frames(frames("ab").values, ("1", "2")), sound("a")):
        with pytest.raises(InvalidInput):
            task.preprocess(value, parameters())


def test_a_chunk_of_another_rate_is_refused() -> None:
    reader = Reader()
    reader.read(sound("ab"))
    with pytest.raises(InvalidInput, match="the sound so far had 8000 samples a second, this chunk has 16000"):
        reader.read(Waveform(speech("ab"), 16_000))


def some_state(rate_hz: int = 11_025) -> bytes:
    reader = Reader(as_bytes=True)
    reader.read(at_rate("ab ca", rate_hz))
    data: bytes = reader.state
    return data


@pytest.mark.parametrize("rate_hz", RATES)
def test_bytes_that_were_cut_or_changed_are_refused_or_read_without_any_other_error(rate_hz: int) -> None:
    """Whatever is cut off is missed. A changed byte is refused, unless it is within a number that may be another."""
    data, piece = some_state(rate_hz), Waveform(speech("ab"), rate_hz)
    for size in range(0, len(data), 7):
        with pytest.raises(StateRefused):
            TASK.chunk(piece, parameters(), data[:size], True)
    for place in range(0, len(data), 2):
        changed = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        with suppress(StateRefused, InvalidInput, InferenceFailed):
            example = TASK.chunk(piece, parameters(), changed, True)
            TASK.plain_answer(example, TASK.run(LevelRunner(), [example])[0])
    assert TASK.chunk(piece, parameters(), data, True).before.hearing.num_steps > 0


def test_a_state_stays_small_however_long_the_stream_is() -> None:
    """Ten minutes of talk without a pause: the state is bounded by the longest utterance."""
    reader, sizes = Reader(as_bytes=True), []
    for _ in range(20):
        reader.read(sound("ab" * 150))
        sizes.append(len(reader.state))
    assert max(sizes) < 2000
