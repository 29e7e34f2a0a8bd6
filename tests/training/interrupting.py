"""Signals that a test sends to itself while it trains."""

from __future__ import annotations

import os
import signal

from tests.conftest import wait_until


def interrupt(number: signal.Signals) -> None:
    """Send this process a signal that a trainer catches; returns once its handler has run.

    A signal may arrive later than `os.kill` returns, and two at once may arrive as one. The trainer's handler puts back
    the one that was there before, so that its run can be seen.
    """
    handler = signal.getsignal(number)
    os.kill(os.getpid(), number)
    wait_until(lambda: signal.getsignal(number) is not handler)
