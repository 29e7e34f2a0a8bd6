"""How many streams of gRPC there may be, and which of them makes room for the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from service.api.protocols.open_inference.grpc_service.calls import NAME
from service.api.protocols.open_inference.grpc_service.places import Places
from service.settings import Settings
from tests.api.protocols.open_inference_grpc.calls import MODEL, call, request
from tests.api.protocols.open_inference_grpc.test_streams import Streamed
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import held_runs, live_server


class Stream:
    """A stream that is silent or not, as a test says."""

    def __init__(self, *, is_silent: bool = True) -> None:
        self.is_silent = is_silent
        self.has_ended = False

    def end_for_room(self) -> None:
        self.has_ended = True


def places(**settings: Any) -> Places:
    """Of four streams of an address, and eight of all, unless settings say otherwise."""
    found = Settings(**{"max_connections": 8, **settings})
    return Places(found, found.max_body_bytes)


def test_unfinished_messages_of_all_streams_are_bounded_by_what_bodies_may_hold() -> None:
    found = Places(Settings(max_body_bytes=2**20, max_held_body_bytes=100 * 2**20), 2**20)
    assert (found.max_streams, found.max_each) == (400, 200)
    assert Places(Settings(max_streams_per_client=3), 2**21).max_each == 3
    sound = Settings()
    assert Places(sound, sound.most_sound_body_bytes).max_streams == 64


def test_the_clients_own_stream_that_was_silent_for_longest_makes_room() -> None:
    found, other = places(), Stream()
    assert found.take("b", other)
    busy, *silent = Stream(is_silent=False), Stream(), Stream(), Stream()
    assert all(found.take("a", one) for one in (busy, *silent))
    found.note_silent(silent[0])
    assert found.take("a", Stream())
    assert [one.has_ended for one in (busy, *silent, other)] == [False, False, True, False, False]


def test_streams_that_are_being_answered_keep_their_places() -> None:
    """One more of the same address is refused, one of another is not, until there are too many of all."""
    found = places()
    assert all(found.take("a", Stream(is_silent=False)) for _ in range(4))
    assert not found.take("a", Stream())
    assert all(found.take("b", Stream(is_silent=False)) for _ in range(4))
    assert not found.take("c", Stream())


def test_a_stream_that_ends_leaves_its_place_once() -> None:
    found, one = places(), Stream(is_silent=False)
    assert all(found.take("a", stream) for stream in (one, *(Stream(is_silent=False) for _ in range(3))))
    found.leave(one)
    found.leave(one)
    assert found.take("a", Stream(is_silent=False))
    assert not found.take("a", Stream())


@pytest.mark.parametrize(("limit", "most"), [(256, 2), (0, 5)])
def test_streams_of_one_address_have_half_of_the_open_requests(limit: int, most: int) -> None:
    found = places(max_open_requests=4, max_streams_per_client=limit)
    contexts = [found.request("a") for _ in range(5)]
    assert sum(context.__enter__() for context in contexts) == most
    with found.request("b") as has_place:
        assert has_place
    for context in contexts:
        context.__exit__(None, None, None)
    with found.request("a") as has_place:
        assert has_place


def test_a_silent_stream_ends_for_the_next_and_a_busy_one_does_not(tiny_models: Path) -> None:
    """And other calls of the client are answered, while its streams take all their places."""
    with (
        live_server(tiny_models, grpc_port=0, max_streams_per_client=2) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}") as channel,
        held_runs(own, MODEL) as begun,
    ):
        silent, busy = Streamed(channel), Streamed(channel)
        busy.send(request(b"hello"))
        assert begun.wait(PATIENCE_S)
        wait_until(lambda: own.metric("unroll_stream_connections", protocol=NAME) == 2)
        next_one = Streamed(channel)
        assert silent.status == "RESOURCE_EXHAUSTED"
        assert "silent while others needed its place" in silent.call.details()
        next_one.send(request(b"hello"))
        wait_until(lambda: own.app.num_open == 2)
        assert Streamed(channel).status == "RESOURCE_EXHAUSTED"
        assert call(channel, "ServerMetadata").status == "OK"
        busy.call.cancel()
        next_one.call.cancel()


def test_one_address_may_watch_health_so_many_times(tiny_models: Path) -> None:
    """A watch that ends makes room for another."""
    with (
        live_server(tiny_models, grpc_port=0, max_streams_per_client=2) as own,
        grpc.insecure_channel(f"127.0.0.1:{own.grpc_port}") as channel,
    ):
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        first, second = watch(b"", timeout=PATIENCE_S), watch(b"", timeout=PATIENCE_S)
        assert next(first) == next(second)
        assert watch(b"", timeout=PATIENCE_S).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        wait_until(lambda: _is_watching(watch(b"", timeout=PATIENCE_S)))


def _is_watching(call_of_watch: Any) -> bool:
    """Whether it was answered; ends it."""
    try:
        return bool(next(call_of_watch))
    except grpc.RpcError:
        return False
    finally:
        call_of_watch.cancel()
