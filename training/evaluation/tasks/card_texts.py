"""Sentences that the model cards of several tasks share."""

from __future__ import annotations

from collections.abc import Sequence

from service.bundle.manifest import Manifest

MAX_LISTED = 40


def input_limit(manifest: Manifest) -> list[str]:
    """The largest input, in tokens."""
    most = manifest.limits.max_input_tokens
    return [f"- At most {most} tokens of input; longer input is refused, never cut."]


def output_limit(manifest: Manifest) -> str:
    """The longest answer, in tokens."""
    return f"- At most {manifest.limits.max_new_tokens} new tokens in one answer."


def listed(names: Sequence[str], limit: int = MAX_LISTED) -> str:
    """Names as code, the rest counted where there are too many."""
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more (all in `manifest.json`)"
