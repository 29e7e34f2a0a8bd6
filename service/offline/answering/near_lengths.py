"""Length bucketing: rows sorted by length and cut into batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence

from service.inference.scheduling.batch_policy import BatchLimits

#: The most rows of a batch. Products of larger matrices gain nothing more on a core, and leave its cache.
_MAX_ROWS = 64
#: A batch with more rows than this holds fewer tokens than the limit, for the same reason.
_FEW_ROWS = 16
_CACHED_TOKENS = 512
#: Fixed cost of a batch's recurrent step, in rows; see `service.inference.scheduling.batch_policy`.
_ROWS_PER_STEP = 1.2


def near_length_batches(
    lengths: Sequence[int], limits: BatchLimits | None = None, *, equal: bool = False
) -> list[list[int]]:
    """Indices of rows in batches of similar length, the shortest first; each row is in one of them.

    A row joins the batch before it unless the padding that it brings costs more than a batch of its own. A single row
    may exceed the limit of padded tokens. With `equal` the rows of a batch have one length.
    """
    most = (limits or BatchLimits()).max_padded_tokens
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        fits = bool(batches) and not (equal and length != longest)
        if fits and _joins(len(batches[-1]), longest, length, most):
            batches[-1].append(index)
        else:
            batches.append([index])
        longest = length
    return batches


def _joins(num_rows: int, longest: int, length: int, max_padded_tokens: int) -> bool:
    """Whether a row of `length` joins a batch of `num_rows`, of which the longest has `longest` tokens."""
    padded = (num_rows + 1) * length
    if padded > max_padded_tokens or num_rows >= _MAX_ROWS or (num_rows >= _FEW_ROWS and padded > _CACHED_TOKENS):
        return False
    return (length - longest) * (num_rows + _ROWS_PER_STEP) < _ROWS_PER_STEP * length
