"""What runs of one graph cost, learned from those that were: how large batches should be, and which runs are short."""

from __future__ import annotations

from collections.abc import Sequence

from service.inference.scheduling.batch_policy import tokens_computed

#: Weight of the newest batch in the moving average of the time per token; less if it was slower, since a run that
#: nothing disturbs is what counts.
_NEWEST_WEIGHT, _SLOWER_WEIGHT = 0.2, 0.02
#: What a run costs beside its graph: choosing it, filling and reading arrays, and handing over to the lane and back.
_RUN_S = 0.0002
#: The event loop runs what it expects to take no longer than this, ...
_SHORT_S = 0.001
#: ... and nothing for a while after a run that took so much longer.
_LONG_S, _PAUSE_S = 0.005, 1.0


class RunCost:
    """The time of a token in a run that nothing disturbs. Use it on the event loop; any thread may read it."""

    def __init__(self) -> None:
        self._token_s = 0.0
        self._paused_until_s = 0.0

    @property
    def is_known(self) -> bool:
        """Whether a batch has been run."""
        return self._token_s > 0.0

    @property
    def run_tokens(self) -> float:
        """What a run costs beside its tokens, in tokens: see `next_batch`."""
        return _RUN_S / self._token_s if self._token_s else 0.0

    def note(self, lengths: Sequence[int], run_s: float) -> None:
        """A batch of inputs of these lengths has been run."""
        token_s = run_s / tokens_computed(len(lengths), max(lengths))
        known_s = self._token_s or token_s
        weight = _NEWEST_WEIGHT if token_s < known_s else _SLOWER_WEIGHT
        self._token_s = known_s + weight * (token_s - known_s)

    def note_on_loop(self, run_s: float, now_s: float) -> None:
        """The event loop has run a batch by itself."""
        if run_s > _LONG_S:
            self._paused_until_s = now_s + _PAUSE_S

    def is_short(self, lengths: Sequence[int], now_s: float) -> bool:
        """Whether a batch of inputs of these lengths may hold up the event loop."""
        if not self._token_s or now_s < self._paused_until_s:
            return False
        return not lengths or tokens_computed(len(lengths), max(lengths)) * self._token_s <= _SHORT_S
