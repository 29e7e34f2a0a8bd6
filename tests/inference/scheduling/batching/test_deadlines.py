"""One timer fails every request at its own deadline, and nothing is kept when none is left."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

from service.inference.scheduling.batching.deadlines import Deadlines
from service.inference.scheduling.batching.queued_request import Output, Request
from service.inference.scheduling.fair_share import FairShare
from tests.conftest import until


def _request(in_s: float) -> Request:
    result: asyncio.Future[list[Output]] = asyncio.get_running_loop().create_future()
    return Request(result, [None], 1, FairShare().begin(""), time.monotonic() + in_s)


def test_requests_expire_in_the_order_of_their_deadlines_whatever_that_of_their_arrival() -> None:
    """A later request with an earlier deadline is not made to wait for the first, and an answered one never expires."""

    async def main() -> None:
        expired: list[Request] = []
        deadlines = Deadlines(asyncio.get_running_loop(), expired.append)
        late, soon, answered, now, far = (_request(in_s) for in_s in (0.05, 0.02, 0.03, -1.0, 1000.0))
        for request in (late, soon, answered, now, far):
            deadlines.watch(request, time.monotonic())
        deadlines.forget(answered)
        await until(lambda: len(expired) == 3)
        assert expired == [now, soon, late]
        deadlines.forget(far)
        deadlines.close()

    asyncio.run(main())


def test_after_closing_nothing_holds_what_is_told_of_expiry() -> None:
    """Else the graphs of a bundle would stay in memory until a deadline that nobody waits for."""

    class Owner:
        def expire(self, request: Request) -> None:
            raise AssertionError("nothing expires")

    async def main() -> None:
        owner = Owner()
        deadlines = Deadlines(asyncio.get_running_loop(), owner.expire)
        request, gone = _request(1000.0), weakref.ref(owner)
        deadlines.watch(request, time.monotonic())
        del owner
        deadlines.close()
        assert gone() is not None  # a request is still open
        deadlines.forget(request)
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
