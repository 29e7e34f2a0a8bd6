"""The oldest generation of garbage is collected when the service is idle, and by time otherwise."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from service.server.idle_collector import IdleCollector, resident_bytes, return_free_memory
from tests.allowed_skips import OTHER_SYSTEM


class Cycle:
    """An object that only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize(
    ("waited_s", "is_idle", "is_collected"),
    [(9.0, True, False), (11.0, True, True), (59.0, False, False), (61.0, False, True)],
)
def test_garbage_is_collected_in_time(waited_s: float, is_idle: bool, is_collected: bool) -> None:
    now_s = [100.0]
    gc.collect()
    gc.disable()
    try:
        collector = IdleCollector(lambda: is_idle, lambda: now_s[0])
        garbage = weakref.ref(Cycle())
        now_s[0] += waited_s
        collector.tick()
        assert (garbage() is None) == is_collected
    finally:
        gc.enable()


def test_collections_keep_their_distance() -> None:
    now_s = [100.0]
    collector = IdleCollector(lambda: True, lambda: now_s[0])
    now_s[0] += 11.0
    collector.tick()
    garbage = weakref.ref(Cycle())
    now_s[0] += 5.0
    collector.tick()
    assert garbage() is not None


@pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: memory is read from /proc")
def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    """Pieces that lie between others that stay, as opening a bundle leaves them."""
    pieces = [b"x" * 100_000 for _ in range(800)]
    used = resident_bytes()
    kept = pieces[::50]
    pieces.clear()
    return_free_memory()
    assert len(kept) == 16
    assert used - resident_bytes() > 60_000_000


@pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: memory is read from /proc")
def test_what_a_long_input_took_is_returned_when_idle() -> None:
    now_s = [100.0]
    collector = IdleCollector(lambda: True, lambda: now_s[0])
    pieces = [b"x" * 100_000 for _ in range(800)]
    used = resident_bytes()
    kept = pieces[::50]
    pieces.clear()
    now_s[0] += 11.0
    collector.tick()
    assert len(kept) == 16
    assert used - resident_bytes() > 60_000_000
