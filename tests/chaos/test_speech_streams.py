"""Many streams of speech at once: every message is answered with the text of the whole, and none holds up others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import numpy as np
import pytest

from service.bundle.padding import FloatArray
from service.inference.scheduling import continuous_batcher, fair_share
from service.tasks.core.task import Waveform
from tests.chaos.speech_streams import Service, SpeechClient
from tests.conftest import PATIENCE_S, until
from tests.tasks.transcription.builders import PER_STEP, RATE_HZ, speech

NUM_STREAMS = 24
START = {"type": "start", "model": "levels", "encoding": "pcm_f32le"}
END = {"type": "end"}
#: Runs until a piece is answered that comes while others are read: the one under way, one that is led by the other,
#: and its own.
MOST_RUNS = 3


def with_service(test: Callable[[Service], Awaitable[None]], num_lanes: int = 1) -> None:
    async def run() -> None:
        service = Service(num_lanes)
        try:
            await asyncio.wait_for(test(service), PATIENCE_S)
        finally:
            await service.close()

    asyncio.run(run())


def random_sound(chance: np.random.Generator) -> FloatArray:
    """Words and silences, up to four seconds, and part of a step at the end."""
    spelling = "".join(chance.choice(list("abc --"), size=chance.integers(0, 400)))
    return np.append(speech(spelling), speech("b")[: chance.integers(0, PER_STEP)]).astype(np.float32)


def cut(data: bytes, chance: np.random.Generator) -> list[bytes]:
    """Anywhere, also within a number, and into few pieces or many."""
    places = np.sort(chance.integers(0, len(data) + 1, chance.choice([0, 3, 60]))).tolist()
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize(("seed", "num_lanes"), [(1, 1), (2, 2)])
def test_each_of_many_inputs_is_answered_with_the_text_of_the_whole(seed: int, num_lanes: int) -> None:
    """However pieces pile up, and wherever an input ends, several on a connection one after the other."""

    async def talk(service: Service, number: int) -> tuple[SpeechClient, str, int]:
        chance, client, wholes, num_pieces = np.random.default_rng((seed, number)), SpeechClient(service, "a"), [], 0
        task = asyncio.create_task(client.run())
        for _ in range(chance.integers(1, 4)):
            sound = random_sound(chance)
            if len(sound):
                answer = await service.engine.predict(Waveform(sound, RATE_HZ), {}, PATIENCE_S + 1e9)
                wholes.append(answer.answers[0]["text"])
            pieces = cut(sound.tobytes(), chance)
            client.say([START])
            num_pieces += len(pieces)
            while pieces:
                pile = int(chance.choice([1, 2, 30]))
                client.say(pieces[:pile])
                del pieces[:pile]
                for _ in range(chance.choice([0, 1, 5])):
                    await asyncio.sleep(0)
            client.say([END])
        client.leave()
        await task
        return client, " ".join(text for text in wholes if text), num_pieces

    async def test(service: Service) -> None:
        talks = await asyncio.gather(*[talk(service, number) for number in range(NUM_STREAMS)])
        for client, text, num_pieces in talks:
            assert client.text == text
            assert len(client.answers("result")) == num_pieces
            assert len(client.answers("final")) == len(client.answers("started"))
        assert (service.engine.num_pending, service.num_streams) == (0, 0)

    with_service(test, num_lanes)


def test_beside_a_minute_at_once_each_live_piece_waits_for_a_few_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are counted in seconds: here every run takes the least, however long the machine does."""
    for module in (fair_share, continuous_batcher):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))

    async def test(service: Service) -> None:
        runner = service.runner
        runner.is_gated = True
        greedy, live = SpeechClient(service, "a"), [SpeechClient(service, "a") for _ in range(10)]
        tasks = [asyncio.create_task(client.run()) for client in [greedy, *live]]
        greedy.say([START, np.tile(speech("abc-"), 1500).tobytes()])
        await until(lambda: runner.num_begun == 1)
        for round_number in range(1, 4):
            for client in live:
                client.say([START, speech("ab").tobytes()] if round_number == 1 else [speech("ca").tobytes()])
            await until(lambda: service.engine.num_pending == 1 + len(live))
            num_allowed = 0
            while service.num_unread > 1:  # the greedy one is always there
                num_begun, num_allowed = runner.num_begun, num_allowed + 1
                assert num_allowed <= MOST_RUNS
                runner.permits.release()
                await until(lambda before=num_begun: runner.num_begun > before)  # type: ignore[misc]
            await until(lambda number=round_number: all(len(one.answers("result")) == number for one in live))  # type: ignore[misc]
        assert not greedy.answers("result")
        runner.open_gate()
        await until(lambda: len(greedy.answers("result")) == 1)
        for client in [greedy, *live]:
            client.leave()
        await asyncio.gather(*tasks)

    with_service(test)


def test_thousands_of_tiny_pieces_are_each_answered_in_few_runs() -> None:
    """Those that have piled up share a run, up to 64 of them."""

    async def test(service: Service) -> None:
        client, data = SpeechClient(service, "a"), speech("abc" * 20).tobytes()
        client.say([START, *[data[place : place + 3] for place in range(0, len(data), 3)], END])
        client.leave()
        await client.run()
        assert len(client.answers("result")) == len(data) / 3
        assert client.text == "abc" * 20
        assert len(service.runner.runs) <= len(data) / 3 / 64 + 2

    with_service(test)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_no_sound_has_end_their_own_stream_only(value: float) -> None:
    async def test(service: Service) -> None:
        bad, good = SpeechClient(service, "a"), SpeechClient(service, "a")
        bad.say([START, np.full(3 * PER_STEP, value, np.float32).tobytes()])
        good.say([START, speech("abc").tobytes(), END])
        good.leave()
        await asyncio.gather(bad.run(), good.run())
        assert [message["type"] for message in bad.heard] == ["started", "error"]
        assert bad.close_code is not None
        assert good.text == "abc"

    with_service(test)


def test_clients_that_never_read_never_end_or_say_nothing_delay_nobody() -> None:
    """What they hold is released when they leave."""

    async def test(service: Service) -> None:
        piece = speech("ab").tobytes()
        never_reads, never_ends, silent = (
            SpeechClient(service, "b", never_reads=flag) for flag in (True, False, False)
        )
        never_reads.say([START, *[piece] * 100])
        never_ends.say([START, piece])
        silent.say([START])
        bad = [asyncio.create_task(client.run()) for client in (never_reads, never_ends, silent)]
        good = [SpeechClient(service, "a") for _ in range(8)]
        for client in good:
            client.say([START, speech("abc").tobytes(), END])
            client.leave()
        await asyncio.gather(*[client.run() for client in good])
        assert {client.text for client in good} == {"abc"}
        assert len(never_reads.heard) <= 2
        for client in (never_ends, silent):
            client.leave()
        bad[0].cancel()
        await asyncio.gather(*bad, return_exceptions=True)
        assert (service.engine.num_pending, service.num_streams) == (0, 0)

    with_service(test)
