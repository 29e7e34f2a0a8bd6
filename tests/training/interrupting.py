"""Signals that a test sends to its own process during training."""

from __future__ import annotations

import os
import signal

from tests.conftest import wait_until


def interrupt(number: signal.Signals) -> None:
    """Send this process a signal that a trainer catches; returns once its handler has run.

    A signal may arrive after `os.kill` returns, and two at once may be merged. The trainer's handler restores the
    previous one, which shows that it has run.
    """
    handler = signal.getsignal(number)
    os.kill(os.getpid(), number)
    wait_until(lambda: signal.getsignal(number) is not handler)
